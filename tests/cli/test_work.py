"""`geartrain work`, as a user of the shell meets it."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from .programs import GEARTRAIN, Outcome, Running, Server, run, wait_until

Geartrain = Callable[..., Outcome]
Worker = Callable[..., Running]

MODULE = """
from geartrain import Worker

worker = Worker({server!r})

@worker.task({function!r})
def reverse(job):
    return job.workload[::-1]
"""


@pytest.fixture
def work(server: Server, start: Worker, function: str, tmp_path: Path) -> Worker:
    """Starts `geartrain work` in the test's folder and returns when it is registered."""

    def call(*words: str, **more: object) -> Running:
        running = start([*GEARTRAIN, "work", *words], cwd=tmp_path, **more)
        server.wait_for_workers(function)
        return running

    return call


class TestACommand:
    def test_workload_in_result_out(self, geartrain: Geartrain, work: Worker, function: str, server: Server) -> None:
        running = work("-s", server.address, function, "--", "wc", "-c")
        assert geartrain("submit", function, "Hello") == (0, b"5\n", b"")
        assert running.stop().status == 0

    def test_several_functions_and_what_the_command_is_told(
        self, geartrain: Geartrain, work: Worker, function: str, server: Server
    ) -> None:
        script = "echo $GEARTRAIN_FUNCTION $GEARTRAIN_UNIQUE; test -n $GEARTRAIN_HANDLE"
        work("-s", server.address, function, f"{function}-b", "--", "sh", "-c", script)
        server.wait_for_workers(f"{function}-b")
        assert geartrain("submit", f"{function}-b", "-u", "key").out == f"{function}-b key\n".encode()

    def test_several_at_once(self, geartrain: Geartrain, work: Worker, function: str, server: Server) -> None:
        # Each job ends when all three have begun: one at a time they never would.
        all_three = " -a ".join(f"-e {function}.{number}" for number in "123")
        meet = f"touch {function}.$GEARTRAIN_UNIQUE; until [ {all_three} ]; do sleep 0.02; done"
        work("-s", server.address, "-c", "3", function, "--", "sh", "-c", meet)
        for unique in "123":
            assert geartrain("submit", function, "-b", "-u", unique).status == 0
        wait_until(lambda: server.function(function)[0] == 0, "the end of all three")

    def test_a_failure_is_logged_and_reported(
        self, geartrain: Geartrain, work: Worker, function: str, server: Server
    ) -> None:
        running = work("-s", server.address, function, "--", "sh", "-c", "echo partly; exit 7")
        done = geartrain("submit", function, "x")
        assert (done.status, done.out) == (1, b"partly\n")
        wait_until(lambda: b"sh ended with exit status 7" in running.err, "the reason")

    @pytest.mark.parametrize("many", [["-c", "2"], ["--processes", "2"]])
    def test_a_command_that_is_given_up_does_not_go_on(
        self, geartrain: Geartrain, start: Worker, function: str, server: Server, tmp_path: Path, many: list[str]
    ) -> None:
        command = ["sh", "-c", "echo $$ > pid.part; mv pid.part pid; sleep 600"]
        words = ["-s", server.address, *many, "--stop-timeout", "100ms", function, "--", *command]
        running = start([*GEARTRAIN, "work", *words], cwd=tmp_path)
        server.wait_for_workers(function, 1 if "-c" in many else 2)
        assert geartrain("submit", function, "-b").status == 0
        wait_until((tmp_path / "pid").exists, "the command's beginning")
        pid = int((tmp_path / "pid").read_text())
        running.stop()
        wait_until(lambda: not _runs(pid), "the command's end")
        assert server.function(function)[:2] == (1, 0)

    def test_its_name_is_shown(self, work: Worker, function: str, server: Server) -> None:
        work("-s", server.address, "--id", "press 7", function, "--", "cat")
        assert any(f" press 7 : {function}" in line for line in server.ask("workers"))

    def test_two_processes(self, work: Worker, function: str, server: Server, start: Worker) -> None:
        running = start([*GEARTRAIN, "work", "-s", server.address, "--processes", "2", function, "--", "cat"])
        server.wait_for_workers(function, 2)
        assert running.stop().status == 0
        wait_until(lambda: server.function(function)[2] == 0, "the end of both")


class TestAModule:
    @pytest.fixture(autouse=True)
    def module(self, tmp_path: Path, server: Server, function: str) -> Path:
        path = tmp_path / "tasks.py"
        path.write_text(MODULE.format(server=server.address, function=function))
        return path

    def test_its_functions(self, geartrain: Geartrain, work: Worker, function: str) -> None:
        work("tasks:worker")
        assert geartrain("submit", function, "Hello") == (0, b"olleH", b"")

    def test_sigterm_lets_the_job_finish(
        self, geartrain: Geartrain, server: Server, function: str, progressing: Path, start: Worker
    ) -> None:
        """`progressing` is a `geartrain work` of its own."""
        client = start([*GEARTRAIN, "submit", "-s", server.address, function, "x"])
        wait_until(lambda: client.out == b"partly ", "the job's beginning")
        pids = [pid for pid in _children_with("slow:worker") if os.kill(pid, signal.SIGTERM) is None]
        assert pids
        progressing.touch()
        assert client.wait().out == b"partly done"
        wait_until(lambda: server.function(function)[2] == 0, "the worker's end")

    def test_more_at_once_than_the_module_says(
        self, geartrain: Geartrain, work: Worker, function: str, module: Path, server: Server
    ) -> None:
        text = module.read_text()
        begin = "open(job.workload, 'w').close()"
        meet = f"while len(list(pathlib.Path({str(module.parent)!r}).glob('begun-*'))) < 4: time.sleep(0.02)"
        module.write_text(
            "import pathlib, time\n" + text.replace("    return job", f"    {begin}\n    {meet}\n    return job")
        )
        work("tasks:worker", "-c", "4")
        for number in range(4):
            assert geartrain("submit", function, "-b", str(module.parent / f"begun-{number}")).status == 0
        wait_until(lambda: server.function(function)[0] == 0, "the end of all four")

    def test_an_async_worker(
        self, geartrain: Geartrain, work: Worker, function: str, module: Path, server: Server
    ) -> None:
        module.write_text(
            f"""
import asyncio
from geartrain import AsyncWorker

worker = AsyncWorker({server.address!r})
together = asyncio.Barrier(3)

@worker.task({function!r})
async def meet(job):
    await together.wait()
"""
        )
        running = work("tasks:worker", "-c", "3")
        for _ in range(3):
            assert geartrain("submit", function, "-b").status == 0
        wait_until(lambda: server.function(function)[0] == 0, "the end of all three")
        assert running.stop().status == 0

    def test_the_server_of_the_command_line(
        self, geartrain: Geartrain, work: Worker, function: str, module: Path, server: Server
    ) -> None:
        module.write_text(module.read_text().replace(repr(server.address), ""))
        work("tasks:worker", "-s", server.address)
        assert geartrain("submit", function, "Hello").out == b"olleH"

    def test_reload(self, geartrain: Geartrain, work: Worker, function: str, module: Path, server: Server) -> None:
        running = work("tasks:worker", "--reload")
        assert geartrain("submit", function, "Hello").out == b"olleH"
        text = module.read_text()
        module.write_text(text + "syntax error(\n")
        wait_until(lambda: b"SyntaxError" in running.err, "the mistake to be told")
        wait_until(lambda: b"waiting for a change" in running.err, "the wait for its correction")
        module.write_text(text.replace("[::-1]", "[::-1] + b'!'"))
        assert geartrain("submit", function, "Hello").out == b"olleH!"
        assert running.stop().status == 0
        wait_until(lambda: server.function(function)[2] == 0, "the worker's end")

    @pytest.mark.parametrize("way", [["--reload"], ["--processes", "2"], ["--reload", "--processes", "2"]])
    def test_nothing_lives_on_when_it_is_killed(
        self, start: Worker, function: str, module: Path, server: Server, way: list[str]
    ) -> None:
        running = start([*GEARTRAIN, "work", "tasks:worker", *way], cwd=module.parent)
        server.wait_for_workers(function, 2 if "2" in way else 1)
        os.kill(running.process.pid, signal.SIGKILL)
        wait_until(lambda: server.function(function)[2] == 0, "the end of its processes")

    @pytest.mark.parametrize(
        ("words", "sentence"),
        [
            (["tasks"], "'tasks' is not MODULE:OBJECT; for functions give the command too"),
            (["nowhere:worker"], "there is no module nowhere in"),
            (["tasks:nobody"], "the module tasks has no nobody; did you mean worker?"),
            (["tasks:reverse"], "tasks:reverse is no Worker or AsyncWorker"),
            (["f", "--"], "there is no command behind --"),
            (["-c", "0", "f", "--", "cat"], "--concurrency 0: at least 1"),
            (["tasks:worker", "--lines"], "--lines belongs to the form with a command"),
        ],
    )
    def test_what_cannot_be_done(self, tmp_path: Path, words: list[str], sentence: str) -> None:
        done = run([*GEARTRAIN, "work", *words], cwd=tmp_path)
        assert (done.status, done.out) == (2, b"")
        assert sentence in done.said
        assert "Traceback" not in done.said


def _children_with(word: str) -> list[int]:
    """Our child processes that have a word in their command line."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and word.encode() in (entry / "cmdline").read_bytes().split(b"\0"):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                if parent == os.getpid():
                    found.append(int(entry.name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def _runs(pid: int) -> bool:
    """Whether a process lives; one that nobody waits for any more does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
