"""`gearman` in worker mode. As in test_gearman.py: with the fixture `tool` a test says what the C tool does, too."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from .programs import Outcome, Running, Server, argv_of, free_port, run, start_server, wait_until

Gearman = Callable[..., Outcome]
Worker = Callable[..., Running]


class TestWhatBothDo:
    def test_the_workload_goes_in_and_the_output_comes_back(
        self, gearman: Gearman, worker: Worker, function: str, tool: str
    ) -> None:
        worker("--", "tr", "a-z", "A-Z", kind=tool)
        assert gearman("-f", function, stdin=b"abc\n\xff") == (0, b"ABC\n\xff", b"")

    def test_without_a_command_the_workload_is_printed(
        self, gearman: Gearman, worker: Worker, function: str, tool: str
    ) -> None:
        running = worker("-c", "2", kind=tool)
        assert gearman("-f", function, "one\n", "two\n") == (0, b"", b"")
        assert running.wait() == (0, b"one\ntwo\n", b"")

    def test_it_leaves_after_the_count(self, gearman: Gearman, worker: Worker, function: str, tool: str) -> None:
        running = worker("-c", "2", "--", "cat", kind=tool)
        assert gearman("-f", function, "a", "b").out == b"ab"
        assert running.wait() == (0, b"", b"")

    def test_several_functions(
        self, gearman: Gearman, worker: Worker, function: str, tool: str, server: Server
    ) -> None:
        worker("-f", f"{function}-2", "--", "cat", kind=tool)
        server.wait_for_workers(f"{function}-2")
        assert gearman("-f", function, "a").out == b"a"
        assert gearman("-f", f"{function}-2", "b").out == b"b"

    def test_a_command_that_fails(self, gearman: Gearman, worker: Worker, function: str, tool: str) -> None:
        worker("--", "sh", "-c", "echo partly; echo aside >&2; exit 3", kind=tool)
        assert gearman("-f", function, "x") == (1, b"partly\n", b"Job failed\n")

    def test_what_the_command_says_aside(self, gearman: Gearman, worker: Worker, function: str, tool: str) -> None:
        running = worker("-c", "1", "--", "sh", "-c", "echo aside >&2", kind=tool)
        assert gearman("-f", function, "x") == (0, b"", b"")
        assert running.wait() == (0, b"", b"aside\n")

    def test_each_line_is_sent_at_once(
        self, worker: Worker, function: str, tool: str, server: Server, tmp_path: Path
    ) -> None:
        go = tmp_path / "go"
        os.mkfifo(go)
        worker("-n", "--", "sh", "-c", f"echo first; cat {go}", kind=tool)
        client = Running([*argv_of("geartrain", "gearman"), *server.flags, "-f", function, "x"])
        try:
            wait_until(lambda: client.out == b"first\n", "the first line")
            go.write_bytes(b"")
            assert client.wait().status == 0
        finally:
            client.kill()

    def test_the_time_limit_counts_as_a_job(self, function: str, server: Server, tool: str) -> None:
        done = run([*argv_of(tool, "gearman"), *server.flags, "-w", "-f", function, "-t", "200", "-c", "2"])
        assert (done.status, done.out) == (0, b"")
        assert done.said.startswith("gearman: ")

    def test_the_environment_names_the_server(
        self, gearman: Gearman, function: str, tool: str, server: Server, start: Worker
    ) -> None:
        env = {"GEARMAN_SERVER": f"127.0.0.1:{server.port}"}
        start([*argv_of(tool, "gearman"), "-w", "-f", function, "--", "cat"], env=env)
        assert gearman("-f", function, "x").out == b"x"

    def test_no_function(self, tool: str) -> None:
        assert run([*argv_of(tool, "gearman"), "-w", "--", "cat"]).status == 1

    def test_the_daemon(self, gearman: Gearman, function: str, tool: str, server: Server, tmp_path: Path) -> None:
        pid = tmp_path / "pid"
        argv = [*argv_of(tool, "gearman"), *server.flags, "-w", "-d", "-i", str(pid), "-f", function, "--", "cat"]
        assert run(argv) == (0, b"", b"")
        wait_until(lambda: pid.exists() and pid.read_text().endswith("\n"), "the pid file")
        number = int(pid.read_text())
        try:
            assert gearman("-f", function, "x") == (0, b"x", b"")
        finally:
            os.kill(number, signal.SIGTERM)
        wait_until(lambda: server.function(function)[2] == 0, "the daemon's end")


class TestFaultsThatAreFixed:
    def test_each_line_is_sent_once(self, gearman: Gearman, worker: Worker, function: str) -> None:
        """With -n the C tool sends everything again with each line."""
        worker("-n", "--", "printf", r"a\nb\nc", kind="geartrain")
        assert (
            gearman("-P", "-f", function, "x").out.decode()
            == f"{function}: a\n{function}: b\n{function}: c{function}: "
        )

    def test_newlines_are_taken_off_one_by_one(self, gearman: Gearman, worker: Worker, function: str) -> None:
        """With -N the C tool takes the last byte of an unfinished line, too."""
        worker("-N", "--", "printf", r"a\nb\nc", kind="geartrain")
        assert gearman("-P", "-f", function, "x").out.decode() == f"{function}: a{function}: b{function}: c{function}: "

    def test_a_workload_larger_than_a_pipe(self, gearman: Gearman, worker: Worker, function: str) -> None:
        """The C tool and the command wait for each other for ever."""
        worker("--", "cat", kind="geartrain")
        workload = os.urandom(1 << 20)
        assert gearman("-f", function, stdin=workload).out == workload

    def test_a_command_that_does_not_read(self, gearman: Gearman, worker: Worker, function: str) -> None:
        worker("--", "head", "-c", "3", kind="geartrain")
        assert gearman("-f", function, stdin=b"x" * (1 << 20)) == (0, b"xxx", b"")

    def test_a_command_that_does_not_exist(self, gearman: Gearman, worker: Worker, function: str) -> None:
        """The C tool calls the job complete, and leaves a second worker behind."""
        running = worker("--", "/nowhere/command", kind="geartrain")
        for _ in range(2):
            assert gearman("-f", function, "x") == (1, b"", b"Job failed\n")
        wait_until(lambda: running.err.count(b"/nowhere/command cannot be run: No such file") == 2, "the reasons")

    def test_a_command_that_is_killed(self, gearman: Gearman, worker: Worker, function: str) -> None:
        """The C tool calls the job complete."""
        running = worker("--", "sh", "-c", "echo partly; kill -9 $$", kind="geartrain")
        assert gearman("-f", function, "x") == (1, b"partly\n", b"Job failed\n")
        wait_until(lambda: b"was killed by signal 9" in running.err, "the reason")

    def test_a_job_that_fails_counts_once(self, gearman: Gearman, worker: Worker, function: str) -> None:
        """The C tool counts it twice, and leaves too early."""
        running = worker("-c", "3", "--", "false", kind="geartrain")
        assert gearman("-f", function, "a", "b", "c").said == "Job failed\n" * 3
        assert running.wait().status == 0


class TestLeaving:
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    @pytest.mark.parametrize("limit", [[], ["-t", "10000"]])
    def test_a_signal_lets_the_job_finish(
        self, worker: Worker, function: str, server: Server, tmp_path: Path, number: int, limit: list[str]
    ) -> None:
        go, pid = tmp_path / "go", tmp_path / "pid"
        os.mkfifo(go)
        running = worker(*limit, "-i", str(pid), "--", "cat", str(go), kind="geartrain")
        client = Running([*argv_of("geartrain", "gearman"), *server.flags, "-f", function, "x"])
        try:
            with open(go, "wb") as fifo:  # returns when the command has opened it: the job runs
                os.killpg(running.process.pid, number)  # as Ctrl-C does, to the whole group
                fifo.write(b"done")
            assert client.wait() == (0, b"done", b"")
        finally:
            client.kill()
        assert running.wait().status == 0
        assert not pid.exists()

    def test_the_second_ctrl_c_gives_the_job_back(
        self, gearman: Gearman, worker: Worker, function: str, tmp_path: Path, server: Server
    ) -> None:
        go = tmp_path / "go"
        os.mkfifo(go)
        running = worker("--", "cat", str(go), kind="geartrain")
        assert gearman("-b", "-f", function, "x").status == 0
        with open(go, "wb"):
            running.process.send_signal(signal.SIGINT)
            wait_until(lambda: _handles_signal_again(running), "the first signal to be taken")
            running.process.send_signal(signal.SIGINT)
            running.wait()
        wait_until(lambda: server.function(function) == (1, 0, 0), "the job in the queue again")

    def test_a_server_that_restarts_finds_its_worker_again(self, start: Worker, function: str) -> None:
        server = start_server("debian")
        running = start([*argv_of("geartrain", "gearman"), *server.flags, "-w", "-f", function, "--", "cat"])
        server.wait_for_workers(function)
        server.program.kill()
        again = start(
            [*server.program.process.args]  # type: ignore[misc]
        )
        wait_until(lambda: _has_worker(server, function), "the worker at the new server")
        assert again.process.poll() is None
        assert running.process.poll() is None

    def test_strict_leaves_when_no_job_comes(self, function: str, server: Server) -> None:
        argv = [*argv_of("geartrain", "gearman"), *server.flags, "--strict", "-w", "-f", function, "-t", "200"]
        assert run(argv).status == 4

    def test_a_server_that_is_away_is_named(self, start: Worker) -> None:
        port = free_port()
        running = start([*argv_of("geartrain", "gearman"), "-p", str(port), "-w", "-f", "f", "--", "cat"])
        wait_until(lambda: f":{port}".encode() in running.err, "the word that the server is away")
        assert running.process.poll() is None


def _handles_signal_again(running: Running) -> bool:
    """Whether no signal is pending in the kernel any more."""
    status = Path(f"/proc/{running.process.pid}/status").read_text()
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    return int(fields["SigPnd"], 16) == 0 and int(fields["ShdPnd"], 16) == 0


def _has_worker(server: Server, function: str) -> bool:
    try:
        return server.function(function)[2] == 1
    except (OSError, AssertionError):
        return False
