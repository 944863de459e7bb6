"""Plays one dialogue against one running server.

Owns the connections of a dialogue, and how silence is seen without waiting: whenever another connection is to
speak, the one that spoke last sends an ECHO_REQ and its answer is awaited; what came before the answer was
caused by what was sent before. So each step sees the finished work of the steps before it, and at the end every
reply must have been named in the transcript.
Must not know how a server is started.
"""

import os
import select
import signal
import socket
import time
from collections.abc import Sequence
from typing import Protocol

from geartrain.protocol.commands import Command

from .notation import Line, Message, NotationError, Packet, Raw, Step, show

DEADLINE = 8.0
"""Seconds that a reply may take. Only a failing dialogue waits as long."""
_ECHO = b"\0REQ" + int(Command.ECHO_REQ).to_bytes(4)
_ECHO_RES = b"\0RES" + int(Command.ECHO_RES).to_bytes(4)
END = b""
"""In a peer's inbox: the server closed the connection."""


class Server(Protocol):
    """What the player needs of a running server."""

    name: str
    port: int
    pid: int

    def wait(self, seconds: float) -> bool:
        """Waits for the process to end; whether it did."""


class Deviation(AssertionError):
    """The server did not answer as the transcript says."""


class Peer:
    """One connection to the server."""

    def __init__(self, name: str, port: int) -> None:
        self.name = name
        self.socket = socket.create_connection(("127.0.0.1", port), DEADLINE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.inbox: list[bytes] = []
        """Whole packets and lines (with their newline) that have come."""
        self.received = bytearray()
        self.sent = bytearray()
        """What was sent since the last whole packet or line ended."""
        self.unsettled = True
        self.stuck = False
        """The server answers nothing any more, as the transcript has shown."""
        self.forgotten = False
        """Nobody looks at what it receives any more."""
        self.writable = True
        self.ended = False

    def send(self, data: bytes, size: int = 0) -> None:
        """Writes; `size` bytes at a time if it is given."""
        for start in range(0, len(data), size or len(data) or 1):
            self.socket.sendall(data[start : start + (size or len(data))])
        self.unsettled = True
        self.sent += data
        while whole := _unit(self.sent):
            del self.sent[:whole]

    def receive(self, deadline: float) -> bool:
        """Waits for at least one more packet, line or the end. False: the deadline passed."""
        while True:
            if whole := _unit(self.received):
                self.inbox.append(bytes(self.received[:whole]))
                del self.received[:whole]
                return True
            if self.ended:
                return False
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.socket], [], [], left)[0]:
                return False
            try:
                data = self.socket.recv(1 << 16)
            except ConnectionResetError:
                data = b""
            if not data:
                self.ended = True
                self.inbox.append(END)
                return True
            self.received += data

    def settle(self, echo: bytes) -> None:
        """Waits until the server has done all that it was sent.

        Raises:
            Deviation: it never answered.
        """
        self.unsettled = False
        if self.stuck or self.ended or not self.writable or self.sent:
            return
        try:
            self.socket.sendall(_ECHO + len(echo).to_bytes(4) + echo)
        except ConnectionError:
            pass  # The server closed it: the end is in what we now receive.
        answer = _ECHO_RES + len(echo).to_bytes(4) + echo
        deadline = time.monotonic() + DEADLINE
        seen = len(self.inbox)
        while self.receive(deadline):
            if self.inbox[-1] == END:
                return
            if self.inbox[-1] == answer:
                self.inbox.pop()
                return
        came = ", ".join(map(show, self.inbox[seen:])) or "nothing"
        raise Deviation(f"{self.name}: the server does not answer an ECHO_REQ any more ({came} came)")

    def close(self) -> None:
        """Leaves, and waits until the server has noticed: it closes its end after that."""
        if self.writable and not self.ended:
            self.writable = False
            try:
                self.socket.shutdown(socket.SHUT_WR)
            except OSError:
                self.ended = True
        deadline = time.monotonic() + DEADLINE
        while not self.ended:
            if not self.receive(deadline):
                raise Deviation(f"{self.name}: the server keeps a connection that was closed")
        self.socket.close()


def _unit(data: bytearray) -> int:
    """The size of the whole packet or line at the start; 0 while it is not complete."""
    if not data:
        return 0
    if data[0] == 0:
        size = 12 + int.from_bytes(data[8:12]) if len(data) >= 12 else 12
        return size if len(data) >= size else 0
    return data.find(b"\n") + 1


class Player:
    """Plays the steps of one dialogue."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.peers: dict[str, Peer] = {}
        self.bound: dict[str, bytes] = {}
        self._echoes = 0
        self._pending: list[tuple[Peer, bytes]] = []

    def play(self, steps: Sequence[Step]) -> None:
        """Plays them all.

        Raises:
            Deviation: the server answered otherwise; the text says at which line, what was expected and what came.
        """
        try:
            for position, step in enumerate(steps):
                following = steps[position + 1] if position + 1 < len(steps) else None
                try:
                    self._step(step, following)
                except (Deviation, NotationError) as error:
                    raise Deviation(f"{self.server.name}, line {step.number}: {step.text}\n{error}") from None
            self._finish()
        finally:
            for peer in self.peers.values():
                peer.socket.close()

    def _step(self, step: Step, following: Step | None) -> None:
        self._settle_others(step.peer)
        if not step.peer:
            _ON_SERVER[step.action](self, step)
            return
        peer = self.peers.get(step.peer)
        if peer is None:
            peer = self.peers[step.peer] = Peer(step.peer, self.server.port)
        if step.action == "send":
            self._send(peer, step, following)
        else:
            _ON_PEER[step.action](self, peer, step)

    def _settle_others(self, name: str) -> None:
        for peer in self.peers.values():
            if peer.name != name and peer.unsettled:
                self._settle(peer)

    def _settle(self, peer: Peer) -> None:
        self._echoes += 1
        peer.settle(b"settled %d" % self._echoes)

    def _send(self, peer: Peer, step: Step, following: Step | None) -> None:
        data = self._encode(step.messages[0])
        if step.argument:
            peer.send(data, int(step.argument))
            return
        # Lines in a row leave in one write.
        self._pending.append((peer, data))
        if following and following.peer == step.peer and following.action == "send" and not following.argument:
            return
        together = b"".join(data for _, data in self._pending)
        self._pending.clear()
        try:
            peer.send(together)
        except ConnectionError as error:
            raise Deviation(f"{peer.name}: the server had closed the connection ({error})") from error

    def _encode(self, message: Message) -> bytes:
        if isinstance(message, Packet):
            body = message.body.fill(self.bound, time.time)
            return message.magic + message.command.to_bytes(4) + len(body).to_bytes(4) + body
        if isinstance(message, Line):
            return message.text.fill(self.bound, time.time) + b"\n"
        return message.data.fill(self.bound, time.time)

    def _expect(self, peer: Peer, step: Step) -> None:
        wanted = step.messages[0]
        unit = self._next(peer)
        if not self._matches(wanted, unit):
            raise Deviation(f"  but came: {_came(unit)}")

    def _any_order(self, peer: Peer, step: Step) -> None:
        wanted = list(step.messages)
        while wanted:
            unit = self._next(peer)
            found = next((message for message in wanted if self._matches(message, unit)), None)
            if found is None:
                raise Deviation(f"  but came: {_came(unit)}")
            wanted.remove(found)

    def _next(self, peer: Peer) -> bytes:
        if not peer.inbox and not peer.receive(time.monotonic() + DEADLINE):
            raise Deviation("  but nothing came")
        return peer.inbox.pop(0)

    def _matches(self, wanted: Message, unit: bytes) -> bool:
        if isinstance(wanted, Packet):
            head = wanted.magic + wanted.command.to_bytes(4)
            return unit[:8] == head and wanted.body.match(unit[12:], self.bound)
        if isinstance(wanted, Raw):
            return wanted.data.match(unit, self.bound)
        return unit[-1:] == b"\n" and unit[0] != 0 and wanted.text.match(unit[:-1], self.bound)

    def _nothing(self, peer: Peer, _: Step) -> None:
        self._settle(peer)
        self._empty(peer)

    def _empty(self, peer: Peer) -> None:
        if (peer.inbox or peer.received) and not peer.forgotten:
            came = [_came(unit) for unit in peer.inbox]
            if peer.received:
                came.append(f"the beginning {bytes(peer.received)!r}")
            raise Deviation(f"  {peer.name} received what the transcript does not name: " + ", ".join(came))

    def _silence(self, peer: Peer, step: Step) -> None:
        peer.stuck = True
        peer.unsettled = False
        if peer.receive(time.monotonic() + float(step.argument)):
            raise Deviation(f"  but came: {_came(peer.inbox[0])}")

    def _close(self, peer: Peer, _: Step) -> None:
        if peer.unsettled:
            self._settle(peer)
        self._empty(peer)
        peer.close()
        del self.peers[peer.name]
        self._await_departure()

    def _await_departure(self) -> None:
        """Waits until the server has done all that a closed connection's end brings with it.

        gearmand closes a socket in one thread and handles the departure in another, later; only then the connection
        leaves the list of `workers`.
        """
        usable = (peer for peer in self.peers.values() if not peer.sent and peer.writable and not peer.stuck)
        asking = next(usable, None)
        extra = asking is None
        try:
            peer = asking or Peer("", self.server.port)
        except ConnectionError:
            return  # The server itself has ended.
        deadline = time.monotonic() + DEADLINE
        try:
            while True:
                before = len(peer.inbox)
                peer.send(b"workers\n")
                self._settle(peer)
                lines = [unit for unit in peer.inbox[before:] if unit[:1] not in (END, b"\0")]
                peer.inbox[before:] = [unit for unit in peer.inbox[before:] if unit[:1] in (END, b"\0")]
                if len(lines) - 1 <= len(self.peers) + extra:
                    return
                if time.monotonic() > deadline:
                    raise Deviation(f"  but the server still lists {len(lines) - 1} connections: {lines}")
        finally:
            if extra:
                peer.socket.close()

    def _half_close(self, peer: Peer, _: Step) -> None:
        peer.socket.shutdown(socket.SHUT_WR)
        peer.writable = False
        peer.unsettled = False

    def _closed(self, peer: Peer, _: Step) -> None:
        unit = self._next(peer)
        if unit != END:
            raise Deviation(f"  but came: {_came(unit)}")
        peer.socket.close()
        del self.peers[peer.name]

    def _connect(self, peer: Peer, _: Step) -> None:
        self._settle(peer)

    def _forgotten(self, peer: Peer, _: Step) -> None:
        peer.stuck = True
        peer.forgotten = True

    def _wait(self, step: Step) -> None:
        time.sleep(float(step.argument))

    def _signal(self, step: Step) -> None:
        os.kill(self.server.pid, signal.Signals[f"SIG{step.argument}"])

    def _ends(self, _: Step) -> None:
        if not self.server.wait(DEADLINE):
            raise Deviation("  but the server still runs")

    def _finish(self) -> None:
        for peer in self.peers.values():
            try:
                self._settle(peer)
                self._empty(peer)
            except Deviation as error:
                raise Deviation(f"{self.server.name}, at the end:\n{error}") from None


def _came(unit: bytes) -> str:
    return show(unit) if unit else "(closed)"


_ON_PEER = {
    "expect": Player._expect,
    "any order": Player._any_order,
    "nothing": Player._nothing,
    "silence": Player._silence,
    "close": Player._close,
    "half-close": Player._half_close,
    "closed": Player._closed,
    "connect": Player._connect,
    "forgotten": Player._forgotten,
}
_ON_SERVER = {"wait": Player._wait, "signal": Player._signal, "the server ends": Player._ends}
