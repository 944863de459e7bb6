"""A client inside the server's process: for submissions that come through the API.

Owns the waiting for the engine's answer. To the engine it is one more client, so that a durable job is acknowledged
after its commit and no sooner.
"""

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, Final

from geartrain.http.routes import ApiError
from geartrain.protocol.commands import Command
from geartrain.protocol.packets import RESPONSE_MAGIC
from geartrain.protocol.parser import Parser

if TYPE_CHECKING:
    from collections.abc import Callable

    from geartrain.engine.engine import Engine
    from geartrain.engine.peer import Peer
    from geartrain.server.server import JobServer

__all__ = ["ask"]

STATUSES: Final = {"QUEUE_ERROR": 503}


async def ask(server: "JobServer", do: "Callable[[Engine, Peer], None]") -> list[bytes]:
    """Does something as a client, and waits for the first packet that answers.

    Args:
        server: the job server.
        do: calls the engine for the peer that it is given.

    Returns:
        the packet's parts.

    Raises:
        ApiError: the engine answered ERROR.
    """
    engine = server.engine
    client = _Client()
    peer = client.peer = engine.connect(client, b"api", -1, True, monotonic())
    engine.stats.connections -= 1  # nobody connected
    try:
        engine.now = monotonic()
        do(engine, peer)
        server.changed()
        command, parts = await client.answer
    finally:
        engine.leave(peer, monotonic())
        server.changed()
    if command == Command.ERROR:
        code, text = (part.decode("utf-8", "backslashreplace") for part in parts)
        raise ApiError(STATUSES.get(code, 400), code, text)
    return parts


class _Client:
    """The engine's link to it."""

    peer: "Peer"

    def __init__(self) -> None:
        self.answer: asyncio.Future[tuple[int, list[bytes]]] = asyncio.get_running_loop().create_future()
        self._parser = Parser(RESPONSE_MAGIC)

    def flush(self) -> None:
        for item in self._parser.feed(self.peer.take()):
            if not self.answer.done():
                self.answer.set_result(item)

    def broken(self, error: BaseException) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)
