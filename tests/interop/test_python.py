"""Python's gear and pygearman from PyPI, over both servers.

Both are run by the interpreter of the tests, from the dependency group `interop`, in processes of their own.
"""

import ast
import re

import pytest

from tests.services import free_port, wait_until

from .conftest import Gate, Launch, Run, Spawn
from .languages import python
from .programs import Program
from .servers import Server

pytestmark = pytest.mark.timeout(40)


@pytest.fixture(params=["gear", "pygearman"])
def library(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def gear() -> str:
    return "gear"


@pytest.fixture
def pygearman() -> str:
    return "pygearman"


@pytest.fixture
def guest(server: Server):
    """The command line of a guest up to its server."""

    def guest(library: str, command: str, servers: str = server.address) -> list[str]:
        return [*python(library), command, servers]

    return guest


@pytest.fixture
def worker(spawn: Spawn, guest, server: Server):
    def worker(library: str, *functions: str) -> Program:
        program = spawn([*guest(library, "worker"), *functions])
        for function in functions:
            server.wait_for_workers(function, 1, program)
        return program

    return worker


@pytest.fixture
def lines(run: Run, guest):
    """Runs a guest and returns what it printed; it must not have complained."""

    def lines(library: str, command: str, *words: str) -> list[str]:
        done = run([*guest(library, command), *words])
        assert (done.code, done.errors) == (0, b""), done
        return done.lines

    return lines


class TestBoth:
    @pytest.mark.parametrize("priority", ["high", "normal", "low"])
    def test_a_job(self, worker, lines, library, priority):
        worker(library, "reverse")
        results = {"gear": "complete 1 olleH", "pygearman": "1 COMPLETE olleH"}
        assert lines(library, "call", priority, "", "reverse=Hello") == [results[library]]

    def test_background_jobs_with_equal_uniques_are_one(self, lines, server, library):
        first, second = lines(library, "submit", "normal", "key", "later=a", "later=b")
        assert first == second
        assert re.fullmatch(r"H:\S+:1", first)
        assert server.function("later").total == 1

    def test_priorities(self, lines, worker, library):
        for priority in ("low", "normal", "high"):
            lines(library, "submit", priority, "", f"note={priority} 1", f"note={priority} 2")
        program = worker(library, "note")
        wait_until(lambda: len(program.lines()) == 6, "six notes")
        assert program.lines() == [f"{priority} {n}" for priority in ("high", "normal", "low") for n in (1, 2)]

    def test_the_status_of_a_job_on_its_way(self, spawn, worker, guest, library, gate: Gate):
        client = spawn([*guest(library, "follow"), f"gate={gate.path}"])
        wait_until(lambda: client.lines()[:1] == ["known=True running=False 0/0"], "the job waits")
        worker(library, "gate")
        wait_until(lambda: "known=True running=True 1/4" in client.lines(), "the job runs")
        gate.open("done")
        assert client.finish().lines[-1] == "known=False running=False 0/0"

    def test_the_worker_s_name_and_the_unique(self, worker, lines, server, library):
        worker(library, "describe")
        rows = [line for line in server.ask("workers") if line.endswith(": describe")]
        assert [row.split()[2] for row in rows] == [f"{library}-1"]
        [line] = lines(library, "call", "normal", "key", "describe=12345")
        assert re.search(r" H:\S+:1 describe key 5$", line)

    def test_a_dead_server_in_the_list(self, worker, run, guest, server, library):
        worker(library, "reverse")
        servers = f"127.0.0.1:{free_port()},{server.address}"
        done = run([*guest(library, "call", servers), "normal", "", "reverse=Hello"])
        assert done.lines[-1].endswith("olleH"), done

    def test_a_worker_of_two_servers(self, spawn, run, guest, launch: Launch, library):
        servers = [launch(), launch()]
        both = ",".join(server.address for server in servers)
        program = spawn([*guest(library, "worker", both), "reverse"])
        for server in servers:
            server.wait_for_workers("reverse", 1, program)
            done = run([*guest(library, "call", server.address), "normal", "", "reverse=Hello"])
            assert done.lines[-1].endswith("olleH"), done

    def test_thirty_jobs_at_once(self, worker, lines, library):
        worker(library, "reverse")
        told = lines(library, "call", "normal", "", *(f"reverse={number:04}" for number in range(30)))
        assert {line.split()[-1] for line in told} == {f"{number:04}"[::-1] for number in range(30)}


class TestGear:
    def test_every_event(self, worker, lines, gear):
        worker(gear, "reverse", "story", "fail", "exception")
        told: dict[str, list[str]] = {}
        words = ["reverse=abc", "story=x", "fail=x", "exception=x", "reverse="]
        for event in lines(gear, "call", "normal", "", *words):
            name, place, *rest = event.split(" ", 2)
            told.setdefault(place, []).append(" ".join([name, *rest]).rstrip())
        assert told == {
            "1": ["complete cba"],
            "2": ["data one", "warning careful", "status 1/2", "data two", "status 2/2", "complete three"],
            "3": ["fail"],
            "4": ["exception it broke"],
            "5": ["complete"],
        }

    def test_a_full_queue(self, lines, run, guest, server, gear):
        lines(gear, "submit", "normal", "", "later=a")
        assert server.tell("maxqueue later 1") == "OK"
        done = run([*guest(gear, "submit"), "normal", "", "later=b"])
        assert done.lines == ["refused Unable to submit job to any connected servers"]
        assert b"QUEUE_ERROR': b'Job queue is full'" in done.errors

    def test_its_admin_requests(self, lines, worker, server, gear):
        worker(gear, "reverse")
        [handle] = lines(gear, "submit", "normal", "key", "later=x")
        assert sorted(lines(gear, "admin", "status")) == [".", "later\t1\t0\t0", "reverse\t0\t0\t1"]
        assert lines(gear, "admin", "show jobs") == [f"{handle}\t0\t0\t1", "."]
        assert lines(gear, "admin", "show unique jobs") == ["key", "."]
        assert lines(gear, "admin", "version") == [server.tell("version")]
        assert any(re.fullmatch(r"\d+ 127\.0\.0\.1 gear-1 : reverse", line) for line in lines(gear, "admin", "workers"))
        assert lines(gear, "admin", "cancel job", handle) == ["OK"]
        assert lines(gear, "admin", "cancel job", "H:nobody:1") == ["ERR UNKNOWN_JOB"]


class TestPygearman:
    def test_every_update(self, worker, lines, pygearman):
        worker(pygearman, "reverse", "story", "fail")
        told = lines(pygearman, "call", "normal", "", "reverse=abc", "story=x", "fail=x", "reverse=")
        assert [line.rstrip() for line in told] == [
            "1 COMPLETE cba",
            "2 COMPLETE three data:one data:two warning:careful status:2/2",
            "3 FAILED",
            "4 COMPLETE",
        ]

    def test_its_admin_client(self, lines, run, guest, worker, server, pygearman):
        def ask(method: str, *words: str) -> object:
            return ast.literal_eval(lines(pygearman, "admin", method, *words)[0])

        worker(pygearman, "reverse")
        [handle] = lines(pygearman, "submit", "normal", "key", "later=x")
        assert ask("ping_server") < 1
        rows = {row["task"]: (row["queued"], row["running"], row["workers"]) for row in ask("get_status")}
        assert rows == {"later": (1, 0, 0), "reverse": (0, 0, 1)}
        assert lines(pygearman, "admin", "get_version") == [server.tell("version")]
        assert lines(pygearman, "admin", "get_pid") == [f"OK {server.process.pid}"]
        assert {(row["client_id"], row["tasks"]) for row in ask("get_workers")} == {
            ("pygearman-1", ("reverse",)),
            ("-", ()),
        }
        assert ask("get_jobs") == ({"handle": handle, "queued": 0, "canceled": 0, "enabled": 1},)
        assert ask("get_unique_jobs") == ({"unique": ["key"]},)

    def test_maxqueue_is_set_although_it_wants_another_end_of_line(self, run, guest, lines, server, pygearman):
        # It compares with "OK", and gearmand ends this answer with CR LF.
        lines(pygearman, "submit", "normal", "", "later=a")
        done = run([*guest(pygearman, "admin"), "send_maxqueue", "later", "1"])
        assert b"Expected 'OK', received: OK\r\n" in done.errors
        assert lines(pygearman, "admin", "get_pid")
        with server.connection() as connection:
            connection.sendall(b"\0REQ\0\0\0\x12\0\0\0\x07later\0\0")
            assert b"Job queue is full" in connection.recv(100)
