"""The fixed loops that instructions.py counts: a job's way through the parser and the engine, without sockets.

Owns what a job is here. Imports as little as possible, since callgrind runs all of it fifty times slower.

    python -m benchmarks.loops "round trip" 400
"""

import gc
import sys
from collections.abc import Callable
from typing import Final

from geartrain.engine.dispatch import receive
from geartrain.engine.engine import Engine
from geartrain.engine.journal import Journal
from geartrain.engine.options import About, EngineOptions
from geartrain.engine.peer import Link, Peer
from geartrain.protocol.commands import Command
from geartrain.protocol.packets import request
from geartrain.protocol.parser import Parser

__all__ = ["LONG", "LOOPS"]

LONG: Final = 1_200
"""The most jobs of a loop. What it sends is made for so many, however long it is, and so does not count."""
_BATCH: Final = 20
_PREFIX: Final = b"H:count:"
_WORKLOAD: Final = b"x" * 64
_SUBMIT: Final = request(Command.SUBMIT_JOB, b"bench0", b"", _WORKLOAD)
_BACKGROUND: Final = request(Command.SUBMIT_JOB_BG, b"bench0", b"", _WORKLOAD)
_GRAB: Final = request(Command.GRAB_JOB)
_SLEEP: Final = request(Command.PRE_SLEEP)


class _Side(Link):
    """A peer with its parser: what a connection is without its socket."""

    __slots__ = ("engine", "parser", "peer")

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.parser = Parser()
        self.peer: Peer = engine.connect(self, b"127.0.0.1", 7, True, 0.0)

    def feed(self, data: bytes) -> None:
        receive(self.engine, self.peer, self.parser.feed(data), 1.0)

    def flush(self) -> None:
        ready = self.peer.ready
        b"".join(ready)
        ready.clear()


def _engine(durable: bool = False) -> Engine:
    about = About(b"", b"", False, lambda graceful: None)
    return Engine(EngineOptions(handle_prefix=_PREFIX), Journal() if durable else None, lambda: 1.0, about)


def _turn(engine: Engine) -> None:
    """What the shell does at the end of a turn: everything is sent."""
    engine.wakeups.settle()
    dirty = engine.dirty
    engine.dirty = []
    for peer in dirty:
        peer.dirty = False
        peer.link.flush()


def _sides(engine: Engine, all_yours: bool = False) -> tuple[_Side, _Side]:
    client, worker = _Side(engine), _Side(engine)
    worker.feed(request(Command.CAN_DO, b"bench0"))
    if all_yours:
        worker.feed(request(Command.ALL_YOURS))
    worker.feed(_GRAB)
    worker.feed(_SLEEP)
    _turn(engine)
    return client, worker


def _completions(jobs: int, after: bytes) -> list[bytes]:
    return [request(Command.WORK_COMPLETE, b"%b%d" % (_PREFIX, n), _WORKLOAD) + after for n in range(1, jobs + 1)]


def _round_trips(jobs: int) -> None:
    """Submit, wake-up, grab, result; 20 requests in a read."""
    engine = _engine()
    client, worker = _sides(engine)
    completions = _completions(LONG, _GRAB)
    for first in range(0, jobs, _BATCH):
        client.feed(_SUBMIT * _BATCH)
        _turn(engine)
        worker.feed(_GRAB)
        _turn(engine)
        for completion in completions[first : first + _BATCH]:
            worker.feed(completion)
            _turn(engine)
        worker.feed(_SLEEP)
        _turn(engine)


def _all_yours(jobs: int) -> None:
    """One job at a time, pushed to a worker that sent ALL_YOURS."""
    engine = _engine()
    client, worker = _sides(engine, all_yours=True)
    completions = _completions(LONG, _SLEEP)
    for completion in completions[:jobs]:
        client.feed(_SUBMIT)
        _turn(engine)
        worker.feed(completion)
        _turn(engine)


def _durable(jobs: int) -> None:
    """Background jobs that are stored, run and removed, in batches of 20."""
    engine = _engine(durable=True)
    client, worker = _sides(engine)
    completions = _completions(LONG, _GRAB)
    journal = engine.journal
    assert journal is not None
    for first in range(0, jobs, _BATCH):
        client.feed(_BACKGROUND * _BATCH)
        _turn(engine)
        _commit(engine, journal)
        worker.feed(_GRAB)
        for completion in completions[first : first + _BATCH]:
            worker.feed(completion)
            _turn(engine)
        worker.feed(_SLEEP)
        _commit(engine, journal)


def _commit(engine: Engine, journal: Journal) -> None:
    write = journal.take()
    assert write is not None
    for peer in journal.settle(write):
        peer.link.flush()
    _turn(engine)


def _echo(jobs: int) -> None:
    """ECHO_REQ: parsing and dispatch alone."""
    engine = _engine()
    side = _Side(engine)
    packets = request(Command.ECHO_REQ, _WORKLOAD) * _BATCH
    for _ in range(0, jobs, _BATCH):
        side.feed(packets)
        _turn(engine)


LOOPS: Final[dict[str, Callable[[int], None]]] = {
    "round trip": _round_trips,
    "all yours": _all_yours,
    "durable": _durable,
    "echo": _echo,
}


if __name__ == "__main__":
    gc.disable()  # the server hardly ever collects; here it would fall into one run and not into the other
    LOOPS[sys.argv[1]](int(sys.argv[2]))
