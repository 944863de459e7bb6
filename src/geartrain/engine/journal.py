"""Journal: what must be persisted, and the replies that wait for it.

Owns the changes since the last batch. The shell's committer takes a batch, writes it, and settles it here; a reply
that acknowledges a background job is released by that, and by nothing else.

A job that ends before its add was taken needs no disk at all: add and end cancel out.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

from geartrain.engine.job import ENDED, FOREGROUND, MEMORY, PENDING, RUNNING, STORED, WRITING, Job, Piece
from geartrain.engine.peer import Peer
from geartrain.stores.base import Batch, Key, StoredJob

__all__ = ["Journal", "Reply", "Write"]

_AGAIN: Final = 20_000
"""Jobs that one batch writes again after a loss: there may be millions, and others wait for their turn."""
_new: Final = tuple.__new__
"""A named tuple's own constructor is a call of Python more, and takes three times as long."""


class Reply(NamedTuple):
    """A JOB_CREATED that is held back: where it stands, so that it can become an ERROR."""

    peer: Peer
    out: list[Piece]
    place: int
    job: Job
    since: float
    """Engine's seconds."""


class Write:
    """One batch on its way to the store.

    Attributes:
        serial: batches are settled in the order of their serials.
        batch: what to write.
        jobs: the new jobs in `batch.adds`, in the same order. Behind them may come jobs that are written again.
        replies: the replies that wait for it.
    """

    __slots__ = ("batch", "jobs", "replies", "serial")

    def __init__(self, serial: int, batch: Batch, jobs: list[Job], replies: list[Reply]) -> None:
        self.serial: int = serial
        self.batch: Batch = batch
        self.jobs: list[Job] = jobs
        self.replies: list[Reply] = replies


class Journal:
    """The changes that are not handed to the committer yet.

    Args:
        lazy: nobody waits for the store: it is written when the server stops (--store-queue-on-shutdown).
    """

    __slots__ = (
        "_adds",
        "_again",
        "_attempts",
        "_dones",
        "_merged",
        "_priorities",
        "_replies",
        "_serial",
        "_writing",
        "lazy",
    )

    def __init__(self, lazy: bool = False) -> None:
        self.lazy: bool = lazy
        self._serial: int = 1
        self._adds: dict[Job, None] = {}
        self._again: list[Job] = []
        self._dones: list[Key] = []
        self._attempts: dict[Key, int] = {}
        self._priorities: dict[Key, int] = {}
        self._merged: dict[Job, list[Key]] = {}
        self._replies: list[Reply] = []
        self._writing: Write | None = None

    # ---- from the engine

    def add(self, job: Job) -> None:
        """A job must be stored."""
        job.durable = PENDING
        self._adds[job] = None

    def hold(self, peer: Peer, job: Job, reply: bytes, now: float) -> None:
        """Appends a reply that leaves only after the job is stored."""
        serial = self._serial
        replies = self._replies
        if job.durable == WRITING and self._writing is not None:
            serial = self._writing.serial
            held = peer.held
            if held and held[-1][0] > serial:  # the order of replies: behind what waits for a later batch
                serial = self._serial
            else:
                replies = self._writing.replies
        out = peer.hold(serial)
        out.append(reply)
        replies.append(_new(Reply, (peer, out, len(out) - 1, job, now)))

    def done(self, job: Job) -> None:
        """A job has ended."""
        if job.durable == PENDING:
            del self._adds[job]
        else:
            self._dones.append(_key(job))
            if self._attempts or self._priorities:
                self._attempts.pop(_key(job), None)
                self._priorities.pop(_key(job), None)
        if self._merged:
            self._dones += self._merged.pop(job, ())

    def merge(self, job: Job, key: Key) -> None:
        """A stored job is the same as a live one (its unique was submitted again before it was loaded): the live one
        stands for both. Until it is stored itself, or has ended, what is stored already must stay there."""
        if job.durable == STORED:
            self._dones.append(key)
            return
        if job.durable == FOREGROUND:
            self.add(job)
        elif job.durable == MEMORY:
            job.durable = STORED
        self._merged.setdefault(job, []).append(key)

    def stands_for_another(self, job: Job) -> bool:
        """Whether the end of this job would be that of one that was acknowledged long ago."""
        return job in self._merged

    def attempt(self, job: Job) -> None:
        """A job came back from a worker."""
        if job.durable != PENDING:
            self._attempts[_key(job)] = job.attempts

    def priority(self, job: Job) -> None:
        """A job has got another priority."""
        if job.durable != PENDING:
            self._priorities[_key(job)] = job.priority

    # ---- from the committer

    def lost(self, jobs: Iterable[Job]) -> int:
        """The store has lost what was in it.

        Args:
            jobs: all live jobs; those of them that were stored are written again, the oldest first.

        Returns:
            how many these are.
        """
        self._again = [job for job in jobs if job.durable == STORED]
        self._again.reverse()  # taken from its end
        return len(self._again)

    @property
    def pending(self) -> bool:
        """Whether there is something to write or to answer."""
        return bool(self._adds or self._dones or self._replies or self._attempts or self._priorities or self._again)

    @property
    def unsettled(self) -> int:
        """Changes that are not committed yet: jobs to add and to remove, waiting or being written."""
        writing = self._writing
        return (
            len(self._adds)
            + len(self._again)
            + len(self._dones)
            + (len(writing.batch.adds) + len(writing.batch.dones) if writing is not None else 0)
        )

    def take(self) -> Write | None:
        """Hands out everything that is pending. One batch at a time: the last one must be settled before."""
        if self._writing is not None or not self.pending:
            return None
        jobs = list(self._adds)
        adds: list[StoredJob] = []
        for job in jobs:
            job.durable = WRITING
            adds.append(stored(job))
        if self._again:
            portion = self._again[-_AGAIN:]
            del self._again[-_AGAIN:]
            adds.extend(stored(job) for job in reversed(portion) if job.state != ENDED and job.durable == STORED)
        batch = Batch(adds, self._dones, self._attempts, self._priorities)
        write = Write(self._serial, batch, jobs, self._replies)
        self._serial += 1
        self._adds = {}
        self._dones = []
        self._attempts = {}
        self._priorities = {}
        self._replies = []
        self._writing = write
        return write

    def revise(self, write: Write) -> Batch:
        """What to write instead of a batch that the store does not take: no jobs that have ended meanwhile (maybe
        because their submitters were refused), and all ends that came since. They make room in a full store.

        What was left out may be in the store all the same, and is removed with the other ends.
        """
        assert write is self._writing
        batch = write.batch
        dones, self._dones = self._dones, []
        gone = {key.number for key in dones}
        if gone:
            write.jobs = [job for job in write.jobs if job.number not in gone]
            adds = [job for job in batch.adds if job.number not in gone]
            write.batch = Batch(adds, batch.dones + dones, batch.attempts, batch.priorities, batch.next_number)
        return write.batch

    def settle(self, write: Write) -> list[Peer]:
        """A batch is committed: its jobs are stored and its replies may go.

        Returns:
            the peers that have something to send now.
        """
        assert write is self._writing
        self._writing = None
        if self._merged:
            for job in write.jobs:
                if job.durable == WRITING:
                    self._dones += self._merged.pop(job, ())
        for job in write.jobs:
            if job.durable == WRITING:
                job.durable = STORED
        return self._release(write.serial, write.replies)

    def refuse(self, reply: Reply, error: bytes) -> None:
        """Turns a held JOB_CREATED into an ERROR. It keeps its place in the order of replies."""
        reply.out[reply.place] = error

    def replies_of(self, job: Job) -> list[Reply]:
        """The held replies for a job."""
        return [reply for reply in self._held() if reply.job is job]

    def awaited(self) -> set[Job]:
        """The jobs that replies are held for."""
        return {reply.job for reply in self._held()}

    def _held(self) -> list[Reply]:
        return self._replies if self._writing is None else self._writing.replies + self._replies

    def expired(self, before: float) -> list[Reply]:
        """Takes the replies that have waited since before a time. Their peers stay held until the batch settles.

        A job that a worker has is waited for: it will have run, and must not have been refused.
        """
        late: list[Reply] = []
        if self._writing is not None:
            late, self._writing.replies = _divide(self._writing.replies, before)
        more, self._replies = _divide(self._replies, before)
        return late + more

    def oldest_reply(self) -> float | None:
        """Since when the oldest reply waits, in the engine's seconds."""
        times = [
            replies[0].since for replies in (self._replies, self._writing.replies if self._writing else []) if replies
        ]
        return min(times) if times else None

    def free(self, peers: list[Peer]) -> list[Peer]:
        """Lets go of peers whose held replies have all become errors, though their batch is not settled yet."""
        waiting = {id(reply.out) for reply in self._replies}
        if self._writing is not None:
            waiting.update(id(reply.out) for reply in self._writing.replies)
        freed: list[Peer] = []
        for peer in peers:
            held = peer.held
            moved = False
            while held and id(held[0][1]) not in waiting:
                moved = peer.release(held[0][0]) or moved
                held = peer.held
            if moved:
                freed.append(peer)
        return freed

    def _release(self, serial: int, replies: list[Reply]) -> list[Peer]:
        peers: list[Peer] = []
        last: Peer | None = None
        for reply in replies:
            peer = reply.peer
            if peer is not last:
                last = peer
                if peer.release(serial):
                    peers.append(peer)
        return peers


def stored(job: Job) -> StoredJob:
    """The job as a store keeps it."""
    extra = job.extra
    when, reducer = (0, b"") if extra is None else (extra.when, extra.reducer)
    return _new(
        StoredJob,
        (
            job.number, job.handle, job.function.name, job.unique, job.workload, job.priority, when, reducer,
            job.attempts,
        ),
    )  # fmt: skip


def _key(job: Job) -> Key:
    return _new(Key, (job.function.name, job.unique, job.number))


def _divide(replies: list[Reply], before: float) -> tuple[list[Reply], list[Reply]]:
    late = [r for r in replies if r.since <= before and r.job.state != RUNNING]
    if not late:
        return [], replies
    taken = set(map(id, late))
    return late, [r for r in replies if id(r) not in taken]
