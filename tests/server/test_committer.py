"""Durable jobs through a whole server: what is acknowledged, refused and kept when the store is not well."""

import select
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from geartrain.errors import StoreRejected
from geartrain.protocol.commands import Command as C
from geartrain.protocol.packets import request
from geartrain.stores.base import Batch
from geartrain.stores.memory import MemoryStore
from geartrain.testing.server import Server
from tests.server.wire import Wire


class Picky(MemoryStore):
    """A store that never takes a workload above a hundred bytes."""

    def apply(self, batch: Batch) -> None:
        for job in batch.adds:
            if len(job.workload) > 100:
                raise StoreRejected(f"{len(job.workload)} bytes are too many")
        super().apply(batch)


def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.01)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop", "no epoll"])
def test_a_restart_finds_the_jobs(tmp_path: Path, loop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if loop == "uvloop":
        pytest.importorskip("uvloop", reason="uvloop is not installed (geartrain[fast])")
    if loop == "no epoll":
        loop = "auto"
        monkeypatch.delattr(select, "epoll")
    with Server(sqlite=tmp_path / "queue.db", loop=loop) as server:
        with Wire(server.port) as client:
            client.say(C.SUBMIT_JOB_HIGH_BG, b"f", b"u", b"one")
            handle = client.hear()[1]
            client.say(C.SUBMIT_JOB_BG, b"f", b"", b"")
            second = client.hear()[1]
        server.restart()
        with Wire(server.port) as client:
            until(lambda: client.text("status") == "f\t2\t0\t0\n.\n")
            client.say(C.CAN_DO, b"f")
            assert client.say(C.GRAB_JOB_UNIQ).hear() == (C.JOB_ASSIGN_UNIQ, handle, b"f", b"u", b"one")
            client.say(C.WORK_COMPLETE, handle, b"")  # type: ignore[arg-type]
            assert client.say(C.GRAB_JOB).hear() == (C.JOB_ASSIGN, second, b"f", b"")
            client.say(C.ECHO_REQ, b"").hear()
        server.restart()
        with Wire(server.port) as client:
            until(lambda: client.text("show jobs") == f"{second.decode()}\t1\t0\t1\n.\n")  # type: ignore[attr-defined]
            client.say(C.SUBMIT_JOB_BG, b"f", b"", b"")
            assert client.hear()[1] not in (handle, second)


def test_submissions_wait_for_a_store_that_comes_back() -> None:
    store = MemoryStore()
    with Server(store=store, store_wait=20) as server, Wire(server.port) as client, Wire(server.port) as other:
        store.unavailable = "the disk is full"
        client.say(C.SUBMIT_JOB_BG, b"f", b"u", b"1")
        assert other.say(C.ECHO_REQ, b"alive").hear() == (C.ECHO_RES, b"alive")
        until(lambda: bool(server.job_server.store_down))
        assert store.jobs == {}
        store.unavailable = ""
        assert client.hear()[0] is C.JOB_CREATED
        assert [job.unique for job in store.jobs.values()] == [b"u"]


def test_submissions_are_refused_after_the_wait_and_ends_are_kept() -> None:
    store = MemoryStore()
    with Server(store=store, store_wait=0.5) as server, Wire(server.port) as client, Wire(server.port) as worker:
        client.say(C.SUBMIT_JOB_BG, b"f", b"stored", b"1")
        handle = client.hear()[1]
        store.unavailable = "the disk is full"
        worker.say(C.CAN_DO, b"f").say(C.GRAB_JOB)
        assert worker.hear()[0] is C.JOB_ASSIGN
        worker.say(C.WORK_COMPLETE, handle, b"")  # type: ignore[arg-type]
        client.say(C.SUBMIT_JOB_BG, b"g", b"refused", b"2").say(C.ECHO_REQ, b"behind")
        code, text = client.hear()[1:]
        assert code == b"QUEUE_ERROR"
        assert b"the disk is full" in text  # type: ignore[operator]
        assert client.hear() == (C.ECHO_RES, b"behind")
        assert client.text("show jobs") == ".\n"
        store.unavailable = ""
        until(lambda: not store.jobs)
        client.say(C.SUBMIT_JOB_BG, b"g", b"again", b"2")
        assert client.hear()[0] is C.JOB_CREATED


def test_one_impossible_row_harms_no_other() -> None:
    store = Picky()
    with Server(store=store) as server, Wire(server.port) as client:
        client.send(
            b"".join(request(C.SUBMIT_JOB_BG, b"f", b"%d" % n, b"x" * (200 if n == 37 else 1)) for n in range(100))
        )
        answers = [client.hear() for _ in range(100)]
        assert [n for n, answer in enumerate(answers) if answer[0] is not C.JOB_CREATED] == [37]
        assert answers[37] == (C.ERROR, b"QUEUE_ERROR", b"The queue cannot hold this job: 200 bytes are too many")
        assert len(store.jobs) == 99
        assert client.text("status") == "f\t99\t0\t0\n.\n"


def test_finished_before_the_commit_needs_no_disk() -> None:
    store = MemoryStore()
    with Server(store=store, store_wait=20) as server, Wire(server.port) as client:
        store.unavailable = "later"
        client.say(C.SUBMIT_JOB_BG, b"f", b"first", b"")  # keeps the writer busy
        until(lambda: bool(server.job_server.store_down))
        with Wire(server.port) as worker, Wire(server.port) as second:
            second.say(C.SUBMIT_JOB_BG, b"g", b"second", b"")
            worker.say(C.CAN_DO, b"g").say(C.PRE_SLEEP)
            assert worker.hear() == (C.NOOP,)
            handle = worker.say(C.GRAB_JOB).hear()[1]
            worker.say(C.WORK_COMPLETE, handle, b"").say(C.ECHO_REQ, b"").hear()  # type: ignore[arg-type]
            store.unavailable = ""
            assert second.hear() == (C.JOB_CREATED, handle)
        assert client.hear()[0] is C.JOB_CREATED
        assert [job.unique for job in store.jobs.values()] == [b"first"]


@pytest.mark.parametrize("count", [20_000])
def test_a_long_queue_is_replayed_with_the_port_open(tmp_path: Path, count: int) -> None:
    with Server(sqlite=tmp_path / "queue.db") as server:
        with Wire(server.port) as client:
            client.send(b"".join(request(C.SUBMIT_JOB_BG, b"f", b"", b"%d" % n) for n in range(count)))
            for _ in range(count):
                assert client.hear()[0] is C.JOB_CREATED
        server.restart()
        with Wire(server.port) as client:
            assert client.text("version").startswith("OK ")
            until(lambda: server.job_server.ready)
            client.say(C.CAN_DO, b"f")
            for n in range(100):
                assert client.say(C.GRAB_JOB).hear()[3] == b"%d" % n
            assert client.text("status").startswith(f"f\t{count}\t100\t1\n")
