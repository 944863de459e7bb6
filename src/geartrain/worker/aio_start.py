"""Coroutines that begin at once.

Owns the way to run a coroutine as a task, but without a turn of the loop before its first step, so that one that
waits for nothing has ended when the call returns. Must not know jobs.

Python 3.12 has this as `eager_start`. For 3.11 a task in reserve lends itself to first steps: it is the current task
meanwhile (for `asyncio.timeout` and its like), and where the coroutine waits, it becomes that coroutine's task.
"""

import asyncio
import sys
from asyncio.tasks import _enter_task, _leave_task  # for tasks of one's own: "Extending" in asyncio's documentation
from collections.abc import Coroutine, Generator
from contextvars import Context, copy_context
from types import coroutine as awaitable
from typing import Any, Final

__all__ = ["Starter"]

_NAME: Final = "geartrain job"
_ENDED: Final = object()


class Starter:
    """Runs coroutines as tasks.

    Attributes:
        unfinished: the tasks that have begun and not ended.
    """

    def __init__(self) -> None:
        self.unfinished: set[asyncio.Task[None]] = set()
        self._reserve: _Reserve | None = None

    def start(self, loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, None], waits: bool) -> bool:
        """Runs a coroutine up to where it waits for something. Not from within a task.

        Args:
            loop: the running one; to ask asyncio for it is a call of the system on Python 3.11.
            coroutine: what to run.
            waits: whether it is known to wait: then there is nothing to win on Python 3.11.

        Returns:
            what is known after it: whether it waits.
        """
        reserve = self._reserve
        if reserve is not None and not waits and reserve.begun and not reserve.given.done():
            if reserve.begin(coroutine):
                return False
            self._reserve = None
            task = reserve.task
            waits = True
        elif sys.version_info >= (3, 12):
            task = asyncio.Task(coroutine, loop=loop, name=_NAME, eager_start=True)
            if task.done():
                return False
        elif waits:
            task = asyncio.Task(coroutine, loop=loop, name=_NAME)
        else:
            if reserve is None or reserve.given.done():
                self._reserve = _Reserve(loop)
            task = asyncio.Task(coroutine, loop=loop, name=_NAME)
        self.unfinished.add(task)
        task.add_done_callback(self.unfinished.discard)
        return waits

    def cancel(self) -> set[asyncio.Task[None]]:
        """Cancels all that has not ended. Returns the tasks to wait for."""
        tasks = set(self.unfinished)
        if self._reserve is not None:
            tasks.add(self._reserve.task)
            self._reserve = None
        for task in tasks:
            task.cancel()
        return tasks


class _Reserve:
    """A task that waits for a coroutine that has begun, and runs its rest.

    Attributes:
        task: the task.
        begun: whether it has taken its own first step. One that is cancelled before that could not pass it on.
        given: done once there is a rest to run, or the task was cancelled.
    """

    __slots__ = ("_loop", "_rest", "begun", "given", "task")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.given: asyncio.Future[None] = loop.create_future()
        self._rest: tuple[Context, Generator[Any, Any, None], Any] | None = None
        self.begun = False
        self.task = asyncio.Task(self._carry_on(), loop=loop, name=_NAME)

    def begin(self, coroutine: Coroutine[Any, Any, None]) -> bool:
        """Takes the first step of a coroutine. Returns whether that was all; otherwise it is this task's now."""
        context = copy_context()  # each has its own, as each task has
        steps = coroutine.__await__()
        _enter_task(self._loop, self.task)
        try:
            awaited = context.run(next, steps, _ENDED)  # as send(None), but the end is no exception
        except asyncio.CancelledError:
            return True
        finally:
            _leave_task(self._loop, self.task)
        if awaited is _ENDED:
            return True
        self._rest = context, steps, awaited
        if not self.given.done():  # it is when the coroutine has cancelled its task
            self.given.set_result(None)
        return False

    async def _carry_on(self) -> None:
        self.begun = True
        error: BaseException | None = None
        try:
            await self.given
        except asyncio.CancelledError as cancelled:
            error = cancelled
        if self._rest is None:
            raise error or asyncio.CancelledError
        awaited = self._rest[2]
        if error is not None and asyncio.isfuture(awaited) and awaited.cancel():
            error = None  # it comes from there, as with any task that is cancelled while it waits
        await _rest_of(*self._rest, error)


@awaitable
def _rest_of(
    context: Context, steps: Generator[Any, Any, None], awaited: Any, error: BaseException | None
) -> Generator[Any, None, None]:
    """Runs a coroutine from where it waits for something, or from an error that reached it there."""
    while True:
        if error is None:
            try:
                yield awaited
            except BaseException as thrown:
                error = thrown
        try:
            if error is None:
                awaited = context.run(steps.send, None)
            else:
                problem, error = error, None
                awaited = context.run(steps.throw, problem)
        except StopIteration:
            return
