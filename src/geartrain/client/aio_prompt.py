"""Waking a coroutine in the turn of the loop in which its result came.

Owns what a coroutine awaits there. A future of asyncio's has the loop look at every connection once more before its
task goes on: for one job at a time that is a sixth of all steps, and one more call of the system. Must not know jobs.
"""

import asyncio
from collections.abc import Callable, Generator
from contextvars import Context
from typing import Any

__all__ = ["Prompt", "Reading"]


class Reading:
    """A connection that reads.

    Attributes:
        loop: its loop.
        reading: whether what came is being looked at: who wakes somebody then wakes him at the end of it.
        due: whom to wake then.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.reading = False
        self.due: Prompt | None = None


class Prompt:
    """Something that one task awaits, once; to asyncio's tasks it is a future (see `asyncio.isfuture`).

    The first that is set while its connection reads goes on at the end of it. There no task runs, and nothing is half
    done. All others go on in the loop's next turn, as with a future.

    Args:
        reading: the connection.
    """

    __slots__ = ("_asyncio_future_blocking", "_cancelled", "_context", "_over", "_reading", "_wakeup")

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._over = False
        self._cancelled: asyncio.CancelledError | None = None
        self._wakeup: Callable[[Prompt], object] | None = None

    def done(self) -> bool:
        """Whether waiting is over."""
        return self._over

    def set_result(self, _: None) -> None:
        """It has come."""
        self._over = True
        reading = self._reading
        if reading.reading and reading.due is None:
            reading.due = self
        else:
            self._go_soon()

    def go(self) -> None:
        """Lets the task go on now. Not from within a task."""
        if self._wakeup is not None:
            self._context.run(self._wakeup, self)

    def _go_soon(self) -> None:
        if self._wakeup is not None:
            self._reading.loop.call_soon(self._wakeup, self, context=self._context)

    # What asyncio's tasks call.

    def __await__(self) -> Generator[Any, None, None]:
        self._asyncio_future_blocking = True
        yield self

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """The loop whose tasks may await it."""
        return self._reading.loop

    def add_done_callback(self, wakeup: "Callable[[Prompt], object]", *, context: Context) -> None:
        """Takes what makes the task go on."""
        self._wakeup = wakeup
        self._context = context
        if self._over:
            self._go_soon()

    def cancel(self, msg: Any = None) -> bool:
        """Has the task go on with a CancelledError. Returns whether it was still waiting."""
        if self._over:
            return False
        self._over = True
        self._cancelled = asyncio.CancelledError() if msg is None else asyncio.CancelledError(msg)
        self._go_soon()
        return True

    def result(self) -> None:
        """Raises asyncio.CancelledError where it was cancelled."""
        if self._cancelled is not None:
            raise self._cancelled
