"""What a forked process learns of its parent's end by, whatever ended it.

Owns a pipe: the parent alone holds the end that is written to, so the other end can be read as soon as the parent is
gone. Must not know what the processes do.
"""

import os
import threading
from collections.abc import Callable

__all__ = ["Lifeline"]


class Lifeline:
    """Made before the fork; `close` it in the parent when it has no more children."""

    def __init__(self) -> None:
        self._life, self._held = os.pipe()

    def watch(self, gone: Callable[[], None]) -> None:
        """To be called once in each child.

        Args:
            gone: called in a thread of its own when the parent is gone.
        """
        os.close(self._held)
        threading.Thread(target=self._wait, args=(gone,), name="geartrain parent", daemon=True).start()

    def _wait(self, gone: Callable[[], None]) -> None:
        os.read(self._life, 1)
        gone()

    def close(self) -> None:
        """The children see this as the parent's end."""
        os.close(self._held)
        os.close(self._life)
