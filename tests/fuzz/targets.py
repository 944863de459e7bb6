"""What is fuzzed: the parser, and a whole engine behind parsers. Each takes bytes, and raises where something is wrong.

Owns how a fuzzer's bytes become chunks and events. Knows no fuzzer: any bytes may be given, a stored corpus for one.
"""

from collections.abc import Callable

from geartrain.engine.dispatch import receive, refuse_stream
from geartrain.engine.engine import Engine
from geartrain.engine.journal import Journal, Write
from geartrain.engine.options import About, EngineOptions
from geartrain.engine.peer import Link, Peer
from geartrain.engine.recovery import expire, reject
from geartrain.protocol.commands import MAX_COMMAND, Command
from geartrain.protocol.packets import REQUEST_MAGIC, RESPONSE_MAGIC, pack
from geartrain.protocol.parser import TEXT, TOO_FEW, Item, Parser
from tests.engine.invariants import check

__all__ = ["TARGETS", "Step", "engine", "parser", "script"]

MAX_PACKET = 5000
PEERS = 4
MAX_EVENTS = 150


def parser(data: bytes) -> None:
    """Two bytes seed the chunking; the rest is a stream. However it is cut, the same items come out."""
    if len(data) < 2:
        return
    chunk, magic, stream = 1 + data[0] % 40, data[1] % 2, data[2:]
    whole = _parse(stream, [len(stream)], magic)
    for sizes in ([1], [chunk], [chunk, 1, 13, 12]):
        assert _parse(stream, sizes, magic) == whole


def _parse(stream: bytes, sizes: list[int], magic: int) -> tuple[list[Item], tuple[bytes, str] | None]:
    subject = Parser(REQUEST_MAGIC if magic else RESPONSE_MAGIC, MAX_PACKET)
    items: list[Item] = []
    position = turn = 0
    while position < len(stream):
        size = max(sizes[turn % len(sizes)], 1)
        for item in subject.feed(stream[position : position + size]):
            assert 1 <= item[0] <= TOO_FEW
            assert item[0] != TEXT or b"\n" not in item[1][0]
            items.append(item)
        position += size
        turn += 1
    fault = subject.fault
    return items, None if fault is None else (fault.code, fault.text)


class _Link(Link):
    def flush(self) -> None:
        raise AssertionError("the engine calls nothing of a link")


class _World:
    """An engine with some peers and a journal that is committed when the fuzzer says so."""

    def __init__(self, flavour: int) -> None:
        self.now = 100.0
        self.journal = Journal() if flavour & 1 else None
        by_priority, rotate = bool(flavour & 2), bool(flavour & 4)
        options = EngineOptions(b"H:t:", 2 if flavour & 8 else 0, bool(flavour & 16), by_priority, rotate)
        about = About(b"2.0.0", b"ERROR", False, lambda graceful: None)
        self.engine = Engine(options, self.journal, lambda: 1_000_000_000.0 + self.now, about)
        self.writing: Write | None = None
        self.peers: list[tuple[Peer, Parser]] = [self.connect() for _ in range(PEERS)]

    def connect(self) -> tuple[Peer, Parser]:
        return self.engine.connect(_Link(), b"127.0.0.1", 1, True, self.now), Parser(REQUEST_MAGIC, MAX_PACKET)

    def feed(self, who: int, data: bytes) -> None:
        peer, subject = self.peers[who]
        items = subject.feed(data)
        if items:
            receive(self.engine, peer, items, self.now)
        if subject.fault is not None and not peer.closing:
            refuse_stream(self.engine, peer, subject.fault)

    def leave(self, who: int) -> None:
        self.engine.leave(self.peers[who][0], self.now)
        self.peers[who] = self.connect()

    def turn(self) -> None:
        """What the shell does at the end of a turn."""
        self.engine.wakeups.settle()
        out = Parser(RESPONSE_MAGIC)
        for peer in self.engine.dirty:
            peer.dirty = False
            data = b"".join(peer.ready)
            peer.ready.clear()
            if not _is_text(data):
                out.feed(data)
                assert out.fault is None, f"the engine sends what is no packet: {data[:80]!r}"
            if peer.closing and not peer.gone:
                who = next(i for i, (other, _) in enumerate(self.peers) if other is peer)
                self.leave(who)
        self.engine.dirty.clear()

    def commit(self) -> None:
        if self.journal is None:
            return
        if self.writing is None:
            self.writing = self.journal.take()
        else:
            self.journal.settle(self.writing)
            self.writing = None

    def reject(self) -> None:
        if self.writing is not None and self.writing.jobs:
            reject(self.engine, self.writing.jobs[0], b"too large")


def _is_text(data: bytes) -> bool:
    """Text answers stand between packets without a mark; the streams that hold some are not read."""
    return b"\n" in data


Step = tuple[int, bytes]
"""An event's byte, and what belongs to it."""

_FEED, _PACKET, _LEAVE, _WAIT, _COMMIT, _EXPIRE, _REJECT = range(7)


def script(flavour: int, steps: list[Step]) -> bytes:
    """The bytes that make `engine` do these steps: for seeds."""
    out = bytearray([flavour])
    for event, data in steps:
        out.append(event)
        kind = event >> 2 & 7
        if kind in (_FEED, _PACKET):
            out += len(data).to_bytes(2, "big")
        out += data
    return bytes(out)


def engine(data: bytes) -> None:
    """A byte for the options, then events: one byte each (two bits for the peer, three for the kind), and data."""
    if not data:
        return
    world = _World(data[0])
    position = 1
    events = 0
    while position < len(data) and events < MAX_EVENTS:
        events += 1
        event = data[position]
        position += 1
        who, kind = event & 3, event >> 2 & 7
        if kind in (_FEED, _PACKET):
            size = int.from_bytes(data[position : position + 2], "big") % 6000
            body = data[position + 2 : position + 2 + size]
            position += 2 + size
            if kind == _PACKET:
                command = body[0] % (MAX_COMMAND + 2) if body else int(Command.ECHO_REQ)
                body = pack(REQUEST_MAGIC, command, body[1:])
            world.feed(who, body)
        elif kind == _LEAVE:
            world.leave(who)
        elif kind == _WAIT:
            world.now += (1 + (event >> 5)) * 0.3
            world.engine.tick(world.now)
        elif kind == _COMMIT:
            world.commit()
        elif kind == _EXPIRE:
            expire(world.engine, world.now - (event >> 5), b"slow")
        elif kind == _REJECT:
            world.reject()
        world.turn()
        check(world.engine)
    for who in range(PEERS):
        world.leave(who)
        check(world.engine)
    left = [job for job in world.engine.jobs.values() if not job.background]
    assert not left, "a foreground job outlives all its clients"


TARGETS: dict[str, Callable[[bytes], None]] = {"parser": parser, "engine": engine}
