"""Replay: the stored jobs come back after a start, while the port is open already.

Owns the loading thread and its pace. What becomes of a stored job is the engine's.
"""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Iterator
from itertools import islice
from queue import SimpleQueue
from time import monotonic
from typing import Final

from geartrain.engine.engine import Engine
from geartrain.engine.recovery import restore
from geartrain.errors import StoreUnavailable
from geartrain.server.logs import NOTICE
from geartrain.stores.base import Store, StoredJob

__all__ = ["replay"]

logger = logging.getLogger("geartrain.store")

_CHUNK: Final = 500
"""Jobs that are taken in one turn: some milliseconds, between which the server answers as ever."""
_PAUSE: Final = 1.0
"""Seconds before the next attempt, when the store went away meanwhile."""


async def replay(engine: Engine, store: Store, turn: Callable[[], None]) -> int:
    """Loads all stored jobs into the engine. Goes on when the store goes away and comes back.

    Returns:
        how many jobs were loaded.
    """
    loop = asyncio.get_running_loop()
    started = monotonic()
    count = 0
    engine.begin_replay()
    while True:
        reader = _Reader(store, loop)
        try:
            upcoming = reader.chunk()
            while chunk := await upcoming:
                upcoming = reader.chunk()
                count += restore(engine, chunk, monotonic())
                turn()
            break
        except StoreUnavailable as error:
            logger.error("loading the queue stopped after %d jobs, it goes on by itself: %s", count, error)
        finally:
            reader.end()
        await asyncio.sleep(_PAUSE)
    engine.end_replay()
    jobs = "1 job was" if count == 1 else f"{count} jobs were"
    logger.log(NOTICE, "%s loaded from the queue in %.2f s", jobs, monotonic() - started)
    return count


class _Reader:
    """A thread that reads one load. Nobody waits for its end, as they would for an executor's: the store may hang, and
    the server must be able to stop nevertheless."""

    def __init__(self, store: Store, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._asked: SimpleQueue[asyncio.Future[list[StoredJob]] | None] = SimpleQueue()
        threading.Thread(target=self._run, args=(store,), name="geartrain-replay", daemon=True).start()

    def chunk(self) -> asyncio.Future[list[StoredJob]]:
        """The next jobs; none at the end. Raises what the store raises."""
        future: asyncio.Future[list[StoredJob]] = self._loop.create_future()
        self._asked.put(future)
        return future

    def end(self) -> None:
        """The thread ends when it has done what it was asked for."""
        self._asked.put(None)

    # ---- in the thread

    def _run(self, store: Store) -> None:
        records: Iterator[StoredJob] | None = None
        while (future := self._asked.get()) is not None:
            try:
                if records is None:
                    records = store.load()
                self._tell(future, list(islice(records, _CHUNK)), None)
            except Exception as error:  # whatever a driver raises: who waits for the chunk is told
                self._tell(future, [], error)

    def _tell(self, future: asyncio.Future[list[StoredJob]], jobs: list[StoredJob], error: Exception | None) -> None:
        def answer() -> None:
            if future.done():  # nobody waits any more
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(jobs)

        with contextlib.suppress(RuntimeError):  # the loop is closed: the server has stopped meanwhile
            self._loop.call_soon_threadsafe(answer)
