"""Mailbox: calls that another thread wants to be made on the loop's.

Owns the descriptor that wakes the loop. It is watched like a client's socket, so that a finished commit costs a
wake-up and no turn of asyncio (`call_soon_threadsafe`: a handle, a context, two reads, a round of its loop). Must not
know what is called.
"""

import logging
import os
import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from geartrain.server.loop import Reactor

__all__ = ["Mailbox"]

logger = logging.getLogger("geartrain.server")


class Mailbox:
    """See the module. Made, read and closed on the loop's thread.

    Args:
        reactor: watches it.
    """

    def __init__(self, reactor: "Reactor") -> None:
        self._reactor = reactor
        self._calls: deque[tuple[Callable[..., None], tuple[object, ...]]] = deque()
        self._end, self._bell = os.pipe()
        os.set_blocking(self._end, False)
        os.set_blocking(self._bell, False)
        self._lock = threading.Lock()  # nobody rings a descriptor that was closed, and may be somebody else's by now
        self._open = True
        reactor.watch(self._end, self, True, False)

    def post(self, function: Callable[..., None], *arguments: object) -> bool:
        """Has the loop call a function, from any thread. Returns whether it is still open."""
        with self._lock:
            if self._open:
                self._calls.append((function, arguments))
                self._ring()
            return self._open

    def close(self) -> None:
        """What was not called yet never is."""
        with self._lock:
            self._open = False
            self._reactor.unwatch(self._end)
            os.close(self._end)
            os.close(self._bell)

    def _ring(self) -> None:
        try:
            os.write(self._bell, b"\0")
        except BlockingIOError:
            logger.debug("the loop has thousands of calls to make")

    # ---- what the reactor calls

    def readable(self) -> None:
        os.read(self._end, 4096)
        calls = self._calls
        while calls:
            function, arguments = calls.popleft()
            function(*arguments)

    def writable(self) -> None:
        pass

    def broken(self, error: BaseException) -> None:
        logger.error("a call from another thread failed", exc_info=error)
        self._ring()  # for those behind it
