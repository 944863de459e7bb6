"""HttpConnection: one socket that speaks HTTP.

Owns one answer after the other on a connection that stays open, the limits in time, and the end. The bytes go the way
of the Gearman port: read and parsed when they come (reader.py), written once per turn of the loop. What a request calls
is gateway.py's; the API and the dashboard are behind bridge.py.
"""

import logging
import socket
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from geartrain.http import gateway
from geartrain.http.bridge import Bridge
from geartrain.http.plain import again, plain
from geartrain.http.reader import Reader
from geartrain.http.request import Request
from geartrain.http.responses import CONTINUE, error
from geartrain.protocol.commands import Command
from geartrain.protocol.packets import HEADER_SIZE, RESPONSE_MAGIC
from geartrain.protocol.parser import Parser
from geartrain.server.connection import LARGEST_READ, READ_SIZE, Connection

if TYPE_CHECKING:
    import asyncio

    from geartrain.engine.peer import Peer
    from geartrain.http.access import Refusal
    from geartrain.http.hub import HttpHub

__all__ = ["HttpConnection"]

logger: Final = logging.getLogger("geartrain.http")

SLOW_READER: Final = 64 * 1024
"""Unread bytes at which Starlette's answers wait."""
_CREATED: Final = RESPONSE_MAGIC + Command.JOB_CREATED.to_bytes(4, "big")
_COMPLETE: Final = RESPONSE_MAGIC + Command.WORK_COMPLETE.to_bytes(4, "big")
_KEY: Final = len(_CREATED)
LINGER: Final = 2.0
"""Seconds to go on reading what is thrown away, so that the last answer is not lost with the connection."""


class HttpConnection(Connection):
    """One connection.

    Attributes:
        local: whether it came over an address that other machines cannot reach.
    """

    __slots__ = (
        "_bridge",
        "_current",
        "_exchange",
        "_linger",
        "_out",
        "_pulse",
        "_reader",
        "_since",
        "_stuck",
        "_timer",
        "access",
        "local",
        "max_output",
        "server_name",
    )

    _hub: "HttpHub"

    def __init__(self, hub: "HttpHub", sock: socket.socket, address: str, trusted: bool) -> None:
        super().__init__(hub, sock, address, trusted)
        self.access = hub.access
        self.server_name = hub.server_name
        self.max_output = hub.max_output
        self.local = trusted and _is_loopback(sock)
        self.peer.exceptions = True
        self._parser = Parser(RESPONSE_MAGIC, (1 << 32) - 1)  # reads what the engine answers
        self._reader = Reader(hub.max_packet, self._early)
        self._current: Request | None = None  # the one that is being answered
        self._exchange: gateway.Exchange | None = None
        self._bridge: Bridge | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._linger = 0.0  # until when; below 0: wanted
        self._out: list[bytes] = []
        self._since = self._pulse = monotonic()
        self._stuck = (0, 0.0)

    @property
    def raw(self) -> socket.socket:
        return self._sock

    def changed(self) -> None:
        """Something was done outside of a turn."""
        self._hub.server.changed()

    # ---- in

    def readable(self) -> None:
        reader = self._reader
        missing = reader.missing
        try:
            data = self._sock.recv(READ_SIZE if missing <= READ_SIZE else min(missing, LARGEST_READ))
        except (BlockingIOError, InterruptedError):
            return
        except OSError as broken:
            self._lost(broken)
            return
        self._stats.bytes_in += len(data)
        if not (self._current or reader.begun or reader.final or reader.requests or self.engine.draining):
            most = self._hub.max_packet
            known = again(data, most)
            if known is not None:
                request, unique, body = known
                if self.access.free(request.fields) or self.access.refusal(request, self.local) is None:
                    self._current = request
                    gateway.call_again(self, request, unique, body)
                    return
            elif (new := plain(data, most)) is not None and self._refusal(new) is None:
                self._current = new
                gateway.call(self, new)
                return
        self._take(data)

    def _take(self, data: bytes) -> None:
        """Takes what is not plainly one call."""
        if not data:
            self._linger = 0.0
            self._eof()
            return
        reader = self._reader
        if not reader.begun:
            self._since = monotonic()
        reader.feed(data)
        if self._current is None:
            if reader.requests:
                self._begin(reader.requests.pop(0))
            self._next()

    def _early(self, request: Request) -> "Refusal | None":
        """What can be said before a body has come spares both sides the body."""
        refusal = self._refusal(request)
        if refusal is None and b"expect" in request.fields and self._current is None and not self._reader.requests:
            self.send(CONTINUE)
        return refusal

    # ---- one request after the other

    def _next(self) -> None:
        reader = self._reader
        while self._current is None and self.fd >= 0:
            if reader.requests:
                self._begin(reader.requests.pop(0))
            elif reader.fault is not None:
                status, code, text = reader.fault
                reader.fault = None
                self._linger = -1.0
                self._current = request = reader.refused
                self.refuse(request, status, code, text, keep_alive=False)
            else:
                return

    def _begin(self, request: Request) -> None:
        self._current = request
        refusal = None if request.checked else self._refusal(request)
        if refusal is not None:
            self.refuse(request, *refusal)
        elif request.ours:
            self._bridge = Bridge(self, self._hub.site, request)
            self._bridge.start()
        else:
            gateway.call(self, request)

    def _refusal(self, request: Request) -> "Refusal | None":
        access = self.access
        request.checked = True
        if not request.ours and access.free(request.fields):
            return None
        return access.refusal(request, self.local)

    def submit(self, exchange: gateway.Exchange, unique: bytes, workload: bytes, priority: int) -> None:
        """Hands a job to the engine. What that answers at once is read here, later replies in `flush`."""
        self._exchange = exchange
        background = exchange.background
        if exchange.timeout and not background:
            self._timer = self._hub.loop.call_later(exchange.timeout, self._timed_out)
        engine = self.engine
        engine.now = monotonic()
        peer = self.peer
        dirty = peer.dirty
        peer.dirty = True
        engine.submit(peer, exchange.request.function, unique, workload, priority, background)
        peer.dirty = dirty
        ready = peer.ready
        if ready:
            first = ready[0]
            if len(ready) == 1 and exchange.simple and isinstance(first, bytes) and first[:_KEY] == _CREATED:
                exchange.handle = first[HEADER_SIZE:]
                ready.clear()
            else:
                self._replied(peer)

    def _timed_out(self) -> None:
        self._timer = None
        exchange = self._exchange
        if exchange is not None:
            self.abandon()
            gateway.timed_out(self, exchange)
            self.changed()

    def abandon(self) -> None:
        """Waits for the job no longer, as a client that leaves; the connection goes on with another name."""
        self._exchange = None
        engine = self.engine
        old = self.peer
        self.peer = engine.connect(self, old.address, self.fd, old.trusted, monotonic())
        self.peer.exceptions = True
        self._parser = Parser(RESPONSE_MAGIC, (1 << 32) - 1)
        engine.stats.connections -= 1
        engine.leave(old, monotonic())

    # ---- out

    def send(self, data: bytes) -> None:
        """Appends to what the client gets at the turn's end."""
        if data:
            self._out.append(data)
        peer: Peer = self.peer
        if not peer.dirty:
            peer.dirty = True
            self.engine.dirty.append(peer)

    def answer(self, data: bytes, status: int) -> None:
        """Sends the last bytes of an answer; the next request may follow."""
        self._hub.requests[status] += 1
        self.send(data)
        request = self._current
        self._current = self._exchange = self._bridge = None
        self._since = monotonic()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        reader = self._reader
        if request is not None and not request.keep_alive:
            reader.close()
            reader.fault = None
            self.engine.close(self.peer)
        elif reader.requests or reader.fault is not None:
            self._hub.loop.call_soon(self._go_on)  # not now: this may be the end of a turn

    def refuse(
        self, request: Request, status: int, code: str, text: str, *, fields: bytes = b"", keep_alive: bool = True
    ) -> None:
        """Answers with an error."""
        request.keep_alive = keep_alive = keep_alive and request.keep_alive
        data = error(request, status, code, text, self.server_name, fields=fields, keep_alive=keep_alive)
        self.answer(data, status)

    def _go_on(self) -> None:
        if self.fd >= 0:
            self._next()
            self.changed()

    def cut(self) -> None:
        """Ends the connection in the middle of an answer."""
        self._exchange = None
        self._reader.close()
        self.engine.close(self.peer)
        self.send(b"")

    def flush(self) -> None:
        peer = self.peer
        ready = peer.ready
        out = self._out
        if ready:
            exchange = self._exchange
            peer.dirty = True  # what the replies lead to is sent below
            first = ready[0]
            if (
                exchange is not None and exchange.simple and len(ready) == 1
                and isinstance(first, bytes) and first[:_KEY] == _COMPLETE
            ):  # fmt: skip
                ready.clear()  # what a call gets most often needs no parser
                gateway.result(self, exchange, first[HEADER_SIZE + len(exchange.handle) + 1 :])
            else:
                self._replied(peer)
            peer.dirty = False
            peer = self.peer
        if self._linger > 0:
            return
        if out:
            if self._unsent is None and self.fd >= 0:
                self._send(out)
            else:
                peer.ready.extend(out)
                out.clear()
                super().flush()
        if peer.closing:
            super().flush()
        if self._bridge is not None:
            self._bridge.pace(self.unsent > SLOW_READER)

    def _replied(self, peer: "Peer") -> None:
        """Reads what the engine answered."""
        for command, parts in self._parser.feed(peer.take()):
            exchange = self._exchange
            if exchange is not None:
                gateway.REPLIES[command](self, exchange, parts)

    def writable(self) -> None:
        super().writable()
        if self._bridge is not None:
            self._bridge.pace(self.unsent > SLOW_READER)

    # ---- time

    def check(self, now: float) -> None:
        """Ends the connection if the client is too slow. Called about once a second."""
        hub = self._hub
        if self._linger:
            if 0 < self._linger < now:
                self._close()
            return
        if self.unsent:
            if self._stuck[0] != self.unsent:
                self._stuck = (self.unsent, now)
            elif now - self._stuck[1] > hub.read_wait:
                self.abort(f"{self.unsent} bytes of an answer were not read for {hub.read_wait:g} s")
            return
        if self._current is not None:
            exchange = self._exchange
            if exchange is not None and exchange.events and exchange.streaming and now - self._pulse > hub.pulse:
                self._pulse = now
                gateway.pulse(self, exchange)
                self.changed()
            return
        waited = now - self._since
        reader = self._reader
        if reader.begun:
            allowed = hub.body_wait + reader.taken / hub.body_speed if reader.in_body else hub.head_wait
            if waited > allowed:
                logger.warning("%s: a request did not come whole within %.0f s", self.peer.address.decode(), waited)
                reader.refuse(408, "TOO_SLOW", f"The request did not come whole within {waited:.0f} seconds.")
                self._go_on()
        elif waited > hub.idle_wait:
            self._close()

    # ---- the end

    def _lost(self, error: OSError) -> None:
        self._linger = 0.0
        super()._lost(error)

    def _close(self) -> None:
        if self.fd < 0:
            return
        if self._linger < 0 and self._say_last():
            return
        if self._timer is not None:
            self._timer.cancel()
        self._exchange = self._timer = None
        self._reader.close()
        self._reader.forget()
        bridge, self._bridge = self._bridge, None
        super()._close()
        if bridge is not None:
            bridge.lost()

    def _say_last(self) -> bool:
        """Closes one half, and throws away what still comes: bytes that nobody reads would take the answer along."""
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError:
            self._linger = 0.0
            return False
        self._linger = monotonic() + LINGER
        self.engine.leave(self.peer, monotonic())
        self._hub.reactor.watch(self.fd, self, True, False)
        return True


def _is_loopback(sock: socket.socket) -> bool:
    own: Any = sock.getsockname()
    if isinstance(own, str):
        return True  # a unix socket
    host = str(own[0])
    return host.startswith(("127.", "::ffff:127.")) or host == "::1"
