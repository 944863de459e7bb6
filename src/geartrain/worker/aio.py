"""The worker for asyncio.

Owns running tasks: coroutines in the loop, plain functions in threads. Must not know the connections (aio_links) nor
the protocol (session). Names and meanings are those of `worker.sync`.
"""
# ruff: noqa: ASYNC109 - the sync worker's arguments, `timeout` among them

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Self

from geartrain.client.address import Server
from geartrain.client.aio import AsyncClient
from geartrain.client.request import Name
from geartrain.errors import GeartrainError
from geartrain.worker.aio_links import AioLinks, WorkerLink
from geartrain.worker.aio_mapping import AsyncMapping
from geartrain.worker.aio_start import Starter
from geartrain.worker.base import BaseWorker, Registered, names
from geartrain.worker.job import Job
from geartrain.worker.mapping import Aggregate
from geartrain.worker.session import Slots, WorkerSession
from geartrain.worker.stopping import SIGNALS
from geartrain.worker.threads import Threads

if TYPE_CHECKING:
    from signal import Signals

__all__ = ["AsyncJob", "AsyncWorker"]

logger = logging.getLogger("geartrain.worker")

_AFTER_CANCEL = 2.0
"""Seconds for cancelled tasks to clean up."""


class AsyncJob(Job):
    """A job of an `AsyncWorker`."""

    __slots__ = ()

    async def drain(self) -> None:
        """Waits until the connection takes more: for tasks that send much data."""
        link = self.session.owner
        if isinstance(link, WorkerLink):
            await link.drained()


class AsyncWorker(BaseWorker):
    """Runs jobs in the running event loop for all its servers; it comes back to each by itself.

    Coroutine functions run in the loop, plain functions in threads, both at most `concurrency` at once.
    """

    _job_type = AsyncJob

    def _set_up(self) -> None:
        self._single = False
        self._asked = False
        self._starting = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._fresh()

    def _fresh(self) -> None:
        self._slots = Slots(1 if self._single else self.concurrency)
        self._slots.closed = self._asked
        self._ready: deque[Job] = deque()
        self._late: deque[Job] = deque()  # these came after their slots had been given to other servers' jobs
        self._changed = asyncio.Event()
        self._starter = Starter()
        self._threads = Threads(self.concurrency)
        several = len(self.pool.servers) > 1
        came = self._came_of_several if several else self._came
        self._links = AioLinks(self.pool, self._tls, self.connect_timeout, self._session_for, came, self._note_loss)
        self._pump = self._pump_several if several else self._links.pump

    def _session_for(self, server: Server) -> WorkerSession:
        return self._new_session(server, not self._single)

    def _accept(self, registered: Registered, function: Name) -> None:
        pass  # it runs both kinds

    def _each_session(self, act: Callable[[WorkerSession], None]) -> None:
        for link in self._links.links.values():
            act(link.session)
        self._pump()

    # Running for ever.

    async def work(self) -> None:
        """Runs jobs until `stop` is called or SIGTERM or SIGINT comes; then lets those that run end, and leaves."""
        await self._begin(single=False)
        logger.info("working on %s for %s", names(self.functions), ", ".join(map(str, self.pool.servers)))
        try:
            with self._signals():
                while not self._asked:
                    await self._change()
                await self._finish()
        finally:
            busy = sum(len(link.session.jobs) for link in self._links.links.values())
            if busy:
                logger.warning("left while %d jobs were running; the server gives them to others", busy)
            self._asked = False
            await self.close()

    async def _begin(self, single: bool) -> None:
        self._loop = asyncio.get_running_loop()
        if self._single != single:
            await self.close()
            self._single = single
            self._fresh()
        self._links.start()

    async def _change(self) -> None:
        await self._changed.wait()
        self._changed.clear()

    async def _finish(self) -> None:
        """Lets running jobs end, for as long as they may take."""
        limit = self.stop_timeout
        logger.info("stopping; running jobs get %s", "all the time" if limit is None else f"{limit:g} s")
        self._links.hurry()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit):
                while any(
                    link.session.jobs or link.session.awaiting or link.unsent for link in self._links.links.values()
                ):
                    await self._change()

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        taken: list[Signals] = []
        if self.handle_signals:
            with contextlib.suppress(ValueError, RuntimeError, NotImplementedError):  # not in the main thread
                for number in SIGNALS:
                    loop.add_signal_handler(number, self.stop)
                    taken.append(number)
        try:
            yield
        finally:
            for number in taken:
                loop.remove_signal_handler(number)

    # Jobs.

    def _came(self, link: WorkerLink) -> None:
        """Something came: perhaps jobs, perhaps only the way for the next."""
        assigned = link.session.assigned
        if self._single:
            self._ready.extend(assigned)
            assigned.clear()
            self._changed.set()
            return
        self._starting = True  # jobs that end at once need no pump of their own: one for all follows
        try:
            while assigned:
                job = assigned.popleft()
                registered = self._prepare(job)
                if registered is None:
                    self._starter.start(link.loop, self._run(job, None), False)
                else:
                    registered.waits = self._starter.start(link.loop, self._run(job, registered), registered.waits)
        finally:
            self._starting = False
            self._pump()
        if self._asked:
            self._changed.set()

    def _came_of_several(self, link: WorkerLink) -> None:
        """As `_came`, but a job for which there is no slot any more waits for one."""
        if self._slots.free < 0 and not self._single:
            self._late.extend(link.session.assigned)
            link.session.assigned.clear()
        self._came(link)

    def _pump_several(self) -> None:
        self._links.pump()
        if self._late and self._loop is not None:
            self._loop.call_soon(self._start_late)  # a task may be running here

    def _start_late(self) -> None:
        while self._late and self._slots.free + len(self._late) > 0:  # they count as if they ran
            job = self._late.popleft()
            self._starter.start(asyncio.get_running_loop(), self._run(job, self._prepare(job)), True)

    async def _run(self, job: Job, registered: Registered | None) -> None:
        session = job.session
        packet: bytes | None = None
        try:
            if job.lost:
                return
            if registered is None:
                packet = self._unknown(job)
                return
            try:
                job.send = self._send if registered.asynchronous else self._send_from_thread
                if job.reducer and registered.aggregate is not None:
                    result = await self._mapped(job, registered, registered.aggregate)
                elif registered.asynchronous:  # as _called does, without a coroutine more
                    result = await registered.call(job)
                else:
                    result = await self._in_thread(registered.call, job)
                packet = self._completed(job, result)
            except Exception as error:
                packet = self._raised(job, error)
        finally:
            session.release(job, packet)
            if not self._starting:
                self._settle(session)

    def _settle(self, session: WorkerSession) -> None:
        """A job ended: writes what there is to say, and asks for the next one."""
        if not self._single:
            self._pump()
        elif isinstance(session.owner, WorkerLink):
            session.owner.flush_when_due()
        if self._asked:
            self._changed.set()

    async def _called(self, job: Job, registered: Registered) -> Any:
        if registered.asynchronous:
            return await registered.call(job)
        return await self._in_thread(registered.call, job)

    async def _mapped(self, job: Job, registered: Registered, aggregate: Aggregate) -> Any:
        loop = asyncio.get_running_loop()
        client = AsyncClient(self.pool.servers, connect_timeout=self.connect_timeout, ssl=self._tls or False)
        async with client:
            mapping = AsyncMapping(client, self.namespace + job.reducer)

            def add_from_thread(piece: bytes) -> None:
                loop.call_soon_threadsafe(mapping.add, piece)

            job.pieces = mapping.add if registered.asynchronous else add_from_thread
            await self._called(job, registered)
            return aggregate(await mapping.results())

    async def _in_thread(self, call: Callable[[Job], Any], job: Job) -> Any:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()

        def settle(result: Any, error: BaseException | None) -> None:
            if future.done():
                return
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)

        def run() -> None:
            result: Any = None
            problem: Exception | None = None
            try:
                result = call(job)
            except Exception as error:
                problem = error
            except BaseException as error:  # SystemExit would end the loop, not the task
                problem = GeartrainError(f"a task raised {error!r}")
            with contextlib.suppress(RuntimeError):  # the loop has gone, and with it who waited
                loop.call_soon_threadsafe(settle, result, problem)

        self._threads.run(run)
        return await future

    def _send(self, job: Job, packet: bytes) -> None:
        job.session.say(packet)
        if isinstance(job.session.owner, WorkerLink):
            job.session.owner.flush_soon()

    def _send_from_thread(self, job: Job, packet: bytes) -> None:
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._send, job, packet)

    async def work_once(self, timeout: float | None = None) -> bool:
        """Runs at most one job. Arguments and result as in `geartrain.Worker.work_once`."""
        if not await self.wait(timeout):
            return False
        job = self._ready.popleft()
        await self._run(job, self._prepare(job))
        if isinstance(job.session.owner, WorkerLink):
            await job.session.owner.drained()  # the caller may close the worker next
        return True

    async def wait(self, timeout: float | None = None) -> bool:
        """Waits until there is a job for `work_once`, at most so many seconds. Returns whether there is."""
        await self._begin(single=True)
        self._pump()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while not self._ready and not self._asked:
                    await self._change()
                    self._pump()
        return bool(self._ready) and not self._asked

    # Leaving.

    def stop(self) -> None:
        """Asks `work` to take no more jobs and to return when those that run have ended. From any thread."""
        self._asked = self._slots.closed = True
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(lambda: self._changed.set())

    async def close(self) -> None:
        """Ends the connections; tasks that run are cancelled. The worker connects again when it is used again."""
        tasks = self._starter.cancel()
        await self._links.close()
        if tasks:
            await asyncio.wait(tasks, timeout=_AFTER_CANCEL)
        self._threads.close()
        self._fresh()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
