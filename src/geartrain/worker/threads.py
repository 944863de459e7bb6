"""Threads that run tasks.

Owns a fixed number of daemon threads and their queue: daemons, because a task that never ends must not keep the
process from ending. Must not know jobs.
"""

import logging
import queue
import threading
from collections.abc import Callable

__all__ = ["Threads"]

logger = logging.getLogger("geartrain.worker")


class Threads:
    """Runs functions in threads, which are started as they are needed.

    Args:
        count: how many at most.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._queue: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._started = 0
        self._idle = 0
        self._lock = threading.Lock()

    def run(self, call: Callable[[], None]) -> None:
        """Has a function run as soon as a thread is free."""
        self._queue.put(call)
        with self._lock:
            if self._idle or self._started >= self._count:
                return
            self._started += 1
        threading.Thread(target=self._work, name=f"geartrain worker {self._started}", daemon=True).start()

    def _work(self) -> None:
        while True:
            with self._lock:
                self._idle += 1
            call = self._queue.get()
            with self._lock:
                self._idle -= 1
            if call is None:
                return
            try:
                call()
            except BaseException:
                logger.exception("a worker's thread got an exception that no task should let through")

    def close(self) -> None:
        """Lets the threads end once they are free."""
        for _ in range(self._started):
            self._queue.put(None)
        self._started = 0
