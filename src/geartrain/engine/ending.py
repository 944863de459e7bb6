"""Ending: how a job ends, or goes back to its queue when a worker gives it up.

Owns which indices it leaves then, and who is told.
"""

from typing import TYPE_CHECKING

from geartrain.engine.job import DELAYED, ENDED, FOREGROUND, MEMORY, QUEUED, RUNNING, Job
from geartrain.engine.replies import failed

if TYPE_CHECKING:
    from geartrain.engine.engine import Engine

__all__ = ["cancel", "drop", "finish", "requeue"]


def finish(engine: "Engine", job: Job) -> None:
    """A worker ended its job. The caller has told the clients and counted how."""
    stats = job.function.stats
    (stats.ran or stats.first_ran()).add(engine.now - job.started)
    _unassign(engine, job)
    _end(engine, job)


def requeue(engine: "Engine", job: Job) -> None:
    """A worker left or took too long: the job goes to the end of its queue, or is given up."""
    function = job.function
    _unassign(engine, job)
    job.attempts += 1
    function.stats.requeued += 1
    if engine.options.attempts and job.attempts >= engine.options.attempts:
        function.stats.exhausted += 1
        engine.tell(job, failed(job.handle))
        _end(engine, job)
    elif job.durable == FOREGROUND and job.clients is None:
        drop(engine, job)
    else:
        job.state = QUEUED
        job.progress = None
        if job.durable > MEMORY:
            assert engine.journal is not None
            engine.journal.attempt(job)
        engine.roster.enqueue(job)
        engine.wakeups.wake(function)


def drop(engine: "Engine", job: Job) -> None:
    """Ends a job that no worker has, without a word."""
    job.function.stats.cancelled += 1
    _end(engine, job)


def cancel(engine: "Engine", job: Job) -> None:
    """Ends a job; its clients get WORK_FAIL.

    A worker that has it is not stopped, but nobody hears of it, joins it or tries it again (gearmand).
    """
    engine.tell(job, failed(job.handle))
    if job.state == RUNNING:
        _abandon(engine, job)
    else:
        drop(engine, job)


def _unassign(engine: "Engine", job: Job) -> None:
    function = job.function
    function.running -= 1
    engine.running -= 1
    worker = job.worker
    assert worker is not None
    running = worker.running
    assert running is not None
    del running[job.handle]
    job.worker = None
    if worker.timed and worker.functions is not None and worker.functions.get(function, 0.0) > 0:
        engine.timers.drop()


def _abandon(engine: "Engine", job: Job) -> None:
    """Makes a running job one that nobody waits for: it leaves every index but those of its worker."""
    _part(engine, job)
    if job.unique:
        engine.uniques.remove(job)
    if job.durable > MEMORY:
        _done(engine, job)
    job.durable = FOREGROUND


def _part(engine: "Engine", job: Job) -> None:
    """Its clients wait no more."""
    clients = job.clients
    if clients is not None:
        for peer in clients:
            if peer.waits is not None:
                peer.waits.discard(job)
        job.clients = None


def _end(engine: "Engine", job: Job) -> None:
    """Takes a job out of every index."""
    state = job.state
    job.state = ENDED
    if state == QUEUED:
        engine.roster.withdraw(job)
    elif state == DELAYED:
        engine.timers.drop()
    del engine.jobs[job.handle]
    if job.unique:
        engine.uniques.remove(job)
    job.data = b""  # a timer may name the job for hours
    job.function.total -= 1
    if job.clients is not None:
        _part(engine, job)
    if job.durable > MEMORY:
        _done(engine, job)


def _done(engine: "Engine", job: Job) -> None:
    """The store must forget a job."""
    assert engine.journal is not None
    engine.journal.done(job)
    if engine.ended is not None:
        engine.ended.add(job.handle)
