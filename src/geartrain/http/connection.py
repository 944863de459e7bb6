"""HttpConnection: one socket that speaks HTTP.

Owns the reading of requests and their limits, one answer after the other on a connection that stays open, and the
end. The bytes go the way of the Gearman port: read and parsed when they come, written once per turn of the loop. What
a request calls is gateway.py's; the API and the dashboard are behind bridge.py.

A request is parsed by httptools; each connection's parser is fed what comes, and calls the ``on_`` methods.
"""

import logging
import socket
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

import httptools

from geartrain.engine.dispatch import receive
from geartrain.http import gateway
from geartrain.http.bridge import Bridge
from geartrain.http.request import Request
from geartrain.http.responses import CONTINUE, error
from geartrain.protocol.packets import RESPONSE_MAGIC
from geartrain.protocol.parser import Parser
from geartrain.server.connection import LARGEST_READ, READ_SIZE, Connection

if TYPE_CHECKING:
    import asyncio

    from geartrain.engine.engine import Engine
    from geartrain.engine.peer import Peer
    from geartrain.http.access import Access, Refusal
    from geartrain.http.hub import HttpHub

__all__ = ["HttpConnection"]

logger = logging.getLogger("geartrain.http")

MAX_HEAD: Final = 32 * 1024
"""Bytes of a request's line and headers."""
MAX_FIELDS: Final = 100
MAX_PIPELINED: Final = 32
"""Requests that may wait behind the one that is answered."""
SLOW_READER: Final = 64 * 1024
"""Unread bytes at which Starlette's answers wait."""
LINGER: Final = 2.0
"""Seconds to go on reading what is thrown away, so that the last answer is not lost with the connection."""


class HttpConnection(Connection):
    """One connection.

    Attributes:
        local: whether it came over an address that other machines cannot reach.
    """

    __slots__ = (
        "_body", "_bridge", "_busy", "_current", "_exchange", "_fault", "_fed", "_final", "_headers", "_http",
        "_in_body", "_linger", "_out", "_pulse", "_received", "_request", "_requests", "_since", "_size", "_stuck",
        "_target", "_timer", "local",
    )  # fmt: skip

    _hub: "HttpHub"

    def __init__(self, hub: "HttpHub", sock: socket.socket, address: str, trusted: bool) -> None:
        super().__init__(hub, sock, address, trusted)
        self._parser = Parser(RESPONSE_MAGIC, (1 << 32) - 1)  # reads what the engine answers
        self.peer.exceptions = True
        self.local = trusted and _is_loopback(sock)
        self._http: httptools.HttpRequestParser | None = httptools.HttpRequestParser(self)
        self._requests: list[Request] = []
        self._current: Request | None = None  # the one that is answered
        self._exchange: gateway.Exchange | None = None
        self._bridge: Bridge | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._busy = False  # a request is being answered
        self._final = False  # no more requests are read
        self._fault: tuple[int, str, str] | None = None  # status, code and sentence for what could not be read
        self._linger = 0.0  # until when; below 0: wanted
        self._out: list[bytes] = []
        self._since = self._pulse = monotonic()
        self._stuck = (0, 0.0)
        self._received = False  # a request has begun and is not whole
        self._fed = 0  # bytes of the head so far, then of the body
        self._new_request()

    @property
    def access(self) -> "Access":
        return self._hub.access

    @property
    def engine(self) -> "Engine":
        return self._hub.engine

    @property
    def server_name(self) -> bytes:
        return self._hub.server_name

    @property
    def max_output(self) -> int:
        return self._hub.max_output

    @property
    def raw(self) -> socket.socket:
        return self._sock

    def changed(self) -> None:
        """Something was done outside of a turn."""
        self._hub.server.changed()

    # ---- in

    def readable(self) -> None:
        size = READ_SIZE
        if self._in_body and self._size > READ_SIZE:
            size = min(self._size, LARGEST_READ)
        try:
            data = self._sock.recv(size)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as broken:
            self._lost(broken)
            return
        self._take(data)

    def _take(self, data: bytes) -> None:
        if not data:
            self._linger = 0.0
            self._eof()
            return
        self._hub.stats.bytes_in += len(data)
        if self._final:
            return  # thrown away: the connection is about to end
        if not self._received:
            self._received = True
            self._since = monotonic()
        if not self._in_body:
            self._fed += len(data)
        self._feed(data)
        if not self._in_body and self._fed > MAX_HEAD and self._received:
            self._head_too_large()
        if self._requests or self._fault is not None:
            self._next()

    def _feed(self, data: bytes) -> None:
        parser = self._http
        assert parser is not None
        try:
            parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._decline(data[upgrade.args[0] :])
        except httptools.HttpParserCallbackError as broken:
            raise RuntimeError("a fault while reading a request") from broken
        except httptools.HttpParserError as broken:
            if self._requests and not self._requests[-1].keep_alive:
                self._final = True  # bytes after the last request: nobody waits for their answer
            else:
                self._refuse_stream(400, "BAD_REQUEST", f"This is not an HTTP request: {broken}.")

    def _decline(self, rest: bytes) -> None:
        """The client offers to speak another protocol after this request. We go on with HTTP/1.1, as is our right."""
        if self._final or not self._requests:
            return
        request = self._requests.pop()
        if request.method == b"CONNECT":
            self._requests.append(request)
            request.keep_alive = False
            self._final = True
            return
        # The parser has left the body to the other protocol: it reads the request anew, without the offer.
        lines = [b"%b %b HTTP/1.1\r\n" % (request.method, request.target)]
        dropped = (b"upgrade", b"connection")
        lines += [b"%b: %b\r\n" % pair for pair in request.headers if pair[0].lower() not in dropped]
        if b"close" in request.fields.get(b"connection", b"").lower():
            lines.append(b"Connection: close\r\n")
        self._http = httptools.HttpRequestParser(self)
        self._feed(b"".join([*lines, b"\r\n", rest]))

    def on_message_begin(self) -> None:
        if not self._final:
            self._new_request()
            self._received = True

    def _new_request(self) -> None:
        self._target = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._size = 0
        self._in_body = False
        self._body: list[bytes] | None = None
        self._request: Request | None = None

    def on_url(self, target: bytes) -> None:
        self._target += target

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        if self._final:
            return
        self._in_body = True
        parser = self._http
        assert parser is not None
        version = parser.get_http_version()
        headers = self._headers
        fields = {name.lower(): value for name, value in headers}
        request = Request(parser.get_method(), self._target, version, headers, fields, parser.should_keep_alive())
        self._request = request
        if self._fed > MAX_HEAD and len(self._target) + sum(len(n) + len(v) for n, v in headers) > MAX_HEAD:
            self._head_too_large()
        elif len(headers) > MAX_FIELDS:
            self._refuse_stream(431, "HEADERS_TOO_LARGE", f"There are more than {MAX_FIELDS} headers.")
        elif version != "1.1" and version != "1.0":
            self._refuse_stream(505, "HTTP_VERSION", "HTTP/1.0 and HTTP/1.1 are spoken here.")
        elif len(fields) < len(headers) and sum(name.lower() == b"host" for name, _ in headers) > 1:
            self._refuse_stream(400, "BAD_REQUEST", "A request has one Host header.")
        elif b"content-length" in fields or b"transfer-encoding" in fields:
            self._before_body(request)

    def _before_body(self, request: Request) -> None:
        """What can be said before a body has come spares both sides the body."""
        fields = request.fields
        self._fed = 0
        self._size = int(fields.get(b"content-length", b"0"))
        if self._size > self._hub.max_packet:
            self._body_too_large()
        elif (refusal := self._refusal(request)) is not None:
            self._refuse_stream(*refusal)
        elif b"expect" in fields and not self._busy and not self._requests:
            self.send(CONTINUE)

    def on_body(self, data: bytes) -> None:
        if self._final:
            return
        if self._body is None:
            self._body = [data]
        else:
            self._body.append(data)
        size = len(data)
        self._fed += size
        self._size -= size
        if self._fed > self._hub.max_packet:
            self._body_too_large()

    def on_message_complete(self) -> None:
        if self._final:
            return
        self._in_body = self._received = False
        self._fed = 0
        request = self._request
        assert request is not None
        body = self._body
        if body is not None:
            request.body = body[0] if len(body) == 1 else b"".join(body)
            self._body = None
        self._requests.append(request)
        if len(self._requests) > MAX_PIPELINED:
            self._refuse_stream(503, "TOO_MANY_REQUESTS", f"At most {MAX_PIPELINED} requests may wait for answers.")

    def _head_too_large(self) -> None:
        self._refuse_stream(431, "HEADERS_TOO_LARGE", f"The headers have more than {MAX_HEAD} bytes.")

    def _body_too_large(self) -> None:
        text = f"The body is larger than {self._hub.max_packet} bytes (--max-packet)."
        self._refuse_stream(413, "ARGUMENT_TOO_LARGE", text)

    def _refuse_stream(self, status: int, code: str, text: str) -> None:
        """The requests before are answered; then comes this, and the end."""
        self._final = True
        self._in_body = self._received = False
        self._body = None
        self._fault = (status, code, text)

    # ---- one request after the other

    def _next(self) -> None:
        while not self._busy and self.fd >= 0:
            if self._requests:
                self._begin(self._requests.pop(0))
            elif self._fault is not None:
                status, code, text = self._fault
                self._fault = None
                self._busy = True
                request = self._request or Request(b"GET", b"/", "1.1", [], {}, False)
                request.keep_alive = False
                self._linger = -1.0
                self._current = request
                self.refuse(request, status, code, text, keep_alive=False)
            else:
                return

    def _begin(self, request: Request) -> None:
        self._busy = True
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
        access = self._hub.access
        request.checked = True
        if not request.ours and access.free(request.fields):
            return None
        return access.refusal(request, self.local)

    def submit(self, exchange: gateway.Exchange, command: int, parts: list[bytes]) -> None:
        """Hands a job to the engine; what it answers comes back with `flush`."""
        self._exchange = exchange
        if exchange.timeout and not exchange.background:
            self._timer = self._hub.loop.call_later(exchange.timeout, self._timed_out)
        receive(self._hub.engine, self.peer, [(command, parts)], monotonic())

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
        engine = self._hub.engine
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
            self._hub.engine.dirty.append(peer)

    def answer(self, data: bytes, status: int) -> None:
        """Sends the last bytes of an answer; the next request may follow."""
        requests = self._hub.requests
        requests[status] = requests.get(status, 0) + 1
        self.send(data)
        self._exchange = self._bridge = None
        self._busy = False
        self._since = monotonic()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        request = self._current
        if request is not None and not request.keep_alive:
            self._final = True
            self._requests.clear()
            self._fault = None
            self._hub.engine.close(self.peer)
        elif self._requests or self._fault is not None:
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
        self._final = True
        self._requests.clear()
        self._hub.engine.close(self.peer)
        self.send(b"")

    def flush(self) -> None:
        ready = self.peer.ready
        if ready:
            items = self._parser.feed(ready[0] if len(ready) == 1 else b"".join(ready))
            ready.clear()
            for command, parts in items:
                exchange = self._exchange
                if exchange is not None:
                    gateway.REPLIES[command](self, exchange, parts)
        if self._linger > 0:
            return
        out = self._out
        if out:
            self.peer.ready.extend(out)
            out.clear()
        elif not self.peer.closing:
            return
        super().flush()
        if self._bridge is not None:
            self._bridge.pace(self._unsent_size > SLOW_READER)

    def writable(self) -> None:
        super().writable()
        if self._bridge is not None:
            self._bridge.pace(self._unsent_size > SLOW_READER)

    # ---- time

    def check(self, now: float) -> None:
        """Ends the connection if the client is too slow. Called about once a second."""
        hub = self._hub
        if self._linger:
            if 0 < self._linger < now:
                self._close()
            return
        if self._unsent_size:
            if self._stuck[0] != self._unsent_size:
                self._stuck = (self._unsent_size, now)
            elif now - self._stuck[1] > hub.read_wait:
                self.abort(f"{self._unsent_size} bytes of an answer were not read for {hub.read_wait:g} s")
            return
        if self._busy:
            exchange = self._exchange
            if exchange is not None and exchange.events and exchange.streaming and now - self._pulse > hub.pulse:
                self._pulse = now
                gateway.pulse(self, exchange)
                self.changed()
            return
        waited = now - self._since
        if self._received:
            allowed = hub.head_wait
            if self._in_body:
                allowed = hub.body_wait + self._fed / 1024
            if waited > allowed:
                logger.warning("%s: a request did not come whole within %.0f s", self.peer.address.decode(), waited)
                self._refuse_stream(408, "TOO_SLOW", f"The request did not come whole within {waited:.0f} seconds.")
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
        self._http = None  # it and this refer to each other
        self._requests.clear()
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
        self._hub.engine.leave(self.peer, monotonic())
        self._hub.reactor.watch(self.fd, self, True, False)
        return True


def _is_loopback(sock: socket.socket) -> bool:
    own: Any = sock.getsockname()
    host = str(own[0])
    return host.startswith(("127.", "::ffff:127.")) or host == "::1"
