"""Plain connections for asyncio, with as few steps per packet as its loop allows.

Owns one connected socket: asyncio's own transport takes half as long again for each read and each write. Where there
is TLS, or a loop that cannot watch sockets, that one is used (see `aio_sockets`). Must not know packets or jobs.
"""

import asyncio
import ipaddress
import socket
import sys
from typing import Any, Final, Protocol

from geartrain.client.address import Server
from geartrain.client.aio_alarm import Alarm
from geartrain.client.sockets import CHUNK

__all__ = ["PATIENCE", "PlainTransport", "connect_plain"]


_WAITS_FOR_MORE: Final = sys.platform == "linux"
PATIENCE: Final = 0.25
"""Seconds. Only an ERROR that is shorter than a JOB_CREATED ever waits so long."""


class Reader(Protocol):
    """Who gets what comes: of asyncio's protocols what is needed here, and the bytes as they are."""

    def taken(self, data: bytes) -> None:
        """Bytes came."""

    def pause_writing(self) -> None:
        """The system takes no more for now."""

    def resume_writing(self) -> None:
        """It does again."""

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection ended."""


class PlainTransport(asyncio.Transport):
    """What asyncio's transport is to a protocol.

    One difference: as soon as the system does not take a whole write, the protocol is paused, and it must not write
    then. So there is never more than one unfinished write to keep.

    Raises:
        NotImplementedError: the loop cannot watch sockets.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, sock: socket.socket, reader: Reader) -> None:
        super().__init__({"socket": sock})
        self._loop = loop
        self._sock = sock
        self._reader = reader
        self._recv = sock.recv
        self._send = sock.send
        self._rest: memoryview | None = None  # of a write that the system took a part of
        self._closing = False
        self._over = False
        self._least = 0  # bytes that must be exceeded
        self._alarm: Alarm | None = None
        self._patience = 0.0  # the seconds that it was set for, 0 when it is not
        loop.add_reader(sock.fileno(), self._readable)

    def _readable(self) -> None:
        try:
            data = self._recv(CHUNK)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._end(error)
            return
        if not data:
            self._end(None)
            return
        try:
            self._reader.taken(data)
        except Exception as error:  # as asyncio's own does: who fails there cannot go on with the next bytes
            self._loop.call_exception_handler({"message": "A connection's bytes could not be used", "exception": error})
            self._end(error)

    def write(self, data: Any) -> None:
        """Writes bytes; not while paused."""
        if self._closing:
            return
        try:
            count = self._send(data)
        except (BlockingIOError, InterruptedError):
            count = 0
        except OSError as error:
            self._end(error)
            return
        if count < len(data):
            self._rest = memoryview(data)[count:]
            self._loop.add_writer(self._sock.fileno(), self._writable)
            self._reader.pause_writing()

    def _writable(self) -> None:
        rest = self._rest
        if rest is None:
            return
        try:
            rest = rest[self._send(rest) :]
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._end(error)
            return
        if rest:
            self._rest = rest
            return
        self._rest = None
        self._loop.remove_writer(self._sock.fileno())
        if self._closing:
            self._end(None)
        else:
            self._reader.resume_writing()

    def gather(self, size: int, patience: float = PATIENCE) -> None:
        """Looks only once more than so many bytes are there, or after so many seconds. 0: as soon as any are.

        A short job's result follows its JOB_CREATED at once. Each would wake the loop; so both wake it once.
        """
        if not _WAITS_FOR_MORE or self._closing:
            return
        if size != self._least:
            self._set_least(size)
        if size and not 0 < self._patience <= patience and not self._closing:
            if self._alarm is None:
                self._alarm = Alarm(self._loop, self._look)
            self._patience = patience
            self._alarm.set(patience)

    def _set_least(self, size: int) -> None:
        self._least = size
        try:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, size + 1)
        except OSError as error:
            self._end(error)

    def _look(self) -> None:
        """What came may be less than was expected: an error, or the confirmation of a job that takes longer."""
        self._patience = 0.0
        if self._least and not self._closing:
            self._set_least(0)
            if not self._closing:
                self._readable()

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        """Ends the connection once what was written has left."""
        if self._closing:
            return
        if self._rest is None:
            self._end(None)
            return
        self._closing = True
        self._loop.remove_reader(self._sock.fileno())

    def abort(self) -> None:
        """Ends the connection at once."""
        self._end(None)

    def _end(self, error: Exception | None) -> None:
        if self._over:
            return
        self._over = self._closing = True
        if self._alarm is not None:
            self._alarm.close()
        self._rest = None
        self._loop.remove_reader(self._sock.fileno())
        self._loop.remove_writer(self._sock.fileno())
        self._loop.call_soon(self._finish, error)  # whoever wrote just now is not ready to hear of it

    def _finish(self, error: Exception | None) -> None:
        self._sock.close()
        self._reader.connection_lost(error)


async def connect_plain(server: Server) -> socket.socket:
    """A socket that is connected to a server, through the first of its addresses that works.

    Raises:
        OSError: none does.
    """
    loop = asyncio.get_running_loop()
    if server.path:
        return await _connect(socket.AF_UNIX, server.path)
    problem: OSError | None = None
    for family, _, _, _, address in await _look_up(loop, server):
        try:
            return await _connect(family, address)
        except OSError as error:
            problem = error
    raise problem or OSError("the name has no address")


async def _look_up(loop: asyncio.AbstractEventLoop, server: Server) -> list[Any]:
    try:
        ipaddress.ip_address(server.host.partition("%")[0])
    except ValueError:
        return await loop.getaddrinfo(server.host, server.port, type=socket.SOCK_STREAM)
    return socket.getaddrinfo(server.host, server.port, type=socket.SOCK_STREAM)  # no need for a thread that waits


async def _connect(family: int, address: Any) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, address)
    except BaseException:
        sock.close()
        raise
    return sock
