"""libgearman, the library in C below most other languages, over both servers."""

import re
import signal

import pytest

from tests.services import free_port, wait_until

from .conftest import Gate, Launch, Run, Spawn
from .programs import Program, compiled
from .servers import Server

pytestmark = pytest.mark.timeout(40)


@pytest.fixture
def worker(spawn: Spawn, server: Server):
    """Starts C workers and returns when the server knows their functions."""

    def worker(*words: str, options: tuple[str, ...] = (), count: int = 1) -> Program:
        program = spawn([compiled("worker"), *options, server.address, *words])
        for word in words:
            server.wait_for_workers(word.split(":")[0], count, program)
        return program

    return worker


@pytest.fixture
def call(run: Run, server: Server):
    """Calls a function with a C client and returns the lines that it printed."""

    def call(*words: str, options: tuple[str, ...] = ()) -> list[str]:
        return run([compiled("call"), *options, server.address, *words]).lines

    return call


@pytest.fixture
def submit(run: Run, server: Server):
    """Submits background jobs with a C client and returns their handles."""

    def submit(*words: str, options: tuple[str, ...] = ()) -> list[str]:
        done = run([compiled("submit"), *options, server.address, *words])
        assert done.code == 0, done
        return done.lines

    return submit


@pytest.fixture
def job_status(run: Run, server: Server):
    """Asks for a job's status with a C client, by handle or by unique."""

    def job_status(by: str, key: str) -> str:
        done = run([compiled("status"), server.address, by, key])
        assert done.code == 0, done
        return done.lines[0]

    return job_status


class TestBlocking:
    @pytest.mark.parametrize("priority", ["normal", "high", "low"])
    def test_do_returns_the_result(self, worker, call, priority):
        worker("reverse")
        assert call("reverse", "Hello", options=("-k", priority)) == ["SUCCESS olleH"]

    def test_the_first_interface_of_workers_still_works(self, worker, call):
        worker("old_reverse", "old_fail")
        assert call("old_reverse", "Hello") == ["SUCCESS olleH"]
        assert call("old_fail", "Hello") == ["WORK_FAIL "]

    def test_data_then_result_come_as_one(self, worker, call):
        worker("story")
        assert call("story", "x") == ["SUCCESS onetwothree"]

    def test_fail_is_a_failure(self, worker, call):
        worker("fail")
        assert call("fail", "x") == ["WORK_FAIL "]

    def test_an_exception_reaches_a_client_that_asked_for_it(self, worker, call):
        worker("exception")
        assert call("exception", "x", options=("-x",)) == ["WORK_EXCEPTION "]

    def test_an_exception_is_a_failure_to_all_others(self, worker, call, kind):
        # gearmand ends the handle in that WORK_FAIL with a NUL, libgearman does not know such a handle, and
        # its client waits for ever: a fault of gearmand that ours does not have.
        worker("exception")
        expected = {"gearmand": "TIMEOUT ", "geartrain": "WORK_FAIL "}
        assert call("exception", "x", options=("-t", "300")) == [expected[kind]]

    def test_echo(self, worker, call):
        worker("reverse")
        assert call("reverse", "ab", options=("-e", "are you there?")) == ["SUCCESS ba"]

    @pytest.mark.parametrize("size", [0, 8191, 300_000, 1_000_000])
    def test_workloads_of_all_sizes(self, worker, call, size):
        worker("reverse")
        [line] = call("reverse", f"@{size}")
        assert line == "SUCCESS " + "x" * size

    def test_a_namespace_is_put_before_the_function(self, spawn, call, server):
        spawn([compiled("worker"), "-N", "test:", server.address, "reverse"])
        server.wait_for_workers("test:reverse")
        assert call("reverse", "Hello", options=("-N", "test:")) == ["SUCCESS olleH"]
        assert call("reverse", "Hello", options=("-t", "100")) == ["TIMEOUT "]

    def test_a_worker_is_listed_under_its_name(self, worker, server):
        worker("reverse", options=("-i", "worker-17"))
        [line] = [line for line in server.ask("workers") if line.endswith(": reverse")]
        assert re.fullmatch(r"\d+ 127\.0\.0\.1 worker-17 : reverse", line)


class TestUnique:
    def test_the_worker_sees_the_unique_of_the_client(self, worker, call):
        worker("describe")
        [line] = call("describe", "x", options=("-u", "my key"))
        assert re.fullmatch(r"SUCCESS H:\S+:\d+ describe my key", line)

    def test_without_one_the_library_makes_one(self, worker, call):
        worker("describe")
        [line] = call("describe", "x")
        assert re.fullmatch(r"SUCCESS H:\S+:\d+ describe [0-9a-f-]{36}", line)

    def test_a_hash_sign_means_the_hash_of_the_workload(self, worker, call):
        worker("describe")
        first, again, other = (call("describe", word, options=("-u", "#"))[0].split()[-1] for word in ("x", "x", "y"))
        assert first == again != other
        assert first.isdigit()

    def test_a_hyphen_stays_a_hyphen(self, worker, call):
        worker("describe")
        [line] = call("describe", "x", options=("-u", "-"))
        assert line.endswith(" describe -")

    @pytest.mark.parametrize("unique", ["my key", "#", "-"])
    def test_equal_jobs_are_one(self, submit, server, unique):
        handles = [submit("later", word, options=("-u", unique))[0] for word in ("same", "same")]
        assert handles[0] == handles[1]
        assert server.function("later").total == 1

    @pytest.mark.parametrize("unique", ["#", "-"])
    def test_other_workloads_are_other_jobs(self, submit, server, unique):
        handles = {submit("later", word, options=("-u", unique))[0] for word in ("same", "other")}
        assert len(handles) == 2
        assert server.function("later").total == 2

    def test_all_clients_of_one_job_get_the_result(self, spawn, worker, server, gate: Gate):
        worker("gate")
        clients = [spawn([compiled("call"), "-u", "k", server.address, "gate", gate.path]) for _ in range(2)]
        server.wait_for_running("gate")
        wait_until(lambda: server.clients_of(b"k") == 2, "two clients at the job")
        gate.open("for both")
        assert [client.finish().lines for client in clients] == [["SUCCESS for both"]] * 2


class TestTasks:
    @pytest.mark.parametrize("options", [(), ("-n",)], ids=["blocking", "non-blocking"])
    @pytest.mark.parametrize("priority", ["normal", "high", "low"])
    def test_every_callback_comes_in_order(self, run, worker, server, options, priority):
        worker("reverse", "story", "fail", "exception")
        words = ["reverse=abc", "story=x", "fail=x", "exception=x", "reverse="]
        done = run([compiled("tasks"), "-x", "-k", priority, *options, server.address, *words])
        *events, end = done.lines
        assert end.startswith("SUCCESS"), done
        told: dict[str, list[str]] = {}
        for event in events:
            name, place, rest = event.split(" ", 2)
            told.setdefault(place, []).append(f"{name} {rest}".rstrip())
        assert told == {
            "1": ["created handle", "data cba", "complete"],
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
            "5": ["created handle", "data", "complete"],
        }

    def test_a_hundred_tasks_in_one_run(self, run, worker, server):
        worker("old_reverse", options=("-n",))
        words = [f"old_reverse={number:04}" for number in range(100)]
        done = run([compiled("tasks"), "-n", server.address, *words])
        complete = {line.split()[2] for line in done.lines if line.startswith("complete")}
        assert complete == {f"{number:04}"[::-1] for number in range(100)}
        assert done.lines[-1] == "SUCCESS waited"

    def test_status_tasks_by_handle_and_unique(self, run, submit, server):
        [handle] = submit("later", "x", options=("-u", "key"))
        done = run([compiled("tasks"), server.address, f"status:={handle}", "unique:=key", "status:=H:no:1"])
        assert sorted(done.lines) == [
            "SUCCESS",
            "status 0 0/0 known=1 running=0",
            "status 1 0/0 known=1 running=0",
            "status 3 0/0 known=0 running=0",
        ]

    @pytest.mark.parametrize("options", [(), ("-n",)], ids=["blocking", "non-blocking"])
    def test_a_time_limit_ends_the_run(self, run, server, options):
        done = run([compiled("tasks"), "-t", "200", *options, server.address, "nobody=x"])
        assert done.lines[0] == "created 1 handle"
        assert done.lines[-1].split()[0] == "TIMEOUT"

    @pytest.mark.parametrize("options", [(), ("-n",)], ids=["blocking", "non-blocking"])
    def test_background_tasks_only_report_their_handles(self, run, server, options):
        argv = [compiled("tasks"), "-k", "background", *options, server.address, "later=a", "later=b"]
        *events, end = run(argv).lines
        assert sorted(events) == ["created 1 handle", "created 2 handle"]
        assert end.startswith("SUCCESS")
        assert server.function("later").total == 2


class TestBackground:
    def test_a_job_goes_from_waiting_to_running_to_gone(self, worker, submit, job_status, server, gate: Gate):
        [handle] = submit("gate", gate.path, options=("-u", "key"))
        assert job_status("handle", handle) == "known=1 running=0 0/0 JOB_EXISTS"
        assert job_status("unique", "key") == "known=1 running=0 0/0"
        worker("gate")
        server.wait_for_running("gate")
        wait_until(lambda: " 1/4" in job_status("handle", handle), "the progress that the worker reported")
        assert job_status("handle", handle) == "known=1 running=1 1/4 IN_PROGRESS"
        assert job_status("unique", "key") == "known=1 running=1 1/4"
        gate.open("done")
        server.wait_for_total("gate", 0)
        assert job_status("handle", handle) == "known=0 running=0 0/0 SUCCESS"
        assert job_status("unique", "key") == "known=0 running=0 0/0"

    def test_high_before_normal_before_low(self, spawn, submit, server):
        for priority in ("low", "normal", "high"):
            submit("note", f"{priority} 1", f"{priority} 2", options=("-k", priority))
        done = spawn([compiled("worker"), "-c", "6", server.address, "note"]).finish()
        assert done.lines == ["high 1", "high 2", "normal 1", "normal 2", "low 1", "low 2"]

    def test_a_job_for_later_waits_for_its_time(self, worker, submit, call, server, kind):
        notes = worker("note", "reverse")
        [handle] = submit("note", "now it is", options=("-k", "epoch:1"))
        assert handle.startswith("H:")
        assert server.function("note").total == 1

        def ran() -> bool:
            if kind == "gearmand":
                call("reverse", "x")  # gearmand 1.1 wakes nobody for such a job: another one has to come by
            return notes.lines() == ["now it is"]

        wait_until(ran, "the job whose time has come")
        server.wait_for_total("note", 0)

    def test_a_full_queue_says_no(self, submit, run, server):
        submit("later", "first")
        assert server.tell("maxqueue later 1") == "OK"
        done = run([compiled("submit"), server.address, "later", "second"])
        assert done.code == 2
        assert done.errors.startswith(b"later: QUEUE_ERROR")
        assert server.function("later").total == 1


class TestWorkers:
    def test_a_worker_without_work_returns_after_its_time_limit(self, run, server):
        assert run([compiled("worker"), "-t", "200", server.address, "reverse"]).lines == ["TIMEOUT"]

    def test_a_nonblocking_worker_waits_when_there_is_nothing(self, worker, call):
        program = worker("reverse", options=("-n", "-c", "2"))
        assert call("reverse", "ab") == ["SUCCESS ba"]
        assert call("reverse", "cd") == ["SUCCESS dc"]
        assert program.finish().lines == ["waited yes"]

    def test_forked_workers_share_the_work(self, spawn, call, server):
        parent = spawn([compiled("forked"), server.address, "4", "whoami"])
        server.wait_for_workers("whoami", 4)
        answers = {call("whoami", "x")[0] for _ in range(12)}
        assert all(re.fullmatch(r"SUCCESS \d+", answer) for answer in answers)
        parent.kill()
        server.wait_for_workers("whoami", 0)

    def test_the_job_of_a_killed_worker_is_done_by_another(self, spawn, worker, server, tmp_path):
        first = worker("stuck_once")
        client = spawn([compiled("call"), server.address, "stuck_once", str(tmp_path / "mark")])
        wait_until((tmp_path / "mark").exists, "the first worker is at it")
        worker("stuck_once", count=2)
        first.send_signal(signal.SIGKILL)
        assert client.finish().lines == ["SUCCESS second try"]

    def test_a_job_past_its_time_limit_goes_to_another(self, spawn, worker, server, tmp_path):
        worker("stuck_once:stuck_once:1")
        client = spawn([compiled("call"), server.address, "stuck_once", str(tmp_path / "mark")])
        wait_until((tmp_path / "mark").exists, "the first worker is at it")
        worker("stuck_once", count=2)
        assert client.finish().lines == ["SUCCESS second try"]


class TestServers:
    def test_a_client_passes_over_a_dead_server(self, worker, run, server):
        worker("reverse")
        dead = f"127.0.0.1:{free_port()}"
        for servers in (f"{dead},{server.address}", f"{server.address},{dead}"):
            done = run([compiled("call"), "-t", "3000", servers, "reverse", "Hello"])
            assert done.lines == ["SUCCESS olleH"], servers

    def test_a_client_of_dead_servers_says_so(self, run):
        done = run([compiled("call"), "-t", "2000", f"127.0.0.1:{free_port()}", "reverse", "Hello"])
        assert done.lines[-1].split()[0] in ("COULD_NOT_CONNECT", "NO_ACTIVE_FDS", "LOST_CONNECTION")

    def test_a_worker_serves_two_servers_and_outlives_a_dead_third(self, spawn, run, launch: Launch):
        servers = [launch(), launch()]
        addresses = [server.address for server in servers]
        spawn([compiled("worker"), ",".join([f"127.0.0.1:{free_port()}", *addresses]), "reverse"])
        for server in servers:
            server.wait_for_workers("reverse")
        for address in addresses:
            assert run([compiled("call"), address, "reverse", "Hello"]).lines == ["SUCCESS olleH"]

    def test_a_client_goes_on_when_one_of_its_servers_stops(self, spawn, run, launch: Launch):
        servers = [launch(), launch()]
        both = ",".join(server.address for server in servers)
        spawn([compiled("worker"), "-r", both, "reverse"])
        for server in servers:
            server.wait_for_workers("reverse")
        servers[0].stop()
        assert run([compiled("call"), "-t", "3000", both, "reverse", "Hello"]).lines == ["SUCCESS olleH"]

    def test_a_worker_comes_back_after_a_restart(self, spawn, run, launch: Launch):
        server = launch()
        spawn([compiled("worker"), "-r", server.address, "reverse"])
        server.wait_for_workers("reverse")
        server.stop()
        again = launch(port=server.port)
        again.wait_for_workers("reverse")
        assert run([compiled("call"), again.address, "reverse", "Hello"]).lines == ["SUCCESS olleH"]


class TestReduce:
    def test_the_worker_hands_the_pieces_to_the_reducer(self, worker, run, server):
        worker("split:split", options=("-a",))
        worker("reverse")
        done = run([compiled("reduce"), server.address, "split", "reverse", "one two three"])
        [line] = done.lines
        code, _, result = line.partition(" ")
        assert code == "SUCCESS"
        assert sorted(result.split("+")) == ["eerht", "eno", "owt"]

    def test_a_worker_that_grabs_otherwise_does_not_see_the_reducer(self, worker, run, server):
        worker("split:split", "reverse")
        done = run([compiled("reduce"), server.address, "split", "reverse", "one two three"])
        assert done.lines == ["SUCCESS onetwothree"]

    def test_in_the_background(self, worker, run, server):
        worker("split:split", options=("-a",))
        notes = worker("note")
        assert run([compiled("reduce"), "-b", server.address, "split", "note", "one two"]).lines == ["SUCCESS handle"]
        wait_until(lambda: sorted(notes.lines()) == ["one", "two"], "the reducer got both pieces")
        server.wait_for_total("split", 0)
