"""Collector: when Python's garbage collector looks for cycles in a server's process.

Owns its settings. By itself it comes whenever there are more objects than before, and a queue that grows is just that:
jobs make no cycles, and there may be millions. So it comes only where there are more objects than jobs account for.
"""

import asyncio
import gc
from collections.abc import Sized
from typing import Final

__all__ = ["Collector"]

_EVERY: Final = 5.0
"""Seconds between two looks."""
_MANY: Final = 100_000
"""Objects above what jobs account for, from which it is worth a pause of some 10 ms."""
_OF_A_JOB: Final = 3
"""Objects that the collector counts for one job, at most."""
_ALL: Final = 50
"""One in so many times, objects that were looked at before are looked at again."""


class Collector:
    """See the module.

    Args:
        jobs: the live ones.
    """

    def __init__(self, jobs: Sized) -> None:
        self._jobs = jobs
        self._times = 0

    def calm(self) -> None:
        """Ends what the collector does by itself. What is there now stays for good, and is not looked at again."""
        gc.collect()
        gc.freeze()
        gc.disable()

    async def run(self) -> None:
        """Looks every now and then, until it is cancelled."""
        while True:
            await asyncio.sleep(_EVERY)
            self.look()

    def look(self) -> None:
        """Collects, if there may be much to collect."""
        if gc.get_count()[0] > _MANY + _OF_A_JOB * len(self._jobs):
            self._times += 1
            gc.collect(0 if self._times % _ALL else 1)
