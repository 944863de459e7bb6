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
        self._load = 0  # calls that wait or run
        self._lock = threading.Lock()

    def run(self, call: Callable[[], None]) -> None:
        """Has a function run as soon as a thread is free."""
        self._queue.put(call)
        with self._lock:
            self._load += 1  # not the idle threads: one that was woken a moment ago would count as idle still
            if self._load <= self._started or self._started >= self._count:
                return
            self._started += 1
        threading.Thread(target=self._work, name=f"geartrain worker {self._started}", daemon=True).start()

    def _work(self) -> None:
        while True:
            call = self._queue.get()
            if call is None:
                return
            try:
                call()
            except BaseException:
                logger.exception("a worker's thread got an exception that no task should let through")
            with self._lock:
                self._load -= 1

    def close(self) -> None:
        """Lets the threads end once they are free."""
        for _ in range(self._started):
            self._queue.put(None)
        self._started = 0
