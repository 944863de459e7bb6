"""Committer: writes the journal's batches to the store, in one thread.

Owns the writer thread, the group commit that comes by itself (while one batch is written, the next one gathers), the
retries while the store is down, finding the one row that a store refuses, and the store's end. Which replies wait for
a batch is the journal's; what a store is, stores/base.py's.
"""

import asyncio
import logging
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from time import monotonic
from typing import TYPE_CHECKING, Final

from geartrain.engine.engine import Engine
from geartrain.engine.job import Job
from geartrain.engine.journal import Journal, Write
from geartrain.engine.recovery import expire, reject
from geartrain.errors import StoreEmptied, StoreRejected
from geartrain.server.mailbox import Mailbox
from geartrain.stores.base import Batch, Store

if TYPE_CHECKING:
    from geartrain.server.loop import Reactor

__all__ = ["Committer"]

logger = logging.getLogger("geartrain.store")

_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 2.0
_REMIND: Final = 60.0
"""Seconds between log lines while the store stays down."""
_EXPIRE_EVERY: Final = 0.25
_ASK_EVERY: Final = 3.0
"""Seconds without a batch, after which the store is asked whether it is there and has all that was written."""
_LET_GO: Final = 1.0
"""Seconds at the end for a store that hangs: to close it, or to take what is at hand when the server is in a hurry."""


class Committer:
    """The durable side of a running server.

    Args:
        engine: whose journal is written; its journal is not None.
        store: opened.
        loop: the server's loop; everything but the writing happens on it.
        reactor: watches the server's sockets on it.
        wait: seconds that a submission may wait for the store.
        turn: has the loop send what became ready.
    """

    def __init__(
        self,
        engine: Engine,
        store: Store,
        loop: asyncio.AbstractEventLoop,
        reactor: "Reactor",
        wait: float,
        turn: Callable[[], None],
    ) -> None:
        assert engine.journal is not None
        self._engine = engine
        self._journal: Journal = engine.journal
        self._store = store
        self._loop = loop
        self._wait = wait
        self._turn = turn
        self._mailbox = Mailbox(reactor)
        self._queue: SimpleQueue[Write | None] = SimpleQueue()
        self._stopping = threading.Event()
        self._busy = False
        self._reason = "the store does not answer"
        self._emptied = ""  # the thread's: why what was stored is gone
        self._answers = True  # the thread's: whether the store took the last batch
        self._idle = asyncio.Event()
        self._idle.set()
        self._timer: asyncio.TimerHandle | None = None
        self._patience: asyncio.Timeout | None = None
        self._hurried = False
        self._thread = threading.Thread(target=self._run, name="geartrain-committer", daemon=True)
        self._thread.start()
        self._expire()

    # ---- on the loop

    @property
    def down(self) -> str:
        """Why the store does not take the batch at hand; empty while all is well."""
        return self._failing

    _failing = ""

    def kick(self) -> None:
        """Hands the next batch to the thread, if there is one and the last is done. Call it at each turn's end."""
        while not self._busy and self._journal.pending:
            write = self._journal.take()
            assert write is not None
            if not write.batch.empty:
                write.batch.next_number = self._engine.next_number
                self._busy = True
                self._idle.clear()
                self._queue.put(write)
            else:
                self._settle(write)  # everything in it ended before it needed the disk

    def _settle(self, write: Write) -> None:
        engine = self._engine
        for peer in self._journal.settle(write):
            if not peer.dirty:
                peer.dirty = True
                engine.dirty.append(peer)

    def _lost(self, reason: str) -> None:
        """The thread has found the store empty: what was in it is in our memory, too."""
        count = self._journal.lost(self._engine.jobs.values())
        logger.error("%s Writing the %d jobs again that are in this server's memory.", reason, count)

    def _asked(self, emptied: str) -> None:
        """The thread has reached the store without a batch."""
        self._failing = ""
        if emptied:
            self._lost(emptied)

    def _written(self, write: Write, rejected: dict[int, str], emptied: str, seconds: float) -> None:
        """The thread has committed a batch, all but the rejected rows."""
        stats = self._engine.stats
        stats.commits += 1
        stats.commit_seconds.add(seconds)
        size = len(write.batch.adds) + len(write.batch.dones)
        stats.committed_jobs += len(write.batch.adds)
        stats.batch_sizes[min(max(size - 1, 0).bit_length(), len(stats.batch_sizes) - 1)] += 1
        self._busy = False
        self._failing = ""
        for job in write.jobs if rejected else []:
            self._reject(job, rejected)
        self._settle(write)
        if emptied:  # only now: this batch's own jobs count as stored, and halves of it may be lost as well
            self._lost(emptied)
        self.kick()
        if not self._busy:
            self._idle.set()

    def _reject(self, job: Job, rejected: dict[int, str]) -> None:
        reason = rejected.get(job.number)
        if reason is not None:
            reject(self._engine, job, f"The queue cannot hold this job: {reason}".encode())

    def _failed(self, reason: str) -> None:
        self._engine.stats.commit_failures += 1
        self._reason = self._failing = reason

    def _expire(self) -> None:
        """Answers those who have waited too long."""
        since = self._journal.oldest_reply()
        before = monotonic() - self._wait
        if since is not None and since <= before:
            expire(self._engine, before, f"The job was not stored: {self._reason}".encode())
            self._turn()
        self._timer = self._loop.call_later(_EXPIRE_EVERY, self._expire)

    async def close(self, deadline: float) -> bool:
        """Waits until everything is written, at most so many seconds, and closes the store.

        A store that hangs is left behind: the thread ends with the process, or when the store answers.

        Returns:
            whether everything was written.
        """
        try:
            async with asyncio.timeout(_LET_GO if self._hurried else deadline) as self._patience:
                while self._busy or self._journal.pending:  # more may come meanwhile
                    self.kick()
                    await self._idle.wait()
            complete = True
        except TimeoutError:
            complete = False
        self._patience = None
        if self._timer is not None:
            self._timer.cancel()
        self._stopping.set()
        self._queue.put(None)
        await self._loop.run_in_executor(None, self._thread.join, _LET_GO)
        if self._thread.is_alive():
            logger.warning("%s does not answer: it was not closed in order", self._store)
        self._mailbox.close()
        return complete

    def hurry(self) -> None:
        """Has `close`, also one that waits already, not wait for a store that hangs."""
        self._hurried = True
        if self._patience is not None and not self._patience.expired():
            until = self._patience.when()
            soon = self._loop.time() + _LET_GO
            self._patience.reschedule(soon if until is None else min(until, soon))

    # ---- in the thread

    def _run(self) -> None:
        self._write_all()
        try:
            if self._answers:  # the next start begins with the number after the last
                self._store.apply(Batch(next_number=self._engine.next_number))
            self._store.close()
        except Exception as error:  # whatever a driver raises: all is written that could be
            logger.error("%s was not closed in order: %s", self._store, error)

    def _write_all(self) -> None:
        while (write := self._next()) is not None:
            started = monotonic()
            rejected: dict[int, str] = {}
            if not self._write(write.batch, rejected, write):
                return
            self._mailbox.post(self._written, write, rejected, self._emptied, monotonic() - started)
            self._emptied = ""

    def _next(self) -> Write | None:
        """The next batch; None at the end. Looks after the store while there is none."""
        while True:
            try:
                return self._queue.get(timeout=_ASK_EVERY)
            except Empty:
                if not self._write(Batch(next_number=self._engine.next_number), {}):
                    return None
                self._mailbox.post(self._asked, self._emptied)
                self._emptied = ""

    def _write(self, batch: Batch, rejected: dict[int, str], write: Write | None = None) -> bool:
        """Writes a batch, however long it takes. Returns False when the server stops before.

        Args:
            batch: what to write.
            rejected: takes the numbers of refused jobs, with the reasons.
            write: whose batch it is, if it is a whole one: it is put together anew before each further attempt.
        """
        pause = _FIRST_PAUSE
        down_since = 0.0
        reminded = 0.0
        while True:
            try:
                if down_since and batch.adds and batch.dones:  # where there is no room, the ends alone make some
                    self._store.apply(Batch([], batch.dones))
                    batch = Batch(batch.adds, [], batch.attempts, batch.priorities, batch.next_number)
                self._store.apply(batch)
            except StoreRejected as error:
                return self._halve(batch, rejected, error)
            except StoreEmptied as error:
                self._emptied = str(error)
            except Exception as error:  # whatever a driver raises: the jobs must not be lost with it
                self._answers = False
                now = monotonic()
                down_since = down_since or now
                if now - reminded >= _REMIND or not reminded:
                    reminded = now
                    jobs = f"take {len(batch.adds)} new and {len(batch.dones)} finished jobs"
                    logger.error(
                        "the store does not %s, trying again until it does: %s",
                        "answer" if batch.empty else jobs, error, exc_info=logger.isEnabledFor(logging.DEBUG),
                    )  # fmt: skip
                self._mailbox.post(self._failed, str(error))
                if self._stopping.wait(pause):
                    return False
                pause = min(pause * 2, _LONGEST_PAUSE)
                if write is not None:
                    batch = self._revised(write)
            else:
                self._answers = True
                if down_since:
                    logger.warning("the store works again after %.1f s", monotonic() - down_since)
                return True

    def _revised(self, write: Write) -> Batch:
        answer: SimpleQueue[Batch] = SimpleQueue()
        if not self._mailbox.post(lambda: answer.put(self._journal.revise(write))):
            return write.batch
        return answer.get()

    def _halve(self, batch: Batch, rejected: dict[int, str], error: StoreRejected) -> bool:
        """One row at least can never be stored: finds it, and writes all the others."""
        adds = batch.adds
        if len(adds) <= 1 and not (adds and (batch.dones or batch.attempts or batch.priorities)):
            for record in adds:
                logger.error(
                    "the store refuses job %s of %s (%d bytes): %s",
                    record.handle.decode("utf-8", "backslashreplace"),
                    record.function.decode("utf-8", "backslashreplace"),
                    len(record.workload),
                    error,
                )
                rejected[record.number] = str(error)
            if not adds:
                logger.error("the store refuses to forget or change %d jobs: %s", len(batch.dones), error)
            return True
        middle = len(adds) // 2
        parts = [Batch(adds[:middle]), Batch(adds[middle:])] if middle else [Batch(adds)]
        parts.append(Batch([], batch.dones, batch.attempts, batch.priorities))
        return all(
            self._write(part, rejected) for part in parts if part.adds or part.dones or part.attempts or part.priorities
        )
