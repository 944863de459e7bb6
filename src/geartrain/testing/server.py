"""A job server in a thread of this process, for tests.

Owns starting the real `JobServer` on a free port and ending it. Must not know what the tests do with it.
"""

import asyncio
import os
import threading
from typing import Any, Self

from geartrain.errors import GeartrainError
from geartrain.server.config import Config
from geartrain.server.loop import run
from geartrain.server.server import JobServer
from geartrain.stores import find
from geartrain.stores.base import Store

__all__ = ["Server"]

_PATIENCE = 30.0
"""Seconds for starting and for stopping; both take milliseconds where all is well."""


class Server:
    """A job server, whole and real, as a context manager: ``with`` and ``async with``.

    Args:
        sqlite: the file of a durable queue; without it the queue is in memory and gone with the server.
        store: a durable queue of the test's own, for example a `geartrain.stores.memory.MemoryStore`, which can be
            taken away and given back.
        settings: any field of `geartrain.server.config.Config`; by default the server listens on a free port of
            127.0.0.1 alone.

    Attributes:
        address: ``127.0.0.1:PORT``, as clients and workers take it.
        port: the port.
        job_server: the `JobServer`; it lives in another thread.
    """

    def __init__(
        self, *, sqlite: str | os.PathLike[str] | None = None, store: Store | None = None, **settings: Any
    ) -> None:
        self._store = store
        settings.setdefault("listen", ("127.0.0.1:0",))
        if sqlite is not None:
            settings.setdefault("queue_type", "libsqlite3")
            settings["queue_options"] = {**settings.get("queue_options", {}), "libsqlite3-db": os.fspath(sqlite)}
        self._settings = settings
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.address = ""
        self.port = 0

    def start(self) -> Self:
        """Starts the server and returns once it listens. After `stop` it starts again on the same port.

        Raises:
            GeartrainError: it cannot start.
        """
        if self._thread is not None:
            raise GeartrainError("this test server runs already")
        find(self._settings.get("queue_type", "builtin"))  # imports in this thread: two must not compile at once
        started = threading.Event()
        problem: list[BaseException] = []

        async def serve() -> int:
            try:
                self.job_server = server = JobServer(Config(**self._settings), self._store)
                await server.start()
                while not server.ready and self._store is None:  # noqa: ASYNC110 - a queue's jobs are loaded meanwhile
                    await asyncio.sleep(0.001)
            except BaseException as error:
                problem.append(error)
                return 1
            finally:
                if problem:
                    started.set()
            self._loop = asyncio.get_running_loop()
            self.address = server.addresses[0]
            self.port = server.port
            started.set()
            await server.wait_closed()
            return 0

        thread = threading.Thread(
            target=run, args=(serve, self._settings.get("loop", "auto")), name="geartrain test server", daemon=True
        )
        thread.start()
        if not started.wait(_PATIENCE):
            raise GeartrainError(f"the test server did not start within {_PATIENCE:g} seconds")
        if problem:
            thread.join(_PATIENCE)
            raise problem[0]
        self._thread = thread
        if self.port:
            first, *others = self._settings["listen"]
            if first.endswith(":0"):  # the next start takes the same one
                self._settings["listen"] = (first.removesuffix("0") + str(self.port), *others)
        return self

    def stop(self) -> None:
        """Stops the server: connections are closed, a durable queue is written. Does nothing where it is stopped."""
        thread, self._thread = self._thread, None
        if thread is None or self._loop is None:
            return
        try:
            self._loop.call_soon_threadsafe(self._end)
        except RuntimeError:  # it stopped by itself (`shutdown`), and its loop is closed
            thread.join(_PATIENCE)
        thread.join(_PATIENCE)
        if thread.is_alive():
            raise GeartrainError(f"the test server did not stop within {_PATIENCE:g} seconds")

    def _end(self) -> None:
        self._ending = asyncio.ensure_future(self.job_server.stop())

    def restart(self) -> None:
        """Stops and starts: clients and workers lose their connections and find it again on the same port."""
        self.stop()
        self.start()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        return await asyncio.to_thread(self.start)

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self.stop)
