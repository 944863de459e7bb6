"""Jobs from one queue into another, so that it can be broken off at any moment and begun again.

Owns which jobs are there already, and what number and handle a job has in its new queue. Knows no files and no
terminals.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from geartrain.stores.base import Batch, Key, Store, StoredJob

__all__ = ["Outcome", "transfer"]

_ROWS: Final = 1000
_BYTES: Final = 8 << 20


@dataclass(slots=True)
class Outcome:
    """What became of the jobs.

    Attributes:
        written: new in the target.
        present: they were in the target before, with the same handle and content: from an earlier run.
        joined: another job with the same function and unique waits in the target; they are one job there, as a
            server would have it.
        renamed: written under a new handle, because the target has given theirs to another job.
    """

    written: int = 0
    present: int = 0
    joined: int = 0
    renamed: int = 0


class _Target:
    """What the target has, in 16 bytes for each job and name."""

    def __init__(self, store: Store) -> None:
        self._handles: dict[bytes, bytes] = {}
        self._uniques: set[bytes] = set()
        for job in store.load():
            self.take(job)

    def take(self, job: StoredJob) -> None:
        self._handles[_digest(job.handle)] = _content(job)
        if job.unique not in (b"", b"-"):
            self._uniques.add(_digest(job.function, job.unique))

    def has(self, job: StoredJob) -> bool:
        return self._handles.get(_digest(job.handle)) == _content(job)

    def has_unique(self, job: StoredJob) -> bool:
        return job.unique not in (b"", b"-") and _digest(job.function, job.unique) in self._uniques

    def has_handle(self, job: StoredJob) -> bool:
        return _digest(job.handle) in self._handles


def transfer(
    jobs: Iterable[StoredJob],
    source_next: int,
    target: Store,
    target_next: int,
    prefix: bytes,
    *,
    merge: bool = False,
    moved: Callable[[list[Key]], None] | None = None,
    progress: Callable[[int, int], None] = lambda count, number: None,
) -> Outcome:
    """Writes jobs into an open store, in batches.

    A job keeps its handle. It keeps its number, too, where the target has not given it before. Numbers and handles
    that are given out anew are above those of both queues, so that none is given twice.

    Args:
        jobs: of the other queue, by number.
        source_next, target_next: the number that each queue would give next.
        prefix: what new handles begin with.
        merge: the target's jobs are others in any case, even where handle and content are the same. (Two servers of
            one name may have given the same handles.) Then breaking off and beginning again makes some jobs two.
        moved: called with the keys of jobs that are now safe in the target.
        progress: called with the count of jobs that were looked at, and the last one's number in its old queue.

    Raises:
        StoreUnavailable, StoreRejected: as `Store.apply`. What was written before is written.
    """
    known = _Target(target)
    outcome = Outcome()
    fresh = max(source_next, target_next)
    count = 0
    for portion in _portions(jobs):
        batch = Batch()
        for job in portion:
            if not merge and known.has(job):
                outcome.present += 1
                continue
            if known.has_unique(job):
                outcome.joined += 1
                continue
            new = job
            if not target_next <= job.number < source_next:
                new, fresh = job._replace(number=fresh), fresh + 1
            if known.has_handle(job) or not job.handle:
                new = new._replace(handle=b"%b%d" % (prefix, new.number))
                outcome.renamed += 1
            known.take(new)
            batch.adds.append(new)
            outcome.written += 1
        if batch.adds:
            target.apply(batch)
        if moved is not None:
            moved([job.key for job in portion])
        count += len(portion)
        progress(count, portion[-1].number)
    return outcome


def _portions(jobs: Iterable[StoredJob]) -> Iterator[list[StoredJob]]:
    portion: list[StoredJob] = []
    size = 0
    for job in jobs:
        portion.append(job)
        size += len(job.workload)
        if len(portion) >= _ROWS or size >= _BYTES:
            yield portion
            portion, size = [], 0
    if portion:
        yield portion


def _content(job: StoredJob) -> bytes:
    return _digest(job.function, job.unique, job.workload, job.reducer, b"%d %d" % (job.priority, job.when))


def _digest(*parts: bytes) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(len(part).to_bytes(8))
        digest.update(part)
    return digest.digest()
