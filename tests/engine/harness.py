"""An engine with talking peers: what a test says and hears, without sockets and clocks."""

from typing import TYPE_CHECKING

from geartrain.engine.dispatch import receive
from geartrain.engine.engine import Engine
from geartrain.engine.journal import Journal
from geartrain.engine.options import About, EngineOptions
from geartrain.protocol.commands import Command
from geartrain.protocol.packets import REQUEST_MAGIC, RESPONSE_MAGIC, request, split
from geartrain.protocol.parser import Parser
from tests.engine.invariants import check

if TYPE_CHECKING:
    from geartrain.engine.peer import Peer

__all__ = ["Talker", "World"]


class Talker:
    """One connection of a test."""

    def __init__(self, world: "World", trusted: bool = True) -> None:
        self.world = world
        self._in = Parser(REQUEST_MAGIC)
        self._out = Parser(RESPONSE_MAGIC)
        self.peer: Peer = world.engine.connect(self, b"127.0.0.1", 7, trusted, world.now)

    def flush(self) -> None: ...

    def say(self, command: Command, *parts: bytes) -> "Talker":
        return self.feed(request(command, *parts))

    def say_slowly(self, command: Command, *parts: bytes) -> "Talker":
        """In pieces, as a network brings much data."""
        packet = request(command, *parts)
        for start in range(0, len(packet), 100_000):
            self.feed(packet[start : start + 100_000])
        return self

    def feed(self, data: bytes) -> "Talker":
        receive(self.world.engine, self.peer, self._in.feed(data), self.world.now)
        return self

    def line(self, text: str) -> str:
        """Asks in the text protocol, and hears the answer."""
        self.feed(text.encode() + b"\n")
        answer = b"".join(self.peer.ready).decode()
        self.peer.ready.clear()
        return answer

    def hear(self) -> list[tuple[object, ...]]:
        """All packets that came: the command and its parts."""
        data = b"".join(self.peer.ready)
        self.peer.ready.clear()
        heard: list[tuple[object, ...]] = []
        for number, parts in self._out.feed(data):
            command = Command(number)
            heard.append((command, *split(command, b"\0".join(parts))))
        return heard

    def hears(self, *expected: tuple[object, ...]) -> None:
        assert self.hear() == list(expected)

    def leave(self) -> None:
        self.world.engine.leave(self.peer, self.world.now)


class World:
    """An engine, its time, and its store's journal."""

    def __init__(self, options: EngineOptions | None = None, durable: bool = False) -> None:
        self.now = 1000.0
        self.wall = 1_800_000_000.0
        self.shutdowns: list[bool] = []
        self.engine = Engine(
            options or EngineOptions(handle_prefix=b"H:test:"),
            Journal() if durable else None,
            lambda: self.wall,
            About(b"2.0.0", b"ERROR", False, self.shutdowns.append),
        )

    def peer(self, trusted: bool = True) -> Talker:
        return Talker(self, trusted)

    def worker(self, *functions: bytes, asleep: bool = True) -> Talker:
        talker = self.peer()
        for function in functions:
            talker.say(Command.CAN_DO, function)
        if asleep:
            talker.say(Command.PRE_SLEEP)
        return talker

    def turn(self) -> None:
        self.engine.wakeups.settle()

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.wall += seconds
        self.engine.tick(self.now)

    def commit(self) -> None:
        """The store takes everything that is pending."""
        journal = self.engine.journal
        assert journal is not None
        write = journal.take()
        assert write is not None
        journal.settle(write)

    def check(self) -> None:
        """The indices agree with each other."""
        check(self.engine)
