"""Recovery: jobs that come back from the store, and submissions that the store does not take.

Owns what becomes of a stored job after a start, of a submission that has waited too long, and of a row that can never
be stored. What is promised to whom is in journal.py.
"""

from collections.abc import Iterable

from geartrain.engine.ending import drop
from geartrain.engine.engine import Engine
from geartrain.engine.job import ENDED, MEMORY, RUNNING, STORED, WRITING, Extra, Job
from geartrain.engine.replies import error
from geartrain.stores.base import StoredJob

__all__ = ["expire", "reject", "restore"]


def restore(engine: Engine, records: Iterable[StoredJob], now: float) -> int:
    """Takes jobs from the store. Returns how many; one whose unique is live already is joined to that."""
    engine.now = now
    count = 0
    for record in records:
        handle = record.handle
        # Came during the load, and was stored by it: its own row.
        if handle and (handle in engine.jobs or (engine.ended is not None and handle in engine.ended)):
            continue
        function = engine.function(record.function)
        if record.unique:
            live = engine.uniques.find(function, record.unique, record.workload)
            if live is not None:  # submitted again before it was loaded
                if engine.journal is not None:
                    engine.journal.merge(live, record.key)
                if engine.ended is not None:  # a load that begins anew brings it again
                    engine.ended.add(handle)
                continue
        if not handle:
            handle = engine.new_handle()
        job = Job(handle, function, record.unique, record.workload, record.priority, STORED, now)
        job.attempts = record.attempts
        engine.jobs[handle] = job
        if record.unique:
            engine.uniques.add(job)
        function.total += 1
        if not record.handle and engine.journal is not None:
            engine.journal.add(job)
        count += 1
        if record.when or record.reducer:
            job.extra = Extra(record.reducer, record.when)
            if record.when and engine.delay(job):
                continue
        engine.roster.enqueue(job)
        engine.wakeups.wake(function)
    return count


def expire(engine: Engine, before: float, reason: bytes) -> None:
    """Answers QUEUE_ERROR to submissions that have waited for the store since before a time."""
    journal = engine.journal
    if journal is None:
        return
    late = journal.expired(before)
    awaited = journal.awaited() if late else set()
    given_up: dict[Job, None] = {}
    for reply in late:
        job = reply.job
        # It ran meanwhile, or is one that was stored before: its JOB_CREATED is true without the store.
        if job.state == ENDED or journal.stands_for_another(job):
            continue
        journal.refuse(reply, error(b"QUEUE_ERROR", reason))
        engine.stats.errors[b"QUEUE_ERROR"] = engine.stats.errors.get(b"QUEUE_ERROR", 0) + 1
        job.function.stats.refused += 1
        if engine.replaying and job.unique and job.durable == WRITING:
            continue  # its row may come to the disk yet, in the place of one with that unique that is not loaded yet
        if job.clients is None and job.state != RUNNING and job not in awaited:  # others joined it later
            given_up[job] = None
    for job in given_up:  # not before: all who joined it must be refused
        drop(engine, job)
    for peer in journal.free([reply.peer for reply in late]):
        if not peer.dirty:
            peer.dirty = True
            engine.dirty.append(peer)


def reject(engine: Engine, job: Job, reason: bytes) -> None:
    """A job that the store can never hold: its submitters get QUEUE_ERROR, unless it has run already."""
    journal = engine.journal
    assert journal is not None
    if job.state == ENDED:
        return
    for reply in journal.replies_of(job):
        journal.refuse(reply, error(b"QUEUE_ERROR", reason))
    job.function.stats.refused += 1
    if journal.stands_for_another(job):
        job.durable = STORED  # as that one is
        return
    job.durable = MEMORY  # it is not in the store: nothing is to be removed there
    if job.clients is None and job.state != RUNNING:
        drop(engine, job)
