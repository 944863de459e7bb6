"""When a client gets its results: at once, or a little later together, where nobody loses by it."""

import time

from geartrain.engine.replies import created
from geartrain.protocol.commands import Command as C
from geartrain.protocol.packets import response
from geartrain.server.turn import Turn
from tests.engine.harness import Talker, World
from tests.server.daemon import daemon
from tests.server.wire import Wire


class Line(Talker):
    """A peer whose output is sent by the turn: what was written, a piece for each write."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.writes: list[bytes] = []

    def flush(self) -> None:
        if self.peer.ready:
            self.writes.append(b"".join(self.peer.ready))
            self.peer.ready.clear()


class Busy:
    """A client with jobs, and workers that have one each."""

    def __init__(self, workers: int, jobs: int) -> None:
        self.world = World()
        self.turn = Turn(self.world.engine)
        self.client = Line(self.world)
        self.workers = [Line(self.world) for _ in range(workers)]
        for worker in self.workers:
            worker.say(C.CAN_DO, b"f").say(C.GRAB_JOB).say(C.PRE_SLEEP)
        for number in range(jobs):
            self.client.say(C.SUBMIT_JOB, b"f", b"", b"%d" % number)
        self.turn.end()
        for worker in self.workers:
            worker.say(C.GRAB_JOB)
        self.turn.end()
        self.client.writes.clear()

    def complete(self) -> float | None:
        """Each worker ends its job and asks for the next, in one turn."""
        for worker in self.workers:
            handle = next(iter(worker.peer.running or {}))
            worker.say(C.WORK_COMPLETE, handle, b"done").say(C.GRAB_JOB)
        return self.turn.end()


def test_a_fault_in_sending_ends_one_connection() -> None:
    class Faulty(Line):
        ended: BaseException | None = None

        def flush(self) -> None:
            raise ZeroDivisionError

        def broken(self, error: BaseException) -> None:
            self.ended = error

    world = World()
    turn = Turn(world.engine)
    faulty, other = Faulty(world), Line(world)
    for peer in (faulty, other):
        peer.say(C.ECHO_REQ, b"x")
    turn.end()
    assert isinstance(faulty.ended, ZeroDivisionError)
    assert other.writes == [response(C.ECHO_RES, b"x")]


def test_a_busy_server_sends_results_of_one_client_together() -> None:
    busy = Busy(workers=5, jobs=100)
    assert busy.complete() == 0.0, "the next turn must come at once"
    assert busy.complete() == 0.0
    assert busy.client.writes == []
    assert all(worker.peer.running for worker in busy.workers), "workers get their next jobs at once"
    busy.turn.end()  # nothing new has come
    assert len(busy.client.writes) == 1
    assert busy.client.writes[0].count(b"done") == 10


def test_results_do_not_wait_for_ever() -> None:
    busy = Busy(workers=10, jobs=500)
    turns = 0
    while not busy.client.writes:
        busy.complete()
        turns += 1
    assert turns <= 5
    assert busy.client.writes[0].count(b"done") == turns * 10


def test_a_client_that_waits_for_one_job_gets_it_at_once() -> None:
    busy = Busy(workers=5, jobs=100)
    other = Line(busy.world)
    other.say(C.SUBMIT_JOB_HIGH, b"f", b"", b"x")
    busy.complete()
    assert other.writes == [created(b"H:test:101")]
    busy.complete()
    assert len(other.writes) == 2
    assert other.writes[1].endswith(b"done")


def test_results_are_sent_at_once_when_workers_would_run_dry() -> None:
    busy = Busy(workers=5, jobs=9)
    busy.complete()
    assert len(busy.client.writes) == 1


def test_results_are_sent_at_once_on_a_quiet_server() -> None:
    busy = Busy(workers=2, jobs=100)
    busy.complete()
    assert len(busy.client.writes) == 1


def test_a_server_with_nothing_to_do_costs_nothing() -> None:
    """Also right after a time of quick questions, in which it stays awake between them."""
    with daemon() as service, Wire(service.port) as peer:
        for _ in range(2000):
            peer.say(C.ECHO_REQ, b"x").hear()
        before = time.clock_gettime((~service.pid << 3) | 2)
        time.sleep(1.0)  # what is measured
        assert time.clock_gettime((~service.pid << 3) | 2) - before < 0.02
