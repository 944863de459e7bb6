"""What is true of an engine between any two events: its indices agree with each other.

Looks into the engine's parts, which tests elsewhere do not: here their agreement is the point.
"""

from collections import Counter

from geartrain.engine.engine import Engine
from geartrain.engine.job import DELAYED, ENDED, FOREGROUND, QUEUED, RUNNING, Job

__all__ = ["check", "ignored"]


def ignored(job: Job) -> bool:
    """A running job that nobody waits for: cancelled, or its clients have left."""
    return job.durable == FOREGROUND and job.clients is None


def check(engine: Engine) -> None:
    """Call it after `Wakeups.settle`.

    Raises:
        AssertionError: two indices do not agree.
    """
    _jobs(engine)
    _functions(engine)
    _peers(engine)
    _pools(engine)


def _jobs(engine: Engine) -> None:
    delayed_or_timed = 0
    for handle, job in engine.jobs.items():
        assert handle == job.handle
        assert job.state != ENDED
        assert engine.functions.get(job.function.name) is job.function
        assert (job.state == RUNNING) == (job.worker is not None)
        if job.worker is not None:
            assert job.worker in engine.peers
            assert (job.worker.running or {}).get(handle) is job
        if job.state != RUNNING:
            assert not ignored(job), "a job that nobody waits for waits for a worker"
        if not ignored(job) and job.unique and (job.unique != b"-" or job.workload):
            assert engine.uniques.find(job.function, job.unique, job.workload) is job
        for client, count in Counter(job.clients or []).items():
            assert count
            assert client in engine.peers
            assert job in (client.waits or set())
        delayed_or_timed += job.state == DELAYED
    assert len(engine.timers) >= delayed_or_timed
    found = 0
    for entry in engine.uniques._jobs.values():
        for job in [entry] if isinstance(entry, Job) else entry.values():
            assert engine.jobs.get(job.handle) is job, "the unique of a job that is no more"
            found += 1
    keyed = [job for job in engine.jobs.values() if job.unique and job.unique != b"-" and not ignored(job)]
    assert len(keyed) <= found
    assert engine.running == sum(job.state == RUNNING for job in engine.jobs.values())


def _functions(engine: Engine) -> None:
    for name, function in engine.functions.items():
        jobs = [job for job in engine.jobs.values() if job.function is function]
        assert function.name == name
        assert function.total == len(jobs)
        assert function.running == sum(job.state == RUNNING for job in jobs)
        assert function.workers == sum(function in (peer.functions or {}) for peer in engine.peers)
        for priority in (0, 1, 2):
            waiting = [job for job in jobs if job.state == QUEUED and job.priority == priority]
            assert function.waiting[priority] == len(waiting)
            queue = function.queues[priority]
            line = list(queue)
            assert len(line) == len(waiting)
            assert set(line) == set(waiting)
            assert [job.before for job in line] == [None, *line][: len(line)]
            assert queue._last is (line[-1] if line else None)
            for pool in function.pools:
                assert not waiting or queue in pool.ready[priority]
        for job in jobs:
            assert job.state == QUEUED or job.before is job.after is None
        for job in (function.by_workload or {}).values():
            assert engine.jobs.get(job.handle) is job


def _peers(engine: Engine) -> None:
    for peer in engine.peers:
        assert not peer.gone
        for handle, job in (peer.running or {}).items():
            assert engine.jobs.get(handle) is job
            assert job.worker is peer
        for job in peer.waits or ():
            assert engine.jobs.get(job.handle) is job
            assert peer in (job.clients or [])
        if peer.pool is not None:
            assert peer.pool.functions == frozenset(peer.functions or ())
            assert peer.sleeping == (peer in peer.pool.sleepers)
        elif peer.sleeping:
            assert not peer.functions, "asleep outside of every pool: it would never be woken"
        for function in peer.functions or ():
            assert engine.functions.get(function.name) is function


def _pools(engine: Engine) -> None:
    for key, pool in engine.roster.pools.items():
        assert key == pool.functions
        members = [peer for peer in engine.peers if peer.pool is pool]
        assert pool.members == len(members) > 0
        assert all(pool in function.pools for function in pool.functions)
        assert all(peer in members for peer in pool.sleepers)
        for ready, listed in zip(pool.ready, pool.listed, strict=True):
            assert len(ready) == len(listed)
            assert set(ready) == listed
            assert listed <= {queue for function in pool.functions for queue in function.queues}
        if pool.sleepers and pool.has_work() and not engine.draining:
            # Somebody is on the way, and if he does not come, the next one is woken.
            assert engine.wakeups.again, "work waits, workers sleep, and nothing will wake them"
