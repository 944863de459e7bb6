"""The client for asyncio: what one calls, and the task that one gets.

Must not know the connection (aio_link), nor the protocol (session). Names and meanings are those of `client.sync`.
"""
# ruff: noqa: ASYNC109 - the sync client's arguments, `timeout` among them

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterable, Sequence
from time import monotonic
from typing import Any, Self, TypeVar

from geartrain.client.aio_link import Linker
from geartrain.client.aio_prompt import Prompt
from geartrain.client.base import BaseClient
from geartrain.client.request import Name, Payload, Priority, When, name_bytes, payload_bytes
from geartrain.client.task import BaseTask, JobStatus, describe
from geartrain.errors import RequestTimeout
from geartrain.protocol.commands import Command

__all__ = ["AsyncClient", "AsyncTask"]

R = TypeVar("R")


class AsyncTask(BaseTask):
    """A submitted job: awaitable, and an asynchronous iterator over its data."""

    __slots__ = ()
    _client: "AsyncClient"
    _waiters: list[asyncio.Future[None] | Prompt] | None  # made when somebody waits: of many tasks, for few
    _watchers: list[asyncio.Future[None] | Prompt] | None

    def notify(self) -> None:
        """Wakes who waits: for the end only when it has come, for anything else to look for themselves."""
        if self._waiters and self.done:
            wake(self._waiters)
        if self._watchers:
            wake(self._watchers)

    async def _until_done(self) -> None:
        while not self.done:
            waiter = asyncio.get_running_loop().create_future()
            self._wake_at_end(waiter)
            await waiter

    def _wake_at_end(self, waiter: asyncio.Future[None]) -> None:
        if self._waiters is None:
            self._waiters = [waiter]
        else:
            self._waiters.append(waiter)

    async def _until(self, enough: Callable[[], bool]) -> None:
        while not enough():
            watcher = asyncio.get_running_loop().create_future()
            if self._watchers is None:
                self._watchers = [watcher]
            else:
                self._watchers.append(watcher)
            await watcher

    async def result(self, timeout: float | None = None) -> bytes:
        """Waits for the result. Arguments, result and errors as in `geartrain.Task.result`."""
        if not self.done:
            await self._client._within(self._until_done(), timeout, self)
        return self._outcome()

    def __await__(self) -> Generator[Any, None, bytes]:
        if not self.done:
            return (yield from self.result().__await__())
        return self._outcome()

    async def wait(self, timeout: float | None = None) -> bool:
        """Waits until the task is done, at most so many seconds. Returns whether it is."""
        try:
            await self._client._within(self._until_done(), timeout, self)
        except RequestTimeout:
            return self.done
        return True

    async def wait_created(self, timeout: float | None = None) -> bytes:
        """Waits until the server has the job. Returns its handle; raises as `result` does."""
        await self._client._within(self._until(lambda: self.done or bool(self.handle)), timeout, self)
        if self.error is not None and not self.handle:
            raise self.error
        return self.handle

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """The data as it comes, and the result as the last piece. Raises as `result` does."""
        while not self.done:
            await self._client._within(self._until(lambda: self._news), None, self)
            for chunk in self._take():
                yield chunk
        for chunk in self._last():
            yield chunk


class AsyncClient(BaseClient[AsyncTask]):
    """Submits jobs and waits for them, in the running event loop."""

    _task_type = AsyncTask

    def _set_up(self) -> None:
        self._linker = Linker(self.pool, self._tls, self.connect_timeout, self.exceptions)

    def _start(self, tasks: Sequence[AsyncTask]) -> None:
        self._linker.start(tasks)

    async def _within(self, coroutine: Coroutine[Any, Any, R], timeout: float | None, task: BaseTask | None) -> R:
        limit = self.timeout if timeout is None else timeout
        if limit is None:
            return await coroutine
        try:
            async with asyncio.timeout(limit):
                return await coroutine
        except TimeoutError:
            self._linker.doubt(monotonic() - limit)
            raise RequestTimeout(f"{describe(task)} did not come within {limit:g} s") from None

    # One job, and its result.

    async def do(
        self,
        function: Name,
        workload: Payload = b"",
        *,
        unique: Name | None = None,
        priority: Priority | str = Priority.NORMAL,
        timeout: float | None = None,
    ) -> bytes:
        """Runs a job and returns its result. Arguments as in `submit`, errors as in `AsyncTask.result`."""
        task = self._make(function, payload_bytes(workload), unique, priority)
        link = self._linker.run(task)
        if link is None or timeout is not None or self.timeout is not None:
            return await task.result(timeout)
        prompt = Prompt(link)
        task._waiters = [prompt]
        await prompt
        return task._outcome()

    async def do_high(
        self, function: Name, workload: Payload = b"", *, unique: Name | None = None, timeout: float | None = None
    ) -> bytes:
        """`do` before the jobs of normal priority."""
        return await self.do(function, workload, unique=unique, priority=Priority.HIGH, timeout=timeout)

    async def do_low(
        self, function: Name, workload: Payload = b"", *, unique: Name | None = None, timeout: float | None = None
    ) -> bytes:
        """`do` after the jobs of normal priority."""
        return await self.do(function, workload, unique=unique, priority=Priority.LOW, timeout=timeout)

    # One job, and its handle as soon as the server has it.

    async def do_background(
        self,
        function: Name,
        workload: Payload = b"",
        *,
        unique: Name | None = None,
        priority: Priority | str = Priority.NORMAL,
        timeout: float | None = None,
    ) -> bytes:
        """Leaves a job with the server. Returns its handle once the server has it, safely if its queue is durable."""
        task = self.submit(function, workload, unique=unique, priority=priority, background=True)
        return await task.result(timeout)

    async def do_high_background(
        self, function: Name, workload: Payload = b"", *, unique: Name | None = None, timeout: float | None = None
    ) -> bytes:
        """`do_background` before the jobs of normal priority."""
        return await self.do_background(function, workload, unique=unique, priority=Priority.HIGH, timeout=timeout)

    async def do_low_background(
        self, function: Name, workload: Payload = b"", *, unique: Name | None = None, timeout: float | None = None
    ) -> bytes:
        """`do_background` after the jobs of normal priority."""
        return await self.do_background(function, workload, unique=unique, priority=Priority.LOW, timeout=timeout)

    do_background_high = do_high_background
    do_background_low = do_low_background

    async def do_at(
        self,
        function: Name,
        workload: Payload = b"",
        *,
        at: When,
        unique: Name | None = None,
        timeout: float | None = None,
    ) -> bytes:
        """Leaves a job that runs not before a time. Returns its handle."""
        return await self.submit(function, workload, unique=unique, at=at).result(timeout)

    # Many.

    async def wait(self, tasks: Iterable[AsyncTask], timeout: float | None = None) -> bool:
        """Waits until all are done, well or not. Returns whether they are, after at most so many seconds."""
        everything = list(tasks)

        async def all_done() -> None:
            for task in everything:
                await task._until_done()

        try:
            await self._within(all_done(), timeout, None)
        except RequestTimeout:
            return all(task.done for task in everything)
        return True

    async def as_completed(self, tasks: Iterable[AsyncTask], timeout: float | None = None) -> AsyncIterator[AsyncTask]:
        """The tasks in the order in which they end.

        Raises:
            RequestTimeout: none ended within so many seconds.
        """
        left = list(tasks)
        while left:
            over = [task for task in left if task.done]
            if not over:
                await self._within(_one_of(left), timeout, None)
                continue
            left = [task for task in left if not task.done]
            for task in over:
                yield task

    # Questions.

    async def job_status(self, job: "Name | AsyncTask", timeout: float | None = None) -> JobStatus:
        """What the server knows of a job, by its handle or its task."""
        handle = await job.wait_created(timeout) if isinstance(job, AsyncTask) else name_bytes(job, "handle")
        status: JobStatus = await self._within(self._linker.ask(Command.GET_STATUS, handle), timeout, None)
        return status

    async def job_status_unique(self, unique: Name, timeout: float | None = None) -> JobStatus:
        """What the server knows of a job, by its unique."""
        key = name_bytes(unique, "unique")
        status: JobStatus = await self._within(self._linker.ask(Command.GET_STATUS_UNIQUE, key), timeout, None)
        return status

    async def echo(self, data: Payload = b"geartrain", timeout: float | None = None) -> bytes:
        """Sends bytes there and back: shows that the server works."""
        echoed: bytes = await self._within(self._linker.ask(Command.ECHO_REQ, payload_bytes(data)), timeout, None)
        return echoed

    async def close(self) -> None:
        """Ends the connection. Tasks that are not done fail; the client connects again when it is used again."""
        await self._linker.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def wake(waiters: list[asyncio.Future[None] | Prompt]) -> None:
    """Wakes all, once."""
    for waiter in waiters:
        if not waiter.done():
            waiter.set_result(None)
    waiters.clear()


async def _one_of(tasks: list[AsyncTask]) -> None:
    waiter = asyncio.get_running_loop().create_future()
    for task in tasks:
        task._wake_at_end(waiter)
    try:
        await waiter
    finally:
        for task in tasks:
            if task._waiters and waiter in task._waiters:
                task._waiters.remove(waiter)
