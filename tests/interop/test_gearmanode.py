"""The npm package gearmanode, over both servers."""

import re

import pytest

from tests.services import free_port, wait_until

from .conftest import Gate, Launch, Run
from .languages import node
from .servers import Server

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def script(server: Server):
    """The command line of one of the guests, up to its server."""

    def script(name: str, *options: str, servers: str = server.address) -> list[str]:
        return [*node(name), *options, servers]

    return script


@pytest.fixture
def tasks(run: Run, script):
    """Submits jobs and returns the events that were printed."""

    def tasks(*words: str, options: tuple[str, ...] = ()) -> list[str]:
        done = run([*script("tasks", *options), *words])
        assert (done.code, done.errors) == (0, b""), done
        return done.lines

    return tasks


class TestClient:
    @pytest.mark.parametrize("priority", ["HIGH", "NORMAL", "LOW"])
    def test_a_job(self, worker, tasks, priority):
        worker("reverse")
        assert tasks("reverse=Hello", options=("-k", priority)) == ["created 1 handle", "complete 1 olleH"]

    def test_every_event_of_many_jobs(self, worker, tasks):
        worker("reverse", "story", "fail", "exception")
        told: dict[str, list[str]] = {}
        for event in tasks("reverse=abc", "story=x", "fail=x", "exception=x", "reverse=", options=("-x",)):
            name, place, *rest = event.split(" ", 2)
            told.setdefault(place, []).append(" ".join([name, *rest]))
        assert told == {
            "exceptions": ["option"],
            "1": ["created handle", "complete cba"],
            "2": [
                "created handle",
                "data one",
                "warning careful",
                "status 1/2",
                "data two",
                "status 2/2",
                "complete three",
            ],
            "3": ["created handle", "fail"],
            "4": ["created handle", "exception it broke"],
            "5": ["created handle", "complete"],
        }

    def test_an_exception_is_a_failure_where_nobody_asked(self, worker, run, script, kind):
        # gearmand puts a NUL behind the handle in that WORK_FAIL, and this library dies of the unknown job.
        worker("exception")
        done = run([*script("tasks"), "exception=x"])
        if kind == "gearmand":
            assert b"unknown job" in done.errors
        else:
            assert done.lines == ["created 1 handle", "fail 1"]

    def test_echo(self, worker, tasks):
        worker("reverse")
        events = tasks("reverse=ab", options=("-e", "hi"))
        assert events == ["echo hi", "created 1 handle", "complete 1 ba"]

    def test_thirty_jobs_at_once(self, worker, tasks):
        worker("reverse")
        events = tasks(*(f"reverse={number:04}" for number in range(30)))
        results = {event.split()[2] for event in events if event.startswith("complete")}
        assert results == {f"{number:04}"[::-1] for number in range(30)}

    def test_a_payload_beyond_one_read(self, worker, tasks):
        worker("reverse")
        assert tasks("reverse=" + "x" * 100_000)[-1] == "complete 1 " + "x" * 100_000

    def test_a_dead_server_in_the_list(self, worker, run, script, server):
        worker("reverse")
        servers = f"127.0.0.1:{free_port()},{server.address}"
        done = run([*script("tasks", servers=servers), "reverse=Hello"])
        assert done.lines[-1] == "complete 1 olleH", done

    def test_a_full_queue(self, tasks, server):
        tasks("later=a", options=("-b",))
        assert server.tell("maxqueue later 1") == "OK"
        assert tasks("later=b", options=("-b",)) == ["error QUEUE_ERROR Job queue is full"]


class TestBackground:
    def test_equal_uniques_are_one_job(self, tasks, server):
        first, second = tasks("later=a", "later=b", options=("-b", "-u", "key"))
        assert re.fullmatch(r"created 1 H:\S+:1", first)
        assert second.split()[2] == first.split()[2]
        assert server.function("later").total == 1

    def test_priorities(self, tasks, worker, server):
        for priority in ("LOW", "NORMAL", "HIGH"):
            tasks(f"note={priority} 1", f"note={priority} 2", options=("-b", "-k", priority))
        program = worker("note")
        wait_until(lambda: len(program.lines()) == 6, "six notes")
        assert program.lines() == [f"{priority} {n}" for priority in ("HIGH", "NORMAL", "LOW") for n in (1, 2)]

    def test_the_status_of_a_job_on_its_way(self, spawn, worker, script, server, gate: Gate):
        client = spawn([*script("status"), "gate", gate.path])
        wait_until(lambda: "known=true running=false 0/0" in client.lines(), "the job waits")
        worker("gate")
        wait_until(lambda: "known=true running=true 1/4" in client.lines(), "the job runs")
        gate.open("done")
        assert client.finish().lines[-1] == "known=false running=false 0/0"


class TestWorker:
    def test_its_name_and_the_unique(self, worker, tasks, server):
        worker("describe", options=("-i", "node-1", "-u"))
        assert any(re.fullmatch(r"\d+ 127\.0\.0\.1 node-1 : describe", line) for line in server.ask("workers"))
        event = tasks("describe=12345", options=("-u", "key"))[-1]
        assert re.fullmatch(r"complete 1 H:\S+:1 describe key 5", event)

    def test_a_time_limit_in_its_registration(self, worker, tasks):
        worker("reverse:30")
        assert tasks("reverse=abc")[-1] == "complete 1 cba"

    def test_two_servers(self, spawn, run, script, launch: Launch):
        servers = [launch(), launch()]
        program = spawn([*script("worker", servers=",".join(server.address for server in servers)), "reverse"])
        for server in servers:
            server.wait_for_workers("reverse", 1, program)
            assert run([*script("tasks", servers=server.address), "reverse=Hello"]).lines[-1] == "complete 1 olleH"
