"""Bridge: one request, answered by Starlette through uvicorn's HTTP protocol.

Owns the way there and back. The connection has read and checked the request, since the gateway's requests come on the
same socket and must cost little; uvicorn gets it whole, and writes its answer into the connection as into a transport.
Knows nothing of what is asked.
"""

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from geartrain.http.connection import HttpConnection
    from geartrain.http.request import Request

__all__ = ["Bridge", "Site"]

_HOP_BY_HOP = frozenset(
    (b"connection", b"keep-alive", b"transfer-encoding", b"content-length", b"upgrade", b"expect", b"te", b"trailer")
)

_LAST_WORDS = 1.0
"""Seconds for answers that are under way when the server stops."""


class Site:
    """Starlette's application as uvicorn serves it, without uvicorn's own sockets, signals and logs.

    Args:
        app: an ASGI application.
    """

    def __init__(self, app: "Callable[[Any, Any, Any], Awaitable[None]]") -> None:
        self.config = uvicorn.Config(
            app, http=Protocol, ws="none", lifespan="off", log_config=None, access_log=False, proxy_headers=False,
            server_header=False, date_header=False,
        )  # fmt: skip
        self.config.load()
        self.state = ServerState()

    async def close(self) -> None:
        """Ends what is still being answered."""
        tasks = list(self.state.tasks)
        if tasks:  # streams have been told, and end by themselves
            await asyncio.wait(tasks, timeout=_LAST_WORDS)
        for task in tasks:
            task.cancel()
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task


class Protocol(HttpToolsProtocol):
    """uvicorn's protocol for one request: it says when the answer is whole."""

    bridge: "Bridge"

    def on_response_complete(self) -> None:
        self.bridge.done()


class Bridge(asyncio.Transport):
    """What uvicorn takes for its connection.

    Args:
        connection: where the answer goes.
        site: who answers.
        request: whole.
    """

    def __init__(self, connection: "HttpConnection", site: Site, request: "Request") -> None:
        super().__init__()
        self._connection: HttpConnection | None = connection
        self._request = request
        self._status = 0
        self._paused = False
        state = {"local": connection.local, "connection": connection}
        self._protocol = Protocol(site.config, site.state, state, asyncio.get_running_loop())
        self._protocol.bridge = self
        self._addresses: dict[str, Any] = {"socket": connection.raw, "sslcontext": None}

    def start(self) -> None:
        """Begins to answer."""
        request = self._request
        lines = [b"%b %b HTTP/%b\r\n" % (request.method, request.target, request.version.encode())]
        lines += [b"%b: %b\r\n" % pair for pair in request.headers if pair[0].lower() not in _HOP_BY_HOP]
        if request.body:
            lines.append(b"Content-Length: %d\r\n" % len(request.body))
        if request.version == "1.0" or not request.keep_alive:
            lines.append(b"Connection: close\r\n")
        lines += [b"\r\n", request.body]
        self._protocol.connection_made(self)
        self._protocol.data_received(b"".join(lines))

    def done(self) -> None:
        """The answer is whole."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.answer(b"", self._status)
            connection.changed()
        self._protocol.connections.discard(self._protocol)

    def lost(self) -> None:
        """The client is gone."""
        self._connection = None
        self._protocol.connection_lost(None)

    def pace(self, slow: bool) -> None:
        """Says whether the client is behind with reading."""
        if slow != self._paused:
            self._paused = slow
            if slow:
                self._protocol.pause_writing()
            else:
                self._protocol.resume_writing()

    # ---- asyncio.Transport, as far as uvicorn calls it

    def write(self, data: bytes | bytearray | memoryview) -> None:
        connection = self._connection
        if connection is not None:
            data = bytes(data)
            if not self._status:  # the head: "HTTP/1.1 200 ..."
                self._status = int(data[9:12])
            connection.send(data)
            connection.changed()

    def writelines(self, list_of_data: "Iterable[bytes | bytearray | memoryview]") -> None:
        self.write(b"".join(list_of_data))

    def close(self) -> None:
        """uvicorn ends the connection: after an answer to a request that asked for it, or where an answer broke off."""
        connection = self._connection
        if connection is not None:
            self._request.keep_alive = False
            if not self._protocol.cycle.response_complete:
                self._connection = None
                connection.cut()
                connection.changed()

    def abort(self) -> None:
        self.close()

    def is_closing(self) -> bool:
        return self._connection is None

    def pause_reading(self) -> None:
        """The request is here, whole."""

    def resume_reading(self) -> None:
        """As `pause_reading`."""

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._addresses.get(name, default)
