"""Debian's command-line tools, gearman and gearadmin, with every flag, over both servers."""

import os
import re
import signal

import pytest

from tests.services import free_port, wait_until

from .conftest import Run, Spawn
from .programs import Finished, Program, find
from .servers import Server

pytestmark = pytest.mark.timeout(40)


@pytest.fixture
def gearman(run: Run, server: Server):
    """Runs `gearman` against the server."""

    def gearman(*words: str, stdin: bytes = b"") -> Finished:
        argv = [find("gearman"), "-h", "127.0.0.1", "-p", str(server.port), *words]
        return run(argv, stdin=stdin)

    return gearman


@pytest.fixture
def gearadmin(run: Run, server: Server):
    """Runs `gearadmin` against the server."""

    def gearadmin(*words: str) -> Finished:
        return run([find("gearadmin"), "-h", "127.0.0.1", "-p", str(server.port), *words])

    return gearadmin


@pytest.fixture
def worker(spawn: Spawn, server: Server):
    """Starts `gearman -w` for a function with a command, and returns when the server knows it."""

    def worker(function: str, *command: str, options: tuple[str, ...] = ()) -> Program:
        base = [find("gearman"), "-h", "127.0.0.1", "-p", str(server.port), "-w", "-f", function]
        program = spawn([*base, *options, *(["--", find(command[0]), *command[1:]] if command else [])])
        server.wait_for_workers(function, 1, program)
        return program

    return worker


class TestClient:
    def test_the_first_thing_that_everybody_tries(self, worker, run, server):
        worker("wc", "wc", "-l")
        with open("/etc/passwd", "rb") as passwd:
            text = passwd.read()
        done = run([find("gearman"), "-h", "127.0.0.1", "-p", str(server.port), "-f", "wc"], stdin=text)
        assert (done.code, done.output) == (0, b"%d\n" % text.count(b"\n"))

    def test_workloads_from_the_command_line(self, worker, gearman):
        worker("rev", "rev")
        assert gearman("-f", "rev", "Hello").output == b"olleH"
        assert gearman("-f", "rev", "Hello", "World").output == b"olleHdlroW"

    @pytest.mark.parametrize("priority", ["-I", "-L"])
    def test_with_priority_and_unique(self, worker, gearman, priority):
        worker("rev", "rev")
        done = gearman(priority, "-u", "key", "-f", "rev", "Hello")
        assert (done.code, done.output, done.errors) == (0, b"olleH", b"")

    def test_one_job_per_line(self, worker, gearman):
        worker("rev", "rev")
        assert gearman("-n", "-f", "rev", stdin=b"one\ntwo\n").output == b"eno\nowt\n"
        assert gearman("-N", "-f", "rev", stdin=b"one\ntwo\n").output == b"enoowt"

    def test_an_empty_workload(self, worker, gearman):
        worker("wc", "wc", "-c")
        assert gearman("-s", "-f", "wc").output == b"0\n"

    def test_several_functions_with_their_names_before_the_lines(self, worker, gearman):
        worker("rev", "rev")
        worker("wc", "wc", "-c")
        output = gearman("-P", "-f", "rev", "-f", "wc", "Hello").output
        assert output in (b"rev: olleHwc: 5\n", b"wc: 5\nrev: olleH")

    def test_verbosely(self, worker, gearman):
        worker("rev", "rev")
        done = gearman("-v", "-f", "rev", "Hello")
        assert re.fullmatch(rb"(Task created: H:\S+:1\n)?olleH(Task created: H:\S+:1\n)?", done.output + done.errors)

    def test_in_the_background(self, gearman, server):
        assert gearman("-b", "-f", "later", "a").output == b""
        done = gearman("-b", "-v", "-f", "later", "b")
        assert re.fullmatch(rb"Task created: H:\S+:2\n", done.output + done.errors)
        assert gearman("-b", "-I", "-f", "later", "c").code == 0
        assert gearman("-b", "-L", "-f", "later", "d", "e").code == 0
        assert gearman("-b", "-u", "key", "-f", "later", "f").code == 0
        assert gearman("-b", "-u", "key", "-f", "later", "f").code == 0
        assert server.ask("prioritystatus") == ["later\t1\t3\t2\t0"]

    def test_a_time_limit(self, gearman):
        done = gearman("-t", "200", "-f", "nobody", "x")
        assert done.code == 0
        assert b"GEARMAN_TIMEOUT" in done.errors

    def test_a_pid_file_and_the_help(self, worker, gearman, tmp_path):
        worker("rev", "rev")
        path = tmp_path / "client.pid"
        assert gearman("-i", str(path), "-f", "rev", "Hello").output == b"olleH"
        assert not path.exists()  # it is gone with the client
        assert b"Client mode: " in (done := gearman("-H")).output + done.errors

    def test_a_failed_job(self, worker, gearman):
        worker("bad", "sh", "-c", "echo oops; exit 3")
        done = gearman("-f", "bad", "x")
        assert (done.code, done.output, done.errors) == (1, b"oops\n", b"Job failed\n")

    def test_a_server_that_is_not_there(self, run):
        done = run([find("gearman"), "-h", "127.0.0.1", "-p", str(free_port()), "-f", "rev", "x"])
        assert b"GEARMAN_COULD_NOT_CONNECT" in done.errors

    def test_the_server_from_the_environment(self, worker, run, server):
        worker("rev", "rev")
        done = run([find("gearman"), "-f", "rev", "Hello"], GEARMAN_SERVER=server.address)
        assert done.output == b"olleH"


class TestWorker:
    def test_the_output_line_by_line(self, worker, gearman, kind):
        worker("lines", "cat", options=("-N",))
        # gearman -w -n sends what it has sent before again: a fault of the tool, to be passed on as it is.
        assert gearman("-f", "lines", stdin=b"one\ntwo\n").output == b"oneone\ntwo"

    def test_without_a_command_it_prints_the_workload_itself(self, worker, gearman):
        program = worker("print")
        assert gearman("-f", "print", "Hello").output == b""
        wait_until(lambda: program.output() == b"Hello", "the workload")

    def test_so_many_jobs_and_then_it_leaves(self, worker, gearman, server):
        program = worker("rev", "rev", options=("-c", "2"))
        assert gearman("-f", "rev", "ab").output == b"ba"
        assert program.is_alive()
        assert gearman("-f", "rev", "cd").output == b"dc"
        assert program.finish().code == 0
        server.wait_for_workers("rev", 0)

    def test_it_takes_what_waited_before_it_came(self, gearman, worker, server):
        gearman("-b", "-f", "later", "a", "b", "c")
        server.wait_for_total("later", 3)
        worker("later", "cat")
        server.wait_for_total("later", 0)

    def test_a_time_limit(self, worker):
        program = worker("rev", "rev", options=("-t", "200"))
        wait_until(lambda: "GEARMAN_TIMEOUT" in program.errors(), "its complaint about the time limit")

    def test_in_the_background(self, run, gearman, server, tmp_path):
        path = tmp_path / "worker.pid"
        argv = [find("gearman"), "-h", "127.0.0.1", "-p", str(server.port), "-w", "-d", "-i", str(path), "-f", "rev"]
        try:
            assert run([*argv, "--", find("rev")]).code == 0
            server.wait_for_workers("rev")
            assert gearman("-f", "rev", "Hello").output == b"olleH"
        finally:
            os.kill(int(path.read_text()), signal.SIGTERM)
        server.wait_for_workers("rev", 0)

    def test_its_pid_file(self, worker, tmp_path):
        path = tmp_path / "worker.pid"
        program = worker("rev", "rev", options=("-i", str(path)))
        assert int(path.read_text()) == program.pid

    def test_a_large_workload(self, worker, gearman):
        worker("wc", "wc", "-c")
        assert gearman("-f", "wc", stdin=b"x" * 1_000_000).output == b"1000000\n"

    def test_any_bytes(self, worker, gearman):
        worker("cat", "cat")
        data = bytes(range(256)) * 40
        assert gearman("-f", "cat", stdin=data).output == data


class TestAdmin:
    def test_about_the_server(self, gearadmin, server):
        version = server.tell("version")
        assert version.startswith("OK ")
        assert gearadmin("--server-version").lines == [version.removeprefix("OK ")]
        assert gearadmin("--server-verbose").lines == ["ERROR"]
        assert gearadmin("--getpid").lines == [str(server.process.pid)]

    def test_functions_come_and_go(self, gearadmin):
        assert gearadmin("--create-function", "new").lines == ["OK"]
        assert gearadmin("--status").lines == ["new\t0\t0\t0", "."]
        assert gearadmin("--priority-status").lines == ["new\t0\t0\t0\t0", "."]
        assert gearadmin("--drop-function", "new").lines == ["OK"]
        assert gearadmin("--status").lines == ["."]
        done = gearadmin("--drop-function", "new")
        assert (done.code, done.errors) == (0, b"Error: function not found\r\n")

    def test_a_function_with_workers_stays(self, gearadmin, worker):
        worker("rev", "rev")
        done = gearadmin("--drop-function", "rev")
        assert (done.code, done.errors) == (
            0,
            b"Error: there are still connected workers or executing clients\r\n",
        )

    def test_jobs(self, gearadmin, gearman):
        gearman("-b", "-u", "key 1", "-f", "later", "x")
        gearman("-b", "-u", "key 2", "-f", "later", "x")
        first, second, dot = gearadmin("--show-jobs").lines
        assert dot == "."
        rows = [re.fullmatch(r"H:\S+:(\d+)\t0\t0\t1", line) for line in (first, second)]
        assert sorted(row[1] for row in rows if row) == ["1", "2"]
        *uniques, dot = gearadmin("--show-unique-jobs").lines
        assert sorted(uniques) == ["key 1", "key 2"]
        assert gearadmin("--status").lines == ["later\t2\t0\t0", "."]
        assert gearadmin("--priority-status").lines == ["later\t0\t2\t0\t0", "."]

    def test_a_cancelled_job_never_runs(self, gearadmin, gearman, worker, server, tmp_path):
        done = gearman("-b", "-v", "-f", "later", "x")
        handle = (done.output + done.errors).split()[-1].decode()
        gearman("-b", "-f", "later", "y")
        assert gearadmin("--cancel-job", handle).lines == ["OK"]
        ran = tmp_path / "ran"
        worker("later", "tee", "-a", str(ran))
        server.wait_for_total("later", 0)
        assert ran.read_text() == "y"

    def test_a_job_that_is_not_there_cannot_be_cancelled(self, gearadmin):
        done = gearadmin("--cancel-job", "H:nobody:1")
        assert (done.code, done.errors) == (0, b"Error: UNKNOWN_JOB\r\n")

    def test_workers(self, gearadmin, worker):
        worker("rev", "rev")
        *lines, dot = gearadmin("--workers").lines
        assert dot == "."
        named = [line.partition(" ")[2] for line in lines if not line.endswith(" :")]
        assert named == ["127.0.0.1 - : rev"]

    def test_a_running_job_is_counted(self, gearadmin, worker, gearman, server, tmp_path):
        pipe = tmp_path / "gate"
        os.mkfifo(pipe)
        worker("gate", "cat", str(pipe))
        gearman("-b", "-f", "gate", "x")
        server.wait_for_running("gate")
        assert gearadmin("--status").lines == ["gate\t1\t1\t1", "."]
        pipe.write_text("open")
        server.wait_for_total("gate", 0)
        assert gearadmin("--status").lines == ["gate\t0\t0\t1", "."]

    def test_without_an_option_and_with_the_help(self, gearadmin):
        assert gearadmin().code == 1
        assert b"--priority-status" in gearadmin("--help").output

    def test_several_options_at_once(self, gearadmin, gearman):
        gearman("-b", "-f", "later", "x")
        lines = gearadmin("--status", "--workers").lines
        assert lines.count(".") == 2
        assert "later\t1\t0\t0" in lines

    def test_a_server_that_is_not_there(self, run):
        assert run([find("gearadmin"), "-h", "127.0.0.1", "-p", str(free_port()), "--status"]).code == 1


def test_the_worker_finishes_when_its_command_is_slow_and_the_client_has_gone(spawn, worker, server, tmp_path):
    pipe = tmp_path / "gate"
    os.mkfifo(pipe)
    program = worker("gate", "cat", str(pipe))
    client = spawn([find("gearman"), "-h", "127.0.0.1", "-p", str(server.port), "-f", "gate", "x"])
    server.wait_for_running("gate")
    client.send_signal(signal.SIGKILL)
    pipe.write_text("open")
    server.wait_for_total("gate", 0)
    assert program.is_alive()
