"""What every client must do: ordinary and asyncio, over our server and over gearmand."""

import gc
import logging
import socket
import threading
import time
from typing import Any

import pytest

from geartrain import (
    AdminClient,
    ConnectionLost,
    Job,
    JobException,
    JobFailed,
    LocalProtocolError,
    NoServersAvailable,
    Priority,
    Progress,
    RequestTimeout,
    ServerError,
    TaskState,
)
from geartrain.client.task import BaseTask
from geartrain.testing import Server

from ..services import free_port, wait_until
from .conftest import World
from .worlds import PATIENCE


def reverse(job: Job) -> bytes:
    return job.workload[::-1]


def test_a_job_gives_its_result(world: World, address: str, function: str) -> None:
    with world.worker(address) as worker, world.client(address) as client:
        worker.register(function, reverse)
        assert client.do(function, b"hello") == b"olleh"
        assert client.do(function.encode(), "olé".encode()) == "olé".encode()[::-1]
        assert client.do(function, "text") == b"txet"
        assert client.do_high(function, b"1") == b"1"
        assert client.do_low(function, b"") == b""
        assert client.do(function, bytes(range(256)) * 3) == (bytes(range(256)) * 3)[::-1]


def test_a_job_that_fails_raises_job_failed(world: World, address: str, function: str) -> None:
    with world.worker(address) as worker, world.client(address) as client:
        worker.register(function, lambda job: job.fail())
        with pytest.raises(JobFailed, match=function) as caught:
            client.do(function)
        assert caught.value.handle.startswith(b"H:")
        task = client.submit(function)
        assert task.wait()
        assert task.state is TaskState.FAILED
        assert isinstance(task.error, JobFailed)


def test_an_exception_reaches_the_client(world: World, address: str, function: str) -> None:
    def divide(job: Job) -> None:
        raise ZeroDivisionError("by zéro")

    with world.worker(address) as worker, world.client(address) as client:
        worker.register(function, divide)
        with pytest.raises(JobException, match="ZeroDivisionError: by zéro") as caught:
            client.do(function)
        assert caught.value.data == "ZeroDivisionError: by zéro".encode()
        with world.client(address, exceptions=False) as plain, pytest.raises(JobFailed):
            plain.do(function)


def test_data_comes_in_chunks(world: World, address: str, function: str) -> None:
    go_on = threading.Event()

    def chunks(job: Job) -> bytes:
        job.send_data(b"one ")
        assert go_on.wait(PATIENCE)
        job.send_data(b"two ")
        return b"end"

    with world.worker(address) as worker, world.client(address) as client:
        worker.register(function, chunks)
        pieces = iter(client.submit(function))
        assert next(pieces) == b"one "  # while the job still runs
        go_on.set()
        assert list(pieces) == [b"two ", b"end"]
        assert client.do(function) == b"one two end"


def test_iterating_a_failed_task_gives_its_data_and_then_its_error(world: World, address: str, function: str) -> None:
    def half(job: Job) -> None:
        job.send_data(b"half")
        job.fail()

    with world.worker(address) as worker, world.client(address) as client:
        worker.register(function, half)
        pieces = iter(client.submit(function))
        assert next(pieces) == b"half"
        with pytest.raises(JobFailed):
            next(pieces)


def test_status_and_warnings_come_with_the_task(world: World, address: str, function: str) -> None:
    def work(job: Job) -> None:
        job.send_status(1, 4)
        job.send_warning(b"careful")
        job.send_status(3, 4)
        job.send_warning("very")

    with world.worker(address) as worker, world.client(address) as client:
        worker.register(function, work)
        task = client.submit(function)
        assert task.status is None
        assert task.result() == b""
        assert task.status == Progress(3, 4)
        assert task.status.fraction == 0.75
        assert task.warnings == [b"careful", b"very"]


def test_callbacks_come_in_order(world: World, address: str, function: str) -> None:
    def work(job: Job) -> bytes:
        job.send_data(b"chunk")
        job.send_status(1, 2)
        job.send_warning(b"careful")
        return b"done"

    seen: list[Any] = []
    with world.worker(address) as worker, world.client(address) as client:
        worker.register(function, work)
        task = client.submit(
            function,
            on_created=lambda t: seen.append(("created", t.handle[:2])),
            on_data=lambda t, data: seen.append(("data", data)),
            on_status=lambda t, progress: seen.append(("status", progress)),
            on_warning=lambda t, data: seen.append(("warning", data)),
            on_complete=lambda t: seen.append(("complete", t.done)),
            on_fail=lambda t: seen.append(("fail", t.error)),
        )
        assert task.result() == b"done"  # the chunk went to on_data
        wait_until(lambda: len(seen) == 5, "five callbacks")
    assert seen == [
        ("created", b"H:"),
        ("data", b"chunk"),
        ("status", Progress(1, 2)),
        ("warning", b"careful"),
        ("complete", True),
    ]


def test_failure_callbacks(world: World, address: str, function: str) -> None:
    def work(job: Job) -> None:
        if job.workload == b"fail":
            job.fail()
        else:
            job.exception(b"reason")

    seen: list[Any] = []
    callbacks = {
        "on_exception": lambda t: seen.append(("exception", t.error.data)),
        "on_fail": lambda t: seen.append(("fail", type(t.error))),
    }
    with world.worker(address) as worker, world.client(address) as client:
        worker.register(function, work)
        client.submit(function, b"fail", **callbacks).wait()
        client.submit(function, b"raise", **callbacks).wait()
        client.submit(function, b"raise", on_fail=callbacks["on_fail"]).wait()
        wait_until(lambda: len(seen) == 3, "three callbacks")
    assert seen == [("fail", JobFailed), ("exception", b"reason"), ("fail", JobException)]


def test_a_callback_that_raises_is_logged_and_disturbs_nobody(
    world: World, address: str, function: str, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(task: Any) -> None:
        raise RuntimeError("my own fault")

    with world.worker(address) as worker, world.client(address) as client:
        worker.register(function, reverse)
        assert client.submit(function, b"ab", on_created=broken).result() == b"ba"
    assert "my own fault" in caplog.text


def test_equal_uniques_are_one_job(world: World, address: str, function: str) -> None:
    runs: list[bytes] = []
    go_on = threading.Event()

    def work(job: Job) -> bytes:
        runs.append(job.unique)
        assert go_on.wait(PATIENCE)
        job.send_data(b"piece ")
        job.send_warning(b"careful")
        job.send_data(b"piece ")
        return b"result"

    with world.worker(address) as worker, world.client(address) as client, world.client(address) as other:
        worker.register(function, work)
        tasks = [client.submit(function, b"x", unique="same") for _ in range(3)] + [
            other.submit(function, b"x", unique="same")
        ]
        handles = {task.wait_created() for task in tasks}
        go_on.set()
        # Whether it comes three times over one connection or once: each task has everything once.
        assert [task.result() for task in tasks] == [b"piece piece result"] * 4
        assert [task.warnings for task in tasks] == [[b"careful"]] * 4
    assert len(handles) == 1
    assert runs == [b"same"]


def test_dash_and_hash_take_the_workload_as_the_unique(world: World, address: str, function: str) -> None:
    with world.client(address) as client, AdminClient(address) as admin:
        for unique in ("-", "#"):
            handles = {client.do_background(function, b"same", unique=unique) for _ in range(3)}
            other = client.do_background(function, b"other", unique=unique)
            assert len(handles) == 1
            assert other not in handles
        assert {s.function: s.total for s in admin.status()}[function] == 4


def test_background_jobs_get_a_unique_of_their_own(world: World, address: str, function: str) -> None:
    with world.client(address) as client:
        assert len({client.do_background(function, b"same") for _ in range(5)}) == 5
        assert len({client.submit(function, b"same", background=True).unique for _ in range(5)}) == 5
        assert client.submit(function, b"same").unique == b""


def test_priorities(world: World, address: str, function: str) -> None:
    order: list[bytes] = []
    with world.client(address) as client:
        client.do_low_background(function, b"low")
        client.do_background(function, b"normal")
        client.do_high_background(function, b"high")
        client.do_background_low(function, b"low 2")
        client.submit(function, b"high 2", priority="high", background=True).result()
        client.submit(function, b"normal 2", priority=Priority.NORMAL, background=True).result()
        worker = world.worker(address)
        worker.register(function, lambda job: order.append(job.workload))
        with worker:
            wait_until(lambda: len(order) == 6, "six jobs")
    assert order == [b"high", b"high 2", b"normal", b"normal 2", b"low", b"low 2"]


def test_status_of_a_job_by_handle_and_by_unique(world: World, address: str, function: str) -> None:
    go_on = threading.Event()
    reported = threading.Event()

    def work(job: Job) -> None:
        job.send_status(30, 100)
        reported.set()
        assert go_on.wait(PATIENCE)

    unique = f"{function}-unique"
    with world.client(address) as client:
        handle = client.do_background(function, b"", unique=unique)
        waiting = client.job_status(handle)
        assert (waiting.known, waiting.running) == (True, False)
        worker = world.worker(address)
        worker.register(function, work)
        with worker:
            assert reported.wait(PATIENCE)
            wait_until(lambda: client.job_status(handle).denominator, "the progress at the server")
            running = client.job_status(handle)
            assert running == client.job_status_unique(unique) == (True, True, 30, 100, 0)
            assert running.progress.fraction == 0.3
            go_on.set()
            wait_until(lambda: not client.job_status(handle).known, "the job's end")
        assert not client.job_status_unique(unique).known
        task = client.submit(function, unique=unique)
        assert client.job_status(task).known
        assert client.job_status_unique(unique).client_count == 1


def test_a_job_at_a_time_waits_for_it(world: World, address: str, function: str, ours: None) -> None:
    ran: list[float] = []
    with world.worker(address) as worker, world.client(address) as client:
        worker.register(function, lambda job: ran.append(time.time()))
        at = time.time() + 1.2
        handle = client.do_at(function, b"", at=at)
        assert client.job_status(handle).known
        wait_until(lambda: ran, "the job's run")
    assert ran[0] >= at - 0.05


def test_a_job_at_a_past_time_runs_at_once(world: World, address: str, function: str) -> None:
    ran: list[bytes] = []
    with world.worker(address) as worker, world.client(address) as client:
        worker.register(function, lambda job: ran.append(job.workload))
        client.submit(function, b"past", at=time.time() - 60).result()
        wait_until(lambda: ran, "the job's run")


def test_reducer_and_unique_reach_the_worker(world: World, address: str, function: str) -> None:
    seen: list[Job] = []
    with world.worker(address) as worker, world.client(address) as client:
        worker.register(function, seen.append)
        client.do(function, b"a", unique="u1")
        client.submit(function, b"b", unique="u2", reducer="sum").result()
        client.submit(function, b"c", reducer="sum", background=True).result()
        wait_until(lambda: len(seen) == 3, "three jobs")
    assert [(job.workload, job.unique, job.reducer) for job in seen[:2]] == [(b"a", b"u1", b""), (b"b", b"u2", b"sum")]
    assert seen[2].reducer == b"sum"
    assert seen[0].function == function.encode()


def test_a_timeout_is_an_error_and_the_task_goes_on(world: World, address: str, function: str) -> None:
    go_on = threading.Event()
    with world.worker(address) as worker, world.client(address) as client:
        worker.register(function, lambda job: str(go_on.wait(PATIENCE)))
        task = client.submit(function)
        before = time.monotonic()
        with pytest.raises(RequestTimeout, match=f"the result of the job for {function} did not come within 0.2 s"):
            task.result(timeout=0.2)
        assert 0.15 < time.monotonic() - before < 5
        assert not task.wait(timeout=0.05)
        assert not client.wait([task], timeout=0.05)
        go_on.set()
        assert task.result() == b"True"


def test_the_clients_timeout_holds_where_none_is_given(world: World, address: str, function: str) -> None:
    with world.client(address, timeout=0.2) as client:
        with pytest.raises(RequestTimeout):
            client.do(function)
        assert not client.submit(function).wait()


def test_a_full_queue_is_an_error_of_that_job_alone(world: World, address: str, function: str) -> None:
    with world.client(address) as client, AdminClient(address) as admin:
        handle = client.do_background(function, b"first")
        admin.maxqueue(function, 1)
        refused = client.submit(function, b"second", background=True)
        echoed = client.echo(b"still here")
        with pytest.raises(ServerError) as caught:
            refused.result()
        assert (caught.value.code, caught.value.text) == ("QUEUE_ERROR", "Job queue is full")
        assert echoed == b"still here"
        assert refused.state is TaskState.LOST
        assert client.job_status(handle).known
        admin.maxqueue(function)
        admin.cancel_job(handle)


def test_what_the_protocol_cannot_carry_is_refused_before_it_is_sent(world: World, address: str) -> None:
    with world.client(address) as client:
        for arguments, settings in (
            ((b"",), {}),
            ((b"x" * 513,), {}),
            ((b"nul\0",), {}),
            (("f",), {"unique": b"u" * 65}),
            (("f",), {"unique": "nul\0"}),
            (("f",), {"priority": "urgent"}),
            (("f",), {"reducer": "r", "priority": "high"}),
            (("f",), {"reducer": "r", "at": 1.0}),
        ):
            with pytest.raises(LocalProtocolError):
                client.submit(*arguments, **settings)
        with pytest.raises(TypeError, match="dict"):
            client.submit("f", {"a": 1})
        assert client.echo(b"well") == b"well"


def test_echo(world: World, address: str) -> None:
    with world.client(address) as client:
        assert client.echo() == b"geartrain"
        assert client.echo(b"\0\1" * 1000) == b"\0\1" * 1000


def test_a_thousand_tasks_at_once(world: World, address: str, function: str) -> None:
    with world.worker(address) as worker, world.client(address) as client:
        worker.register(function, reverse)
        tasks = client.submit_many(function, [b"%d" % n for n in range(1000)])
        assert client.wait(tasks)
        assert [task.result() for task in tasks] == [(b"%d" % n)[::-1] for n in range(1000)]
        ended = [task.handle for task in client.as_completed([client.submit(function, b"x") for _ in range(20)])]
        assert len(set(ended)) == 20


def test_results_are_not_held_back_where_others_take_longer(world: World, address: str, function: str) -> None:
    others_may_end = threading.Event()

    def run(job: Job) -> bytes:
        if int(job.workload) >= 400:
            others_may_end.wait(PATIENCE)
        return job.workload

    with world.worker(address) as worker, world.client(address) as client:
        worker.register(function, run)
        tasks = client.submit_many(function, [b"%d" % n for n in range(800)])
        assert client.wait(tasks[:400], PATIENCE / 2)
        others_may_end.set()
        assert [task.result() for task in tasks] == [b"%d" % n for n in range(800)]


def test_finished_tasks_are_not_kept(world: World, address: str, function: str) -> None:
    with world.worker(address) as worker, world.client(address) as client:
        worker.register(function, lambda job: job.fail() if job.workload == b"7" else reverse(job))
        client.wait(client.submit_many(function, [b"%d" % n for n in range(50)]))
        client.wait([client.submit(function, b"x", background=True) for _ in range(10)])
        client.wait([client.submit(function, b"x", unique="one") for _ in range(10)])
        gc.collect()
        assert [o for o in gc.get_objects() if isinstance(o, BaseTask)] == []


def test_64_mib_there_and_back(world: World, address: str, function: str) -> None:
    workload = bytes(range(256)) * (64 << 12)
    with world.worker(address) as worker, world.client(address) as client:
        worker.register(function, lambda job: job.workload)
        assert client.do(function, workload) == workload


def test_many_large_jobs_in_flight(world: World, address: str, function: str) -> None:
    workload = b"0123456789abcdef" * (1 << 16)
    with world.worker(address) as worker, world.client(address) as client:
        worker.register(function, lambda job: job.workload)
        tasks = client.submit_many(function, [workload] * 24)
        assert all(task.result() == workload for task in tasks)


def test_namespace(world: World, address: str, function: str) -> None:
    seen: list[bytes] = []
    with (
        world.worker(address, namespace="ns:") as worker,
        world.client(address, namespace="ns:") as client,
        world.client(address) as plain,
        AdminClient(address) as admin,
    ):
        worker.register(function, lambda job: seen.append(job.function))
        client.do(function)
        plain.do(f"ns:{function}")
        assert f"ns:{function}" in {s.function for s in admin.status()}
        task = client.submit(function)
        assert task.function == function.encode()
        task.result()
    assert seen == [function.encode()] * 3


def test_several_threads_share_a_client(world: World, address: str, function: str) -> None:
    results: list[bool] = []
    with world.worker(address, concurrency=4) as worker, world.client(address) as client:
        worker.register(function, reverse)

        def use(number: int) -> None:
            for n in range(50):
                text = b"%d/%d" % (number, n)
                results.append(client.do(function, text) == text[::-1])

        threads = [threading.Thread(target=use, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE * 2)
    assert results == [True] * 300


def test_without_a_server_the_error_names_every_one(world: World) -> None:
    ports = [free_port(), free_port()]
    with world.client([f"127.0.0.1:{port}" for port in ports], connect_timeout=1) as client:
        with pytest.raises(NoServersAvailable, match=f"{ports[0]}.*refused.*{ports[1]}.*refused"):
            client.do("f")
        with pytest.raises(NoServersAvailable):
            client.echo()


def test_a_server_that_does_not_answer_bounds_the_wait(world: World, address: str) -> None:
    with socket.socket() as deaf, socket.socket() as filler:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        filler.connect(deaf.getsockname())  # the one place that there is; nobody ever accepts
        before = time.monotonic()
        with world.client(f"127.0.0.1:{deaf.getsockname()[1]},{address}", connect_timeout=0.3) as client:
            assert client.echo(b"the second") == b"the second"
        assert 0.25 < time.monotonic() - before < 5


def test_the_next_server_is_used_where_one_is_down(world: World, address: str, function: str) -> None:
    with world.worker(address) as worker, world.client([f"127.0.0.1:{free_port()}", address]) as client:
        worker.register(function, reverse)
        assert client.do(function, b"ab") == b"ba"


def test_an_idle_client_does_not_notice_a_restart(world: World, function: str) -> None:
    with Server() as server, world.worker(server.address) as worker, world.client(server.address) as client:
        worker.register(function, reverse)
        assert client.do(function, b"ab") == b"ba"
        since = time.monotonic()
        server.restart()
        wait_until(lambda: time.monotonic() > since + 0.02, "the silence after which a connection is looked at")
        assert client.do(function, b"cd") == b"dc"


def test_jobs_go_to_the_second_server_when_the_first_ends(world: World, function: str) -> None:
    with Server() as first, Server() as second, world.worker(second.address) as worker:
        worker.register(function, reverse)
        with world.client([first.address, second.address]) as client:
            client.echo()
            waiting = client.submit(function, b"for the first")
            waiting.wait_created()
            first.stop()
            with pytest.raises(ConnectionLost, match="its result, if there is one, went with it"):
                waiting.result()
            assert waiting.state is TaskState.LOST
            assert client.do(function, b"ab") == b"ba"


def test_closing_a_client_fails_what_it_waits_for(world: World, address: str, function: str) -> None:
    client = world.client(address)
    task = client.submit(function)
    task.wait_created()
    client.close()
    with pytest.raises(ConnectionLost, match="closed"):
        task.result()
    with client:
        assert client.echo(b"again") == b"again"  # it connects when it is used


def test_a_tasks_exception_is_in_the_workers_log(
    world: World, address: str, function: str, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(job: Job) -> None:
        raise ValueError("for the log")

    with world.worker(address) as worker, world.client(address) as client, caplog.at_level(logging.ERROR):
        worker.register(function, fail)
        handle = client.do_background(function)
        wait_until(lambda: not client.job_status(handle).known, "the job's end")
    assert "ValueError: for the log" in caplog.text
    assert handle.decode() in caplog.text
