"""Replay: the stored jobs come back after a start, while the port is open already.

Owns the loading thread and its pace. What becomes of a stored job is the engine's.
"""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from time import monotonic
from typing import Final

from geartrain.engine.engine import Engine
from geartrain.engine.recovery import restore
from geartrain.errors import StoreUnavailable
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
    with ThreadPoolExecutor(1, "geartrain-replay") as thread:
        while True:
            try:
                records = store.load()
                upcoming = loop.run_in_executor(thread, _chunk, records)
                while chunk := await upcoming:
                    upcoming = loop.run_in_executor(thread, _chunk, records)
                    count += restore(engine, chunk, monotonic())
                    turn()
                break
            except StoreUnavailable as error:
                logger.error("loading the queue stopped after %d jobs, it goes on by itself: %s", count, error)
                await asyncio.sleep(_PAUSE)
    engine.end_replay()
    logger.log(25, "%d jobs were loaded from the queue in %.2f s", count, monotonic() - started)
    return count


def _chunk(records: object) -> list[StoredJob]:
    return list(islice(records, _CHUNK))  # type: ignore[call-overload]
