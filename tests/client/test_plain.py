"""The plain connection: bytes arrive whole and in order however slowly the other end reads."""

import asyncio
import contextlib
import functools
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

from geartrain.client.address import Server
from geartrain.client.aio_plain import PlainTransport, connect_plain

PATIENCE = 20.0
LARGE = bytes(range(256)) * 64 * 1024  # 16 MiB: more than the system's buffers take at once


def in_loop(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Runs a test in an event loop of its own."""

    @functools.wraps(test)
    def run() -> None:
        asyncio.run(test())

    return run


class Noted:
    """A protocol that keeps what happened."""

    def __init__(self) -> None:
        self.data = b""
        self.paused = False
        self.over: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        self.changed = asyncio.Event()

    def taken(self, data: bytes) -> None:
        self.data += data
        self.changed.set()

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        self.changed.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.over.set_result(exc)

    async def until(self, size: int) -> bytes:
        async with asyncio.timeout(PATIENCE):
            while len(self.data) < size:
                self.changed.clear()
                await self.changed.wait()
        return self.data


@contextlib.asynccontextmanager
async def pair() -> AsyncIterator[tuple[PlainTransport, Noted, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        sock = await connect_plain(Server("127.0.0.1", listener.getsockname()[1]))
        other, _ = listener.accept()
    with other:
        other.setblocking(False)
        noted = Noted()
        transport = PlainTransport(asyncio.get_running_loop(), sock, noted)
        try:
            yield transport, noted, other
        finally:
            transport.abort()
            await asyncio.wait_for(noted.over, PATIENCE)


async def read_all(sock: socket.socket) -> bytes:
    loop = asyncio.get_running_loop()
    pieces: list[bytes] = []
    while piece := await asyncio.wait_for(loop.sock_recv(sock, 1 << 20), PATIENCE):
        pieces.append(piece)
    return b"".join(pieces)


@in_loop
async def test_a_large_write_pauses_and_arrives_whole_before_the_end() -> None:
    async with pair() as (transport, noted, other):
        transport.write(LARGE)
        assert noted.paused
        transport.close()
        assert await read_all(other) == LARGE
        assert await asyncio.wait_for(asyncio.shield(noted.over), PATIENCE) is None


@in_loop
async def test_writing_goes_on_once_the_other_end_has_read() -> None:
    async with pair() as (transport, noted, other):
        transport.write(LARGE)
        read = asyncio.create_task(read_all(other))
        async with asyncio.timeout(PATIENCE):
            while noted.paused:
                noted.changed.clear()
                await noted.changed.wait()
        transport.write(b"the rest")
        transport.close()
        assert await read == LARGE + b"the rest"


@in_loop
async def test_an_answer_that_is_shorter_than_expected_is_not_held_back() -> None:
    async with pair() as (transport, noted, other):
        transport.gather(1000)
        other.send(b"short")
        assert await noted.until(5) == b"short"
        transport.gather(3)
        other.send(b" and more")
        assert await noted.until(14) == b"short and more"


@in_loop
async def test_the_end_of_the_stream_is_told_even_while_more_is_expected() -> None:
    async with pair() as (transport, noted, other):
        transport.gather(1000)
        other.close()
        assert await asyncio.wait_for(asyncio.shield(noted.over), PATIENCE) is None
        assert transport.is_closing()
        transport.write(b"nobody gets this")
