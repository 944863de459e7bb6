"""What every worker must do: ordinary and asyncio, over our server and over gearmand."""

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from geartrain import AdminClient, Client, ConfigError, Job, JobFailed, LocalProtocolError
from geartrain.testing import Server

from ..services import free_port, wait_until
from .conftest import World
from .worlds import PATIENCE


def workers_of(admin: AdminClient, function: str) -> int:
    return next((s.workers for s in admin.status() if s.function == function), 0)


def running(admin: AdminClient, function: str) -> int:
    return next((s.running for s in admin.status() if s.function == function), 0)


def test_every_kind_of_result(world: World, address: str, function: str) -> None:
    results: dict[bytes, Any] = {b"bytes": b"b", b"text": "té", b"none": None, b"view": memoryview(b"v")}
    with world.worker(address) as worker, world.client(address) as client:
        worker.register(function, lambda job: results[job.workload])
        assert [client.do(function, name) for name in results] == [b"b", "té".encode(), b"", b"v"]


def test_a_result_of_another_kind_is_an_exception(world: World, address: str, function: str) -> None:
    with world.worker(address) as worker, world.client(address) as client:
        worker.register(function, lambda job: {"a": 1})
        task = client.submit(function)
        task.wait()
        assert "not dict; serialise it first" in str(task.error)


def test_a_task_may_end_its_job_early(world: World, address: str, function: str) -> None:
    problems: list[Exception] = []
    ended = threading.Event()

    def work(job: Job) -> bytes:
        job.complete(b"early")
        try:
            job.send_data(b"late")
        except LocalProtocolError as error:
            problems.append(error)
        ended.set()
        return b"ignored"

    with world.worker(address) as worker, world.client(address) as client:
        worker.register(function, work)
        assert client.do(function) == b"early"
        assert ended.wait(PATIENCE)
        assert client.do(function) == b"early"  # the worker takes the next one
    assert "has ended already (complete)" in str(problems[0])


def test_job_failed_is_a_tasks_way_to_fail(world: World, address: str, function: str) -> None:
    def work(job: Job) -> None:
        raise JobFailed("cannot")

    with world.worker(address) as worker, world.client(address) as client:
        worker.register(function, work)
        with pytest.raises(JobFailed) as caught:
            client.do(function)
        assert type(caught.value) is JobFailed


def test_system_exit_in_one_of_several_threads_ends_the_job_alone(world: World, address: str, function: str) -> None:
    def leave(job: Job) -> None:
        raise SystemExit(3)

    with world.worker(address, concurrency=2) as worker, world.client(address) as client:
        worker.register(function, leave)
        task = client.submit(function)
        task.wait()
        assert "SystemExit" in str(task.error)


def test_concurrency_is_a_bound_and_is_reached(world: World, address: str, function: str) -> None:
    lock = threading.Lock()
    now = [0]
    most = [0]
    three = threading.Event()

    def work(job: Job) -> None:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
            if now[0] == 3:
                three.set()
        assert three.wait(PATIENCE)
        with lock:
            now[0] -= 1

    with world.worker(address, concurrency=3) as worker, world.client(address) as client:
        worker.register(function, work)
        assert client.wait([client.submit(function) for _ in range(30)])
    assert most == [3]


def test_one_slot_never_holds_two_jobs_of_two_servers(world: World, function: str) -> None:
    ran = []
    with Server() as one, Server() as two, world.client(one.address) as first, world.client(two.address) as second:
        servers = [AdminClient(one.address), AdminClient(two.address)]

        def work(job: Job) -> None:
            # a server may answer the question before it reads the end of the job before, sent on another connection
            wait_until(lambda: sum(running(admin, function) for admin in servers) == 1, "one job at both servers")
            ran.append(job.handle)

        tasks = [client.submit(function) for _ in range(25) for client in (first, second)]
        for task in tasks:
            task.wait_created()
        with world.worker([one.address, two.address]) as worker:
            worker.register(function, work)
            assert all(task.wait() for task in tasks)
        for admin in servers:
            admin.close()
    assert len(ran) == 50


def test_a_server_that_comes_late_has_its_turn_beside_a_queue_without_end(world: World, function: str) -> None:
    port = free_port()
    late = threading.Event()

    def work(job: Job) -> None:
        if job.workload == b"late":
            late.set()
        elif not late.is_set():
            feeder.do_background(function)

    with Server() as one, Client(one.address) as feeder, world.worker([one.address, f"127.0.0.1:{port}"]) as worker:
        worker.register(function, work)
        for _ in range(3):
            feeder.do_background(function)
        with Server(listen=(f"127.0.0.1:{port}",)) as two, world.client(two.address) as client:
            client.do_background(function, b"late")
            in_time = late.wait(PATIENCE)
            late.set()  # the queue ends either way
            assert in_time


def test_functions_come_and_go_while_the_worker_runs(world: World, address: str, function: str) -> None:
    with world.worker(address) as worker, world.client(address) as client, AdminClient(address) as admin:
        worker.register("other", lambda job: None)
        waiting = client.submit(function, b"x")
        waiting.wait_created()
        wait_until(lambda: workers_of(admin, "other"), "the worker's arrival")
        worker.register(function, lambda job: b"first")
        assert waiting.result() == b"first"
        worker.register(function, lambda job: b"second")
        assert client.do(function) == b"second"
        assert workers_of(admin, function) == 1
        worker.unregister(function)
        wait_until(lambda: workers_of(admin, function) == 0, "the function's leave")
        with pytest.raises(KeyError):
            worker.unregister(function)
        worker.register(function, lambda job: b"again")
        assert client.do(function) == b"again"


def test_unregistering_lets_a_running_job_end(world: World, address: str, function: str) -> None:
    runs: list[bytes] = []
    go_on = threading.Event()
    started = threading.Event()

    def work(job: Job) -> bytes:
        runs.append(job.handle)
        started.set()
        assert go_on.wait(PATIENCE)
        return b"done"

    with world.worker(address, concurrency=2) as worker, world.client(address) as client:
        worker.register(function, work)
        with AdminClient(address) as admin:
            task = client.submit(function)
            assert started.wait(PATIENCE)
            worker.unregister(function)
            go_on.set()
            assert task.result() == b"done"
            wait_until(lambda: workers_of(admin, function) == 0, "the function's leave")
    assert len(runs) == 1  # gearmand gives a job away whose function is taken back


def test_the_client_id_is_shown(world: World, address: str, function: str) -> None:
    with world.worker(address, client_id="worker nr 1") as worker, AdminClient(address) as admin:
        worker.register(function, lambda job: None)

        def shown() -> str:
            return next((w.id for w in admin.workers() if function in w.functions), "")

        wait_until(shown, "the worker's arrival")
        assert shown() == "worker nr 1"
        worker.set_id("number 2")
        wait_until(lambda: shown() == "number 2", "the new id")


def test_a_job_that_takes_too_long_goes_to_another_worker(world: World, address: str, function: str) -> None:
    go_on = threading.Event()
    started = threading.Event()

    def slow(job: Job) -> bytes:
        started.set()
        go_on.wait(PATIENCE)
        return b"slow"

    with world.worker(address) as first, world.client(address) as client, AdminClient(address) as admin:
        first.register(function, slow, timeout=1.0)
        task = client.submit(function)
        assert started.wait(PATIENCE)
        # gearmand does not always wake a worker that sleeps already for a job that comes back.
        wait_until(lambda: not running(admin, function), "the job's return to the queue")
        with world.worker(address) as second:
            second.register(function, lambda job: b"quick")
            assert task.result() == b"quick"
            go_on.set()


def test_a_stopped_worker_ends_its_job_and_takes_no_other(world: World, address: str, function: str) -> None:
    started = threading.Event()
    go_on = threading.Event()

    def work(job: Job) -> bytes:
        started.set()
        assert go_on.wait(PATIENCE)
        return b"done"

    with world.client(address) as client, AdminClient(address) as admin:
        worker = world.worker(address).start()
        worker.register(function, work)
        first = client.submit(function)
        assert started.wait(PATIENCE)
        second = client.submit(function)
        second.wait_created()
        worker.stop()
        assert not worker.join(0.2)
        go_on.set()
        assert first.result() == b"done"
        assert worker.join()
        assert not second.done
        wait_until(lambda: workers_of(admin, function) == 0, "the worker's leave")
        assert running(admin, function) == 0
        with worker:  # it can work again
            assert second.result() == b"done"


def test_a_worker_leaves_after_its_stop_timeout(world: World, address: str, function: str) -> None:
    started = threading.Event()
    go_on = threading.Event()

    def endless(job: Job) -> bytes:
        started.set()
        go_on.wait(PATIENCE)
        return b"too late"

    with world.client(address) as client:
        worker = world.worker(address, stop_timeout=0.2, concurrency=2).start()
        worker.register(function, endless)
        task = client.submit(function)
        assert started.wait(PATIENCE)
        worker.stop()
        assert worker.join(5)
        with world.worker(address) as other:
            other.register(function, lambda job: b"in time")
            assert task.result() == b"in time"
        go_on.set()


def test_stopping_an_idle_worker_is_quick(world: World, address: str, function: str) -> None:
    with AdminClient(address) as admin:
        worker = world.worker(address).start()
        worker.register(function, lambda job: None)
        wait_until(lambda: workers_of(admin, function), "the worker's arrival")
        before = time.monotonic()
        worker.stop()
        assert worker.join()
        assert time.monotonic() - before < 2


def test_a_stop_before_the_start_counts(world: World, address: str) -> None:
    worker = world.worker(address)
    worker.stop()
    assert worker.start().join(5)


def test_a_worker_comes_back_after_a_restart(world: World, function: str, caplog: pytest.LogCaptureFixture) -> None:
    with Server() as server, world.worker(server.address) as worker, AdminClient(server.address) as admin:
        worker.register(function, lambda job: b"here")
        for _ in range(2):
            wait_until(lambda: workers_of(admin, function) == 1, "the worker's arrival")
            with world.client(server.address) as client:
                assert client.do(function) == b"here"
            server.restart()
        wait_until(lambda: workers_of(admin, function) == 1, "the worker's return")
    assert f"the connection to {server.address} was lost" in caplog.text


def test_a_worker_waits_for_a_server_that_is_not_there_yet(
    world: World, function: str, caplog: pytest.LogCaptureFixture
) -> None:
    port = free_port()
    with world.worker(f"127.0.0.1:{port}") as worker:
        worker.register(function, lambda job: b"here")
        wait_until(lambda: "no connection to" in caplog.text, "the complaint")
        with Server(listen=(f"127.0.0.1:{port}",)) as server, world.client(server.address) as client:
            assert client.do(function) == b"here"
    assert caplog.text.count("no connection to") == 1  # once per outage


def test_a_dead_server_does_not_hinder_the_others(world: World, address: str, function: str) -> None:
    with world.worker([f"127.0.0.1:{free_port()}", address]) as worker, world.client(address) as client:
        worker.register(function, lambda job: b"here")
        assert client.do(function) == b"here"


def test_work_once_runs_one_job(world: World, address: str, function: str) -> None:
    ran: list[bytes] = []
    worker = world.worker(address)
    worker.register(function, lambda job: ran.append(job.workload))
    with world.client(address) as client, AdminClient(address) as admin:
        assert worker.work_once(timeout=0.3) is False
        for n in range(3):
            client.do_background(function, b"%d" % n)
        assert worker.work_once(timeout=PATIENCE) is True
        assert ran == [b"0"]
        wait_until(lambda: next(s for s in admin.status() if s.function == function)[1:3] == (2, 0), "one job's end")
        assert worker.work_once() is True
        assert worker.work_once(timeout=PATIENCE) is True
        assert ran == [b"0", b"1", b"2"]
        assert worker.work_once(timeout=0) is False
    worker.close()


def test_work_once_takes_one_job_whatever_the_concurrency(world: World, address: str, function: str) -> None:
    worker = world.worker(address, concurrency=5)
    worker.register(function, lambda job: None)
    with world.client(address) as client, AdminClient(address) as admin:
        for _ in range(4):
            client.do_background(function)
        assert worker.work_once(timeout=PATIENCE)
        wait_until(lambda: next(s for s in admin.status() if s.function == function)[1:3] == (3, 0), "one job's end")
    worker.close()


def test_a_mapping_tasks_pieces_go_to_the_reducer(world: World, address: str, function: str) -> None:
    def split(job: Job) -> None:
        for word in job.workload.split():
            job.send_data(word)

    reducer = f"{function}-length"
    with (
        world.worker(address, namespace="n/") as mapper,
        world.worker(address, namespace="n/", concurrency=2) as workers,
        world.client(address, namespace="n/") as client,
    ):
        mapper.register(function, split, aggregate=lambda results: b"+".join(results))
        workers.register(reducer, lambda job: b"%d" % len(job.workload))
        assert client.submit(function, b"one three fifteen", reducer=reducer).result() == b"3+5+7"
        assert client.do(function, b"as it is") == b"asitis"  # without a reducer
        workers.register(reducer, lambda job: job.fail())
        with pytest.raises(JobFailed):
            client.submit(function, b"one", reducer=reducer).result()


def test_much_data(world: World, address: str, function: str) -> None:
    def pour(job: Job) -> bytes:
        for _ in range(64):
            job.send_data(b"x" * (256 * 1024))
        return b"end"

    with world.worker(address) as worker, world.client(address) as client:
        worker.register(function, pour)
        assert sum(len(piece) for piece in client.submit(function)) == 16 * 1024 * 1024 + 3


def test_a_workers_settings_are_checked(world: World, address: str) -> None:
    with pytest.raises(ConfigError, match="at least one job at a time, not 0"):
        world.worker(address, concurrency=0)
    worker = world.worker(address)
    for name, timeout in ((b"", None), ("f", 0), ("f", -1.0), ("nul\0", None)):
        with pytest.raises(LocalProtocolError):
            worker.register(name, lambda job: None, timeout=timeout)
    with pytest.raises(ConfigError, match="port"):
        world.worker("host:port")


def test_the_decorator(world: World, address: str, function: str) -> None:
    working = world.worker(address)
    worker = working.worker

    def decorate() -> list[Callable[[Job], Any]]:
        @worker.task(function)
        def named(job: Job) -> bytes:
            return b"named"

        @worker.task
        def decorated(job: Job) -> bytes:
            return b"bare"

        @worker.task(timeout=5)
        def limited(job: Job) -> bytes:
            return b"limited"

        return [named, decorated, limited]

    assert all(callable(task) for task in working.call(decorate))
    assert worker.functions == (function.encode(), b"decorated", b"limited")
    with working, world.client(address) as client:
        assert [client.do(name) for name in worker.functions] == [b"named", b"bare", b"limited"]
