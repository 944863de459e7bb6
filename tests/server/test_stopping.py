"""A server that is asked to stop: what is finished is written, and a store that hangs keeps nobody waiting for ever."""

import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from geartrain.protocol.commands import Command as C
from geartrain.stores.base import Batch, StoredJob
from geartrain.stores.memory import MemoryStore
from geartrain.testing.server import Server
from tests.server.daemon import daemon
from tests.server.traffic import Traffic
from tests.server.wire import Wire
from tests.services import Service, wait_until
from tests.stores.backends import BACKENDS, Queue, running


class Hanging(MemoryStore):
    """Answers nothing while `answers` is not set."""

    def __init__(self) -> None:
        super().__init__()
        self.answers = threading.Event()
        self.answers.set()
        self.closed = threading.Event()

    def apply(self, batch: Batch) -> None:
        self.answers.wait()
        super().apply(batch)

    def load(self) -> Iterator[StoredJob]:
        self.answers.wait()
        yield from super().load()

    def close(self) -> None:
        self.answers.wait()
        super().close()
        self.closed.set()


@pytest.fixture
def store() -> Iterator[Hanging]:
    store = Hanging()
    yield store
    store.answers.set()


@pytest.mark.parametrize("name", ["libsqlite3", "Postgres"])
def test_under_load_everything_finished_is_written(name: str, tmp_path: Path) -> None:
    with running(BACKENDS[name]) as service:
        options = [f"--{option}={value}" for option, value in Queue(BACKENDS[name], service, tmp_path).options.items()]
        with daemon("-q", name, *options, "--verbose", "NOTICE") as server:
            wait_until(lambda: "loaded from the queue" in server.output, "the queue is loaded")
            with Traffic(server.port) as traffic:
                traffic.flows()
                server.stop(signal.SIGTERM)
                traffic.stop(cut_off=True)
            assert "] stopped" in server.output
            assert "did not take all changes" not in server.output
            server.start()
            wait_until(lambda: server.output.count("loaded from the queue") == 2, "the queue is loaded")
            traffic.drain()
        traffic.check(exactly_once=False)
        twice = [number for number, times in traffic.ran.items() if times > 1]
        assert len(twice) <= 4, f"{twice} ran twice: more than two workers can have had in their hands"


def jobs_of(server: Server) -> int:
    return len(server.job_server.engine.jobs)


def gone(server: Service) -> bool:
    return not server.running


def test_a_second_signal_does_not_wait_for_a_store_that_hangs(tmp_path: Path) -> None:
    with running(BACKENDS["Postgres"]) as service:
        assert service is not None
        options = [f"--{k}={v}" for k, v in Queue(BACKENDS["Postgres"], service, tmp_path).options.items()]
        with daemon("-q", "Postgres", *options, "--verbose", "NOTICE") as server, Wire(server.port) as client:
            wait_until(lambda: "loaded from the queue" in server.output, "the queue is loaded")
            client.say(C.SUBMIT_JOB_BG, b"f", b"", b"before").hear()
            service.freeze()
            client.say(C.SUBMIT_JOB_BG, b"f", b"", b"waits").say(C.ECHO_REQ, b"")
            with Wire(server.port) as other:
                wait_until(lambda: other.text("status") == "f\t2\t0\t0\n.\n", "it came")
            server.send(signal.SIGTERM)
            wait_until(lambda: "stopping; running jobs" in server.output, "it stops")
            time.sleep(1.5)  # longer than an orderly end would take
            assert server.running
            server.send(signal.SIGTERM)
            wait_until(lambda: gone(server), "it leaves at once", 5)
            assert "does not answer: it was not closed in order" in server.output
            service.thaw()
            server.start()
            wait_until(lambda: server.output.count("loaded from the queue") == 2, "the queue is loaded")
            with Wire(server.port) as worker:
                assert worker.say(C.CAN_DO, b"f").say(C.GRAB_JOB).hear()[3] == b"before"


def test_a_store_that_hangs_while_it_is_loaded_does_not_hold_a_stop_up(store: Hanging) -> None:
    store.answers.clear()
    server = Server(store=store)
    server.start()
    began = time.monotonic()
    server.stop()
    assert time.monotonic() - began < 10
    assert not store.closed.is_set()
    store.answers.set()
    assert store.closed.wait(10), "it is closed when it answers"


def test_a_store_that_answers_in_time_is_written_and_closed(store: Hanging) -> None:
    server = Server(store=store)
    server.start()
    with Wire(server.port) as client:
        client.say(C.SUBMIT_JOB_BG, b"f", b"u", b"1").hear()
        store.answers.clear()
        client.say(C.SUBMIT_JOB_BG, b"f", b"late", b"2").say(C.ECHO_REQ, b"")
        wait_until(lambda: jobs_of(server) == 2, "it came")
        threading.Timer(1.0, store.answers.set).start()
        server.stop()
        assert client.hear()[0] is C.JOB_CREATED
    assert store.closed.is_set()
    assert {job.unique for job in store.jobs.values()} == {b"u", b"late"}


def test_a_large_result_is_sent_to_its_end() -> None:
    result = bytes(range(256)) * (64 << 10)  # 16 MiB: far more than the sockets hold
    with daemon() as server, Wire(server.port) as client, Wire(server.port) as worker:
        client.say(C.SUBMIT_JOB, b"f", b"", b"")
        handle = client.hear()[1]
        assert worker.say(C.CAN_DO, b"f").say(C.GRAB_JOB).hear()[0] is C.JOB_ASSIGN
        worker.say(C.WORK_COMPLETE, handle, result).say(C.ECHO_REQ, b"").hear()  # type: ignore[arg-type]
        server.send(signal.SIGTERM)
        assert client.hear() == (C.WORK_COMPLETE, handle, result)
        wait_until(lambda: not server.running, "the server has stopped", 1.5)


def test_a_client_that_does_not_read_holds_nobody_up() -> None:
    with daemon() as server, Wire(server.port) as client, Wire(server.port) as worker:
        client.say(C.SUBMIT_JOB, b"f", b"", b"")
        handle = client.hear()[1]
        assert worker.say(C.CAN_DO, b"f").say(C.GRAB_JOB).hear()[0] is C.JOB_ASSIGN
        worker.say(C.WORK_COMPLETE, handle, bytes(16 << 20)).say(C.ECHO_REQ, b"").hear()  # type: ignore[arg-type]
        server.send(signal.SIGTERM)
        wait_until(lambda: not server.running, "the server has stopped", 5)
