"""`gearman` in client mode.

With the fixture `tool` a test runs the C tool and ours over each server: it says what both do. Without, it says
what ours does in a place where the C tool has a fault, and names the fault.
"""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from .programs import GEARTRAIN, Outcome, Running, Server, argv_of, environment, free_port, run, wait_until

Gearman = Callable[..., Outcome]
Worker = Callable[..., Running]

CREATED = re.compile(rb"Task created: H:\S+:\d+\n")


class TestWhatBothDo:
    def test_standard_input_is_the_workload(self, gearman: Gearman, worker: Worker, function: str, tool: str) -> None:
        worker("--", "cat")
        assert gearman("-f", function, stdin=b"one\ntwo\0\xff", kind=tool) == (0, b"one\ntwo\0\xff", b"")

    def test_each_operand_is_a_job(self, gearman: Gearman, worker: Worker, function: str, tool: str) -> None:
        worker("--", "tr", "a-z", "A-Z")
        done = gearman("one ", "-f", function, "two ", "--", "-x", kind=tool, stdin=b"not read")
        assert done == (0, b"ONE TWO -X", b"")

    def test_flags_may_be_joined(self, gearman: Gearman, worker: Worker, function: str, tool: str) -> None:
        worker("--", "cat")
        done = gearman(f"-Pf{function}", "x", kind=tool)
        assert done == (0, f"{function}: x".encode(), b"")

    def test_a_job_for_each_line(self, gearman: Gearman, worker: Worker, function: str, tool: str) -> None:
        worker("--", "sh", "-c", "cat; echo .")
        assert gearman("-n", "-f", function, stdin=b"a\nb\n", kind=tool).out == b"a\n.\nb\n.\n"
        assert gearman("-N", "-f", function, stdin=b"a\nb\n", kind=tool).out == b"a.\nb.\n"

    def test_no_input(self, gearman: Gearman, worker: Worker, function: str, tool: str) -> None:
        worker("--", "wc", "-c")
        assert gearman("-s", "-f", function, stdin=b"not read", kind=tool) == (0, b"0\n", b"")

    def test_every_function_gets_the_workload(
        self, gearman: Gearman, worker: Worker, function: str, tool: str, server: Server
    ) -> None:
        worker("-f", f"{function}-too", "--", "wc", "-c")
        done = gearman("-P", "-f", function, "-f", f"{function}-too", "abc", kind=tool)
        lines = {f"{function}: 3", f"{function}-too: 3"}
        assert (done.status, set(done.out.decode().splitlines()), done.err) == (0, lines, b"")

    def test_verbose_names_the_handle(self, gearman: Gearman, worker: Worker, function: str, tool: str) -> None:
        worker("--", "cat")
        done = gearman("-v", "-f", function, "x\n", kind=tool)
        assert CREATED.search(done.out)
        assert CREATED.sub(b"", done.out) == b"x\n"

    def test_a_failed_job(self, gearman: Gearman, worker: Worker, function: str, tool: str) -> None:
        worker("--", "sh", "-c", "echo partly; exit 3")
        assert gearman("-f", function, "x", kind=tool) == (1, b"partly\n", b"Job failed\n")

    def test_the_prefix_is_before_all_output(self, gearman: Gearman, worker: Worker, function: str, tool: str) -> None:
        worker("--", "sh", "-c", "echo partly; exit 3")
        done = gearman("-P", "-f", function, "x", kind=tool)
        assert done == (1, f"{function}: partly\n".encode(), f"{function}: Job failed\n".encode())

    def test_background_jobs_are_left_behind(
        self, gearman: Gearman, worker: Worker, function: str, tool: str, server: Server
    ) -> None:
        done = gearman("-b", "-v", "-f", function, "x", "y", kind=tool)
        assert (done.status, len(CREATED.findall(done.out)), done.err) == (0, 2, b"")
        assert server.function(function) == (2, 0, 0)
        worker("--", "true")
        wait_until(lambda: server.function(function)[0] == 0, "the end of the background jobs")

    @pytest.mark.parametrize(
        ("flags", "counts"), [("-bI", "1\t0\t0"), ("-b", "0\t1\t0"), ("-bL", "0\t0\t1"), ("-bLI", "1\t0\t0")]
    )
    def test_priority(
        self, gearman: Gearman, function: str, tool: str, server: Server, flags: str, counts: str
    ) -> None:
        assert gearman(flags, "-f", function, "x", kind=tool).status == 0
        assert f"{function}\t{counts}\t0" in server.ask("prioritystatus")

    def test_unique_jobs_are_one_job(self, gearman: Gearman, function: str, tool: str, server: Server) -> None:
        done = gearman("-b", "-v", "-u", f"{function}-u", "-f", function, "x", "y", kind=tool)
        first, second = CREATED.findall(done.out)
        assert first == second
        assert f"{function}-u" in server.ask("show unique jobs")

    def test_without_a_unique_every_job_is_its_own(
        self, gearman: Gearman, function: str, tool: str, server: Server
    ) -> None:
        before = set(server.ask("show unique jobs"))
        assert gearman("-b", "-u", "", "-f", function, "x", "x", kind=tool).status == 0
        assert server.function(function) == (2, 0, 0)
        assert [len(unique) for unique in set(server.ask("show unique jobs")) - before] == [36, 36]

    def test_the_time_limit(self, gearman: Gearman, function: str, tool: str) -> None:
        done = gearman("-t", "200", "-f", function, "x", kind=tool)
        assert (done.status, done.out) == (0, b"")
        assert done.said.startswith("gearman: ")

    def test_no_server(self, tool: str) -> None:
        port = str(free_port())
        done = run([*argv_of(tool, "gearman"), "-p", port, "-f", "f", "x"])
        assert (done.status, done.out) == (0, b"")
        assert done.said.startswith("gearman: ")
        assert f":{port}" in done.said

    def test_no_function(self, tool: str) -> None:
        done = run([*argv_of(tool, "gearman"), "x"])
        assert (done.status, done.out) == (1, b"")
        assert "function" in done.said.lower()

    def test_a_flag_that_does_not_exist(self, tool: str) -> None:
        done = run([*argv_of(tool, "gearman"), "-f", "f", "-z", "x"])
        assert (done.status, done.out) == (1, b"")
        assert done.err

    def test_the_pid_file_lasts_as_long_as_the_tool(
        self, gearman: Gearman, function: str, tool: str, server: Server, start: Worker, tmp_path: object
    ) -> None:
        path = tmp_path / "pid"  # type: ignore[operator]
        running = start([*argv_of(tool, "gearman"), *server.flags, "-i", str(path), "-f", function, "-t", "1000", "x"])
        wait_until(path.exists, "the pid file")
        wait_until(path.read_text, "its content")
        assert path.read_text() == f"{running.process.pid}\n"
        running.wait()
        assert not path.exists()

    def test_a_pid_file_that_cannot_be_written(self, gearman: Gearman, function: str, tool: str) -> None:
        assert gearman("-i", "/nowhere/pid", "-f", function, "x", kind=tool).status == 1

    def test_the_daemon_leaves_the_terminal(
        self, gearman: Gearman, worker: Worker, function: str, tool: str, server: Server
    ) -> None:
        done = gearman("-d", "-b", "-v", "-f", function, "x", kind=tool)
        assert done == (0, b"", b"")
        wait_until(lambda: server.function(function)[0] == 1, "the daemon's job")

    def test_the_environment_names_the_server(self, function: str, tool: str, server: Server) -> None:
        for name in ("GEARMAN_SERVER", "GEARMAN_SERVERS"):
            env = {name: f"127.0.0.1:{server.port}"}
            done = run([*argv_of(tool, "gearman"), "-b", "-v", "-f", function, "x"], env=env)
            assert (done.status, done.err) == (0, b"")
            assert CREATED.fullmatch(done.out)


class TestFaultsThatAreFixed:
    def test_help_is_no_error(self) -> None:
        """The C tool prints "Error in usage" with -H."""
        done = run([*argv_of("geartrain", "gearman"), "-H"])
        assert (done.status, done.err) == (0, b"")
        assert "gearman -w -f wc -- wc -l" in done.out.decode()

    def test_flags_win_over_the_environment(self, gearman: Gearman, function: str, server: Server) -> None:
        """With the C tool GEARMAN_SERVER overrides -h and -p."""
        done = gearman("-b", "-f", function, "x", env={"GEARMAN_SERVER": f"127.0.0.1:{free_port()}"})
        assert done == (0, b"", b"")
        assert server.function(function)[0] == 1

    def test_a_dead_server_in_the_list_is_passed_over(self, function: str, server: Server) -> None:
        """The C tool gives up."""
        env = {"GEARMAN_SERVER": f"127.0.0.1:{free_port()},127.0.0.1:{server.port}"}
        assert run([*argv_of("geartrain", "gearman"), "-b", "-f", function, "x"], env=env) == (0, b"", b"")
        assert server.function(function)[0] == 1

    def test_the_handle_is_printed_before_the_result(self, gearman: Gearman, worker: Worker, function: str) -> None:
        """The C tool's own lines stay in a buffer when its output is no terminal, and come last."""
        worker("--", "cat")
        done = gearman("-v", "-f", function, "x\n", "y\n")
        assert re.fullmatch(rb"Task created: \S+\nx\nTask created: \S+\ny\n", done.out)

    def test_lines_may_be_long_hold_nul_and_lack_an_end(self, gearman: Gearman, worker: Worker, function: str) -> None:
        """The C tool cuts lines at 8 KiB and at NUL, and -N takes a byte from a last line without an end."""
        worker("--", "wc", "-c")
        stdin = b"x" * 20_000 + b"\n" + b"a\0b\n" + b"end"
        assert gearman("-N", "-f", function, stdin=stdin).out == b"20000\n3\n3\n"

    def test_an_empty_workload_is_a_job(self, gearman: Gearman, worker: Worker, function: str) -> None:
        """The C tool calls it an invalid workload, but for -s."""
        worker("--", "wc", "-c")
        assert gearman("-f", function, "") == (0, b"0\n", b"")
        assert gearman("-N", "-f", function, stdin=b"\nab\n") == (0, b"0\n2\n", b"")

    @pytest.mark.parametrize("words", [["-p", "abc"], ["-t", "abc"], ["-c", "abc"]])
    def test_a_number_that_is_none(self, words: list[str]) -> None:
        """The C tool takes it for 0, and connects to the default port."""
        done = run([*argv_of("geartrain", "gearman"), *words, "-f", "f", "x"])
        assert (done.status, done.out) == (1, b"")
        assert "'abc' is no whole number" in done.said
        assert "a worker's command" not in done.said
        worker = run([*argv_of("geartrain", "gearman"), "-w", "-f", "f", "wc", *words, "-l"])
        assert "a worker's command goes behind --" in worker.said

    def test_a_reader_that_has_left(self, worker: Worker, function: str, server: Server) -> None:
        """`gearman | head -1` ends quietly."""
        worker("--", "cat")
        pipe = subprocess.Popen(
            [*argv_of("geartrain", "gearman"), *server.flags, "-f", function, "x" * 100, "y" * 100],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            env=environment(),
        )
        assert pipe.stdout is not None
        assert pipe.stderr is not None
        pipe.stdout.close()
        with pipe:
            assert pipe.stderr.read() == b""

    def test_a_progress_without_a_whole(
        self, gearman: Gearman, start: Worker, function: str, server: Server, tmp_path: Path
    ) -> None:
        """The C tool dies of the division by zero."""
        (tmp_path / "tasks.py").write_text(
            f"""
from geartrain import Worker

worker = Worker({server.address!r})

@worker.task({function!r})
def count(job):
    job.send_status(7, 0)
    return b"done\\n"
"""
        )
        start([*GEARTRAIN, "work", "tasks:worker", "-q"], cwd=tmp_path)
        assert gearman("-f", function, "x") == (0, b"7/0 Complete\ndone\n", b"")

    def test_an_output_that_is_full(self, worker: Worker, function: str, server: Server) -> None:
        worker("--", "cat")
        argv = [*argv_of("geartrain", "gearman"), *server.flags, "-f", function, "x", "y"]
        with open("/dev/full", "wb") as full:
            done = subprocess.run(
                argv, stdout=full, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, env=environment()
            )
        assert done.returncode == 1
        assert done.stderr == b"gearman: the output cannot be written: No space left on device\n"


class TestStrict:
    """The exit statuses of --strict, as the help text has them."""

    def test_done(self, gearman: Gearman, worker: Worker, function: str) -> None:
        worker("--", "cat")
        assert gearman("--strict", "-f", function, "x") == (0, b"x", b"")

    def test_failed(self, gearman: Gearman, worker: Worker, function: str) -> None:
        worker("--", "false")
        assert gearman("--strict", "-f", function, "x").status == 1

    @pytest.mark.parametrize("words", [["x"], ["-z"], ["-f", "f", "-p", "abc"], ["-f", "f", "-i", "/nowhere/pid"]])
    def test_usage(self, words: list[str]) -> None:
        assert run([*argv_of("geartrain", "gearman"), "--strict", *words]).status == 2

    def test_unreachable(self) -> None:
        argv = [*argv_of("geartrain", "gearman"), "--strict", "-p", str(free_port()), "-f", "f", "x"]
        done = run(argv)
        assert done.status == 3
        assert "Is a job server running" in done.said

    def test_timeout(self, gearman: Gearman, function: str) -> None:
        done = gearman("--strict", "-t", "200", "-f", function, "x")
        assert done.status == 4

    def test_refused(self, gearman: Gearman, function: str, server: Server) -> None:
        assert gearman("-b", "-f", function, "x").status == 0
        server_limit(server, function)
        done = gearman("--strict", "-b", "-f", function, "y")
        assert done.status == 5
        assert "Job queue is full" in done.said


def server_limit(server: Server, function: str) -> None:
    """Sets a queue limit of one job."""
    done = run([*argv_of("geartrain", "gearadmin"), *server.flags, "--maxqueue", function, "1"])
    assert done == (0, b"OK\n", b"")
