"""PHP's gearman extension, over both servers."""

import re

import pytest

from tests.services import free_port, wait_until

from .conftest import Gate, Launch
from .languages import php
from .servers import Server

pytestmark = pytest.mark.timeout(40)


@pytest.fixture
def script(server: Server):
    """The command line of one of the guests, up to its server."""

    def script(name: str, *options: str) -> list[str]:
        return [*php(name), *options, server.address]

    return script


class TestClient:
    @pytest.mark.parametrize("priority", ["Normal", "High", "Low"])
    def test_do(self, worker, lines, priority):
        worker("reverse")
        assert lines("call", "reverse", "Hello", options=("-k", priority)) == ["SUCCESS olleH"]

    def test_a_story_with_data_and_status(self, worker, lines):
        worker("story")
        assert lines("call", "story", "x")[-1] == "SUCCESS onetwothree"

    @pytest.mark.parametrize("function", ["fail", "returns_fail"])
    def test_failures(self, worker, lines, function):
        worker(function)
        assert lines("call", function, "x") == ["WORK_FAIL"]

    def test_an_exception(self, worker, lines):
        worker("exception")
        assert lines("call", "exception", "x") == ["WORK_EXCEPTION"]

    def test_a_result_that_the_worker_sends_itself(self, worker, lines):
        worker("complete")
        assert lines("call", "complete", "x") == ["SUCCESS sent by hand"]

    def test_ping(self, worker, lines):
        worker("reverse")
        assert lines("call", "reverse", "ab", options=("-p",)) == ["pong", "SUCCESS ba"]

    def test_a_time_limit(self, lines):
        assert lines("call", "nobody", "x", options=("-t", "200")) == ["TIMEOUT"]

    def test_the_worker_sees_handle_function_and_unique(self, worker, lines):
        worker("describe")
        [line] = lines("call", "describe", "12345", options=("-u", "key"))
        assert re.fullmatch(r"SUCCESS H:\S+:1 describe key 5", line)

    def test_a_dead_server_in_the_list(self, worker, run, server):
        worker("reverse")
        for servers in (f"127.0.0.1:{free_port()},{server.address}", f"{server.address},127.0.0.1:{free_port()}"):
            done = run([*php("call"), "-t", "3000", servers, "reverse", "Hello"])
            assert done.lines == ["SUCCESS olleH"], done


class TestBackground:
    def test_a_job_goes_from_waiting_to_running_to_gone(self, worker, lines, server, gate: Gate):
        [handle] = lines("submit", "gate", gate.path, options=("-u", "key"))
        for by, key in (("handle", handle), ("unique", "key")):
            assert lines("status", by, key) == ["known=1 running=0 0/0"]
        worker("gate")
        server.wait_for_running("gate")
        for by, key in (("handle", handle), ("unique", "key")):
            wait_until(lambda by=by, key=key: " 1/4" in lines("status", by, key)[0], "the job's progress")
            assert lines("status", by, key) == ["known=1 running=1 1/4"]
        gate.open("done")
        server.wait_for_total("gate", 0)
        for by, key in (("handle", handle), ("unique", "key")):
            assert lines("status", by, key) == ["known=0 running=0 0/0"]

    def test_priorities(self, run, script, lines, server):
        for priority in ("LowBackground", "Background", "HighBackground"):
            lines("submit", "note", f"{priority} 1", f"{priority} 2", options=("-k", priority))
        done = run([*script("worker", "-c", "6"), "note"])
        noted = [line for line in done.lines if "Background" in line]
        assert noted == [f"{name} {n}" for name in ("HighBackground", "Background", "LowBackground") for n in (1, 2)]

    def test_equal_uniques_are_one_job(self, lines, server):
        handles = set(lines("submit", "later", "a", "b", "c", options=("-u", "key")))
        assert len(handles) == 1
        assert server.function("later").total == 1

    def test_a_full_queue(self, run, script, lines, server):
        lines("submit", "later", "a")
        assert server.tell("maxqueue later 1") == "OK"
        done = run([*script("submit"), "later", "b"])
        assert b"QUEUE_ERROR" in done.output + done.errors
        assert server.function("later").total == 1


class TestTasks:
    @pytest.mark.parametrize("options", [(), ("-n",)], ids=["blocking", "non-blocking"])
    @pytest.mark.parametrize("priority", ["", "High", "Low"])
    def test_every_callback_comes_in_order(self, worker, lines, options, priority):
        worker("reverse", "story", "fail", "exception")
        words = ["reverse=abc", "story=x", "fail=x", "exception=x"]
        *events, end = lines("tasks", *words, options=("-x", "-k", priority, *options))
        # Answers may come before it looks: whether it waits is the machine's affair. test_a_time_limit waits for sure.
        assert end.removesuffix(" waited" if options else "") == "SUCCESS"
        told: dict[str, list[str]] = {}
        for event in events:
            name, place, *rest = event.split(" ", 2)
            told.setdefault(place, []).append(" ".join([name, *rest]))
        assert told == {
            "1": ["created handle", "complete cba"],
            "2": [
                "created handle",
                "data one",
                "warning careful",
                "status 1/2 known=1 running=1",
                "data two",
                "status 2/2 known=1 running=1",
                "complete three",
            ],
            "3": ["created handle", "fail"],
            "4": ["created handle", "exception it broke"],
        }

    @pytest.mark.parametrize("kind_of", ["Background", "HighBackground", "LowBackground"])
    def test_background_tasks(self, lines, server, kind_of):
        *events, end = lines("tasks", "later=a", "later=b", options=("-k", kind_of))
        assert (sorted(events), end) == (["created 1 handle", "created 2 handle"], "SUCCESS")
        assert server.function("later").total == 2

    def test_status_tasks(self, lines):
        [handle] = lines("submit", "later", "x")
        # One a run: the extension mixes up two answers that come in one piece, whatever the server.
        assert lines("tasks", f"status:={handle}") == ["status 1 0/0 known=1 running=0", "SUCCESS"]
        assert lines("tasks", "status:=H:nobody:1") == ["status 1 0/0 known=0 running=0", "SUCCESS"]

    def test_a_time_limit(self, lines):
        assert lines("tasks", "nobody=x", options=("-t", "200"))[-1] == "TIMEOUT"
        assert lines("tasks", "nobody=x", options=("-n", "-t", "200"))[-1] == "TIMEOUT waited"


class TestWorker:
    @pytest.mark.parametrize("options", [(), ("-n",)], ids=["blocking", "non-blocking"])
    def test_the_manual_s_reverse_worker(self, worker, lines, options):
        program = worker("reverse", options=(*options, "-c", "3"))
        for word in ("one", "two", "three"):
            assert lines("call", "reverse", word) == [f"SUCCESS {word[::-1]}"]
        assert program.finish().lines == ["waited" if options else "never waited"]

    def test_time_limits(self, lines):
        assert lines("worker", "reverse", options=("-t", "200")) == ["TIMEOUT"]
        assert lines("worker", "reverse", options=("-n", "-t", "200")) == ["waited, TIMEOUT"]

    def test_its_name(self, worker, server):
        worker("reverse", options=("-i", "php-1"))
        assert any(re.fullmatch(r"\d+ 127\.0\.0\.1 php-1 : reverse", line) for line in server.ask("workers"))

    def test_a_worker_of_two_servers(self, spawn, run, launch: Launch):
        servers = [launch(), launch()]
        both = ",".join(server.address for server in servers)
        program = spawn([*php("worker"), both, "reverse"])
        for server in servers:
            server.wait_for_workers("reverse", 1, program)
            call = [*php("call"), server.address, "reverse", "Hello"]
            assert run(call).lines == ["SUCCESS olleH"]
