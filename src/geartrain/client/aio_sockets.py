"""Asyncio connections to a job server.

Owns connecting (TCP, unix, TLS; bounded in time) and what every such connection has: its buffer, its flow control, its
end. The counterpart of `sockets`. Must not know packets or jobs.
"""

import asyncio
import select
import ssl
from typing import Any, Final, cast

from geartrain.client.address import Server
from geartrain.client.aio_plain import PATIENCE, PlainTransport, connect_plain
from geartrain.client.sockets import CHUNK, reason, tune
from geartrain.errors import ConnectionLost, RemoteProtocolError

__all__ = ["AioLink", "open_link"]

_LAST_BYTES: Final = 2.0
"""Seconds that a server gets to take the end of what was written to it, when the connection is closed."""


class AioLink(asyncio.BufferedProtocol):
    """One connection. A subclass says what to do with the bytes and at the end."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.transport: asyncio.Transport | None = None
        self.paused = False
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._plain: PlainTransport | None = None
        self._buffer: memoryview | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        if isinstance(transport, PlainTransport):
            self._plain = transport
        sock = transport.get_extra_info("socket")
        if sock is not None and not self.server.path:
            tune(sock)

    def get_buffer(self, sizehint: int) -> memoryview:
        if self._buffer is None:
            self._buffer = memoryview(bytearray(CHUNK))  # no bytearray: asyncio's TLS slices it, and would fill a copy
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.taken(bytes(self.get_buffer(nbytes)[:nbytes]))

    def taken(self, data: bytes) -> None:
        """Bytes came, and were read."""
        try:
            self.received(data)
        except RemoteProtocolError as error:
            self.fail(str(error))

    def eof_received(self) -> None:
        """The transport closes by itself then, and says so in connection_lost."""

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        self.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.closed.done():
            self.closed.set_result(None)
        self.lost("the server closed it" if exc is None else reason(exc))

    def fail(self, cause: str) -> None:
        """Ends the connection at once."""
        self.lost(cause)
        if self.transport is not None:
            self.transport.abort()

    async def leave(self) -> None:
        """Ends the connection when the server has taken what was written, or has had its time: it may be stopped."""
        if self.transport is None:
            return
        self.transport.close()
        await asyncio.wait([self.closed], timeout=_LAST_BYTES)
        if not self.closed.done():
            self.transport.abort()
            await asyncio.wait([self.closed])

    def gather(self, size: int, patience: float = PATIENCE) -> None:
        """Has the loop look only once more than so many bytes have come, or some seconds later; 0: when any have."""
        if self._plain is not None:
            self._plain.gather(size, patience)

    def stale(self) -> bool:
        """Whether something came that the loop has not read yet; on an idle connection most likely its end."""
        sock = None if self.transport is None else self.transport.get_extra_info("socket")
        if sock is None or sock.fileno() < 0:
            return False
        poll = select.poll()
        poll.register(sock.fileno(), select.POLLIN)
        return bool(poll.poll(0))

    def received(self, data: bytes) -> None:
        """Bytes came."""
        raise NotImplementedError

    def flush(self) -> None:
        """The system takes bytes again."""
        raise NotImplementedError

    def lost(self, cause: str) -> None:
        """The connection ended."""
        raise NotImplementedError


async def open_link(link: AioLink, context: ssl.SSLContext | None, limit: float) -> None:
    """Connects, with TLS where a context is given, within so many seconds for all of it.

    Raises:
        ConnectionLost: it did not work; the text names the server and the reason.
    """
    loop = asyncio.get_running_loop()
    server = link.server
    try:
        async with asyncio.timeout(limit):
            if context is None:
                await _open_plain(loop, link)
                return
            options: dict[str, Any] = {
                "ssl": context,
                "server_hostname": server.host or "localhost",
                "ssl_shutdown_timeout": 2.0,
            }
            if server.path:
                await loop.create_unix_connection(lambda: link, server.path, **options)
            else:
                await loop.create_connection(lambda: link, server.host, server.port, **options)
    except (OSError, ValueError) as error:
        if link.transport is not None:
            link.transport.abort()
        raise ConnectionLost(f"{server}: {reason(error)}") from error


async def _open_plain(loop: asyncio.AbstractEventLoop, link: AioLink) -> None:
    sock = await connect_plain(link.server)
    try:
        transport = PlainTransport(loop, sock, link)
    except NotImplementedError:  # Windows' default loop watches no sockets
        await loop.create_connection(lambda: link, sock=sock)
    else:
        link.connection_made(transport)
