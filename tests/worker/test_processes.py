"""Workers as programs: signals, processes, and what becomes of jobs then. Each worker is a real process."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from geartrain import AdminClient, Client
from geartrain.testing import Server

from ..services import wait_until

PROGRAM = """
import hashlib, logging, os, sys, threading, time, warnings
from pathlib import Path
from geartrain import Worker

logging.basicConfig(level="INFO")
folder = Path(sys.argv[2])
worker = Worker(sys.argv[1], **eval(sys.argv[3]))

@worker.task
def pid(job):
    return str(os.getpid())

@worker.task
def die(job):
    os._exit(7)

@worker.task
def leave(job):
    sys.exit(3)

@worker.task
def wait(job):
    (folder / job.workload.decode()).touch()
    while not (folder / "go").exists():
        time.sleep(0.01)
    return "waited"

@worker.task
def crunch(job):
    (folder / "started").touch()
    hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)  # in C, where no handler of a signal runs

@worker.task
def leave_a_child(job):
    warnings.simplefilter("ignore")  # Python's, of forks beside threads
    if not os.fork():
        while not (folder / "go").exists():
            time.sleep(0.01)
        os._exit(0)
    return str(os.getpid())

if "thread" in sys.argv:
    warnings.simplefilter("ignore")
    threading.Thread(target=worker.work, kwargs=eval(sys.argv[4])).start()
    sys.stdin.read()
    worker.stop()
    sys.exit()
worker.work(**eval(sys.argv[4]))
print("left", flush=True)
"""

ASYNC_PROGRAM = """
import asyncio, logging, sys
from pathlib import Path
from geartrain import AsyncWorker

logging.basicConfig(level="INFO")
folder = Path(sys.argv[2])

async def main():
    worker = AsyncWorker(sys.argv[1], **eval(sys.argv[3]))

    @worker.task
    async def wait(job):
        (folder / job.workload.decode()).touch()
        while not (folder / "go").exists():
            await asyncio.sleep(0.01)
        return "waited"

    await worker.work()

asyncio.run(main())
print("left", flush=True)
"""


class Program:
    """A worker in a process of its own."""

    def __init__(
        self, server: Server, folder: Path, text: str = PROGRAM, work: str = "{}", *words: str, **settings: object
    ) -> None:
        argv = [sys.executable, "-W", "error", "-c", text, server.address, str(folder), repr(settings), work, *words]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe, text=True)

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def read_until(self, text: str) -> str:
        """Reads the log until a line has this text."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if text in line:
                return line
        raise AssertionError(f"the worker ended without saying {text!r}")

    def end(self, seconds: float = 20) -> tuple[str, str]:
        """Waits for the end. Returns what it printed and logged."""
        out, errors = self.process.communicate(timeout=seconds)
        return out, errors


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        yield server


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with Client(server.address, timeout=20) as client:
        yield client


def programs(server: Server) -> int:
    with AdminClient(server.address) as admin:
        return sum(bool(w.functions) for w in admin.workers())


def finish(program: Program) -> None:
    if program.process.poll() is None:
        program.process.kill()
    program.process.communicate()


@pytest.mark.parametrize("text", [PROGRAM, ASYNC_PROGRAM], ids=["sync", "asyncio"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_the_job_end(server: Server, client: Client, tmp_path: Path, text: str, number: int) -> None:
    program = Program(server, tmp_path, text)
    try:
        task = client.submit("wait", "started")
        wait_until((tmp_path / "started").exists, "the job's start")
        second = client.submit("wait", "second")
        program.signal(number)
        assert "running jobs get 30 s" in program.read_until("stopping")
        (tmp_path / "go").touch()
        assert task.result() == b"waited"
        assert program.end()[0] == "left\n"
        assert program.process.returncode == 0
        assert not second.done
        assert not (tmp_path / "second").exists()
    finally:
        finish(program)


@pytest.mark.parametrize("text", [PROGRAM, ASYNC_PROGRAM], ids=["sync", "asyncio"])
def test_an_idle_worker_leaves_at_once(server: Server, tmp_path: Path, text: str) -> None:
    program = Program(server, tmp_path, text)
    try:
        wait_until(lambda: programs(server), "the worker")
        program.signal(signal.SIGTERM)
        assert program.end(10)[0] == "left\n"
    finally:
        finish(program)


@pytest.mark.parametrize("text", [PROGRAM, ASYNC_PROGRAM], ids=["sync", "asyncio"])
def test_the_job_goes_to_another_when_the_time_to_stop_is_over(
    server: Server, client: Client, tmp_path: Path, text: str
) -> None:
    first = Program(server, tmp_path, text, stop_timeout=0.3)
    other = None
    try:
        task = client.submit("wait", "started")
        wait_until((tmp_path / "started").exists, "the job's start")
        first.signal(signal.SIGTERM)
        out, log = first.end(10)
        assert out == "left\n"
        assert "left while 1 jobs were running" in log
        (tmp_path / "started").unlink()
        (tmp_path / "go").touch()
        other = Program(server, tmp_path, text)
        assert task.result() == b"waited"
        assert (tmp_path / "started").exists()
    finally:
        finish(first)
        if other is not None:
            finish(other)


def test_a_signal_is_heard_while_a_task_is_in_c(server: Server, client: Client, tmp_path: Path) -> None:
    program = Program(server, tmp_path)
    try:
        client.submit("crunch")
        wait_until((tmp_path / "started").exists, "the job's start")
        program.signal(signal.SIGTERM)
        assert "running jobs get 30 s" in program.read_until("stopping")
    finally:
        finish(program)


def test_a_second_interrupt_means_now(server: Server, client: Client, tmp_path: Path) -> None:
    program = Program(server, tmp_path)
    try:
        client.submit("wait", "started")
        wait_until((tmp_path / "started").exists, "the job's start")
        program.signal(signal.SIGINT)
        program.read_until("stopping")
        program.signal(signal.SIGINT)
        assert program.end(10)[0] == "left\n"
    finally:
        finish(program)


def test_system_exit_in_a_task_ends_the_worker_and_the_job_goes_back(
    server: Server, client: Client, tmp_path: Path
) -> None:
    program = Program(server, tmp_path)
    try:
        handle = client.do_background("leave")
        program.end()
        assert program.process.returncode == 3
        wait_until(lambda: not client.job_status(handle).running, "the job's return")
        assert client.job_status(handle).known
    finally:
        finish(program)


def test_processes_share_the_work_and_are_replaced(server: Server, client: Client, tmp_path: Path) -> None:
    program = Program(server, tmp_path, work="{'processes': 3}")
    try:
        wait_until(lambda: programs(server) == 3, "three processes")
        seen = {int(task.result()) for task in client.submit_many("pid", [b""] * 200)}
        assert seen
        assert program.process.pid not in seen
        os.kill(next(iter(seen)), signal.SIGKILL)
        wait_until(lambda: programs(server) < 3, "a process less")
        wait_until(lambda: programs(server) == 3, "its replacement")
        task = client.submit("wait", "started")
        wait_until((tmp_path / "started").exists, "the job's start")
        program.signal(signal.SIGTERM)
        wait_until(lambda: programs(server) == 1, "the idle ones' leave")
        (tmp_path / "go").touch()
        assert task.result() == b"waited"
        out, log = program.end()
        assert out == "left\n"
        assert "ended (killed by SIGKILL); starting another" in log
        wait_until(lambda: programs(server) == 0, "the end of their connections")
    finally:
        finish(program)


def test_a_process_that_does_not_stop_is_ended(server: Server, client: Client, tmp_path: Path) -> None:
    program = Program(server, tmp_path, work="{'processes': 2}", stop_timeout=0.3)
    try:
        client.submit("wait", "started")
        wait_until((tmp_path / "started").exists, "the job's start")
        program.signal(signal.SIGTERM)
        assert program.end(15)[0] == "left\n"
        wait_until(lambda: programs(server) == 0, "the end of their connections")
    finally:
        finish(program)


def test_a_process_that_leaves_children_behind_is_replaced(server: Server, client: Client, tmp_path: Path) -> None:
    program = Program(server, tmp_path, work="{'processes': 2}")
    try:
        pid = int(client.do("leave_a_child"))
        os.kill(pid, signal.SIGKILL)
        assert f"{pid} ended (killed by SIGKILL); starting another" in program.read_until("ended")
        (tmp_path / "go").touch()  # what it left behind holds its connection until now
        wait_until(lambda: programs(server) == 2, "its replacement")
        program.signal(signal.SIGTERM)
        assert program.end()[0] == "left\n"
    finally:
        (tmp_path / "go").touch()
        finish(program)


def test_processes_do_not_outlive_the_one_that_started_them(server: Server, client: Client, tmp_path: Path) -> None:
    program = Program(server, tmp_path, work="{'processes': 3}")
    try:
        wait_until(lambda: programs(server) == 3, "three processes")
        task = client.submit("wait", "started")
        wait_until((tmp_path / "started").exists, "the job's start")
        program.process.kill()
        wait_until(lambda: programs(server) == 1, "the idle ones' leave")
        (tmp_path / "go").touch()
        assert task.result() == b"waited"  # a job that runs may end
        wait_until(lambda: programs(server) == 0, "the last one's leave")
        assert program.end()[1].count("is gone; it stops, too") == 3
    finally:
        (tmp_path / "go").touch()
        finish(program)


def test_processes_that_a_thread_watches_are_replaced(server: Server, client: Client, tmp_path: Path) -> None:
    program = Program(server, tmp_path, PROGRAM, "{'processes': 2}", "thread")
    try:
        os.kill(int(client.do("pid")), signal.SIGKILL)
        program.read_until("starting another")
        wait_until(lambda: programs(server) == 2, "its replacement")
        program.end()  # of its standard input, too
        wait_until(lambda: programs(server) == 0, "the end of their connections")
    finally:
        finish(program)
