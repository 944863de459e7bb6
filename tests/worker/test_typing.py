"""A user's program is checked by mypy --strict without a word: decorated functions keep their types."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import geartrain

PROGRAM = """\
import asyncio
from datetime import timedelta

from geartrain import AdminClient, AsyncClient, AsyncJob, AsyncTask, AsyncWorker, Client, Job, JobStatus, Progress, Task
from geartrain import Worker
from geartrain.testing import Server

worker = Worker("localhost", concurrency=4)
serving = AsyncWorker("localhost", concurrency=100)


@worker.task
def upper(job: Job) -> str:
    return job.workload.decode().upper()


@worker.task("reverse", timeout=60)
def reverse(job: Job) -> bytes:
    job.send_status(1, 2)
    return job.workload[::-1]


@worker.task(aggregate=lambda results: b"".join(results))
def split(job: Job) -> None:
    job.send_data(b"piece")


@serving.task("later")
async def later(job: AsyncJob) -> bytes:
    await job.drain()
    return job.workload


def on_status(task: Task, progress: Progress) -> None:
    print(task.handle, progress.fraction)


def ordinary(job: Job) -> None:
    backwards: bytes = reverse(job)
    with Client(["one", "two:4731"], timeout=3) as client:
        result: bytes = client.do("reverse", backwards)
        status: JobStatus = client.job_status(client.do_background("reverse", result, unique="u", priority="high"))
        task: Task = client.submit("reverse", "text", on_status=on_status, at=timedelta(minutes=1))
        print(status.known, task.result(timeout=5), [piece + b"" for piece in task])
        print([done.result() for done in client.as_completed(client.submit_many("reverse", ["a", b"b"]))])


async def asynchronous(job: AsyncJob) -> None:
    same: bytes = await later(job)
    serving.register("again", later)
    worker.register("lambda", lambda job: job.workload[::-1])
    async with AsyncClient("localhost") as client:
        task: AsyncTask = client.submit("later", same)
        print(await task, await client.do("later", "text"), [piece async for piece in task])


with Server() as server, AdminClient(server.address) as admin:
    print([line.waiting for line in admin.status()])
"""


def test_a_users_program_passes_mypy_strict(tmp_path: Path) -> None:
    pytest.importorskip("mypy", reason="mypy is not installed (group check)")
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), str(program)],
        cwd=tmp_path,
        env={**os.environ, "MYPYPATH": str(Path(geartrain.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
