"""Function: the jobs that wait for one name, their limits, and who can do them.

Owns the three queues and their counts. Which worker gets which job is in roster.py.
"""

from collections import deque
from typing import TYPE_CHECKING, Final

from geartrain.engine.job import QUEUED, Job
from geartrain.engine.stats import FunctionStats

if TYPE_CHECKING:
    from geartrain.engine.roster import Pool

__all__ = ["Function"]

_COMPACT_FROM: Final = 64
"""Ended jobs that stand in a queue before it is worth sweeping them out."""


class Function:
    """One function of the server.

    Attributes:
        name: any bytes but NUL.
        enclosed: the name between two NULs, as it stands in JOB_ASSIGN.
        total: all its jobs: queued, running and delayed. What maxqueue compares with.
        running: how many of them a worker has.
        waiting: queued jobs by priority, without delayed ones.
        workers: how many workers registered it.
        pools: the pools whose workers can do it.
        limits: maxqueue by priority, 0 for none; None if never set.
        by_workload: live jobs whose unique is ``-``, by their workload.
        stats: counters.
    """

    __slots__ = (
        "_queues",
        "by_workload",
        "enclosed",
        "limits",
        "name",
        "pools",
        "running",
        "stats",
        "total",
        "waiting",
        "workers",
    )

    def __init__(self, name: bytes) -> None:
        self.name: bytes = name
        self.enclosed: bytes = b"\0%b\0" % name
        self.total: int = 0
        self.running: int = 0
        self.waiting: list[int] = [0, 0, 0]
        self.workers: int = 0
        self.pools: list[Pool] = []
        self.limits: tuple[int, int, int] | None = None
        self.by_workload: dict[bytes, Job] | None = None
        self.stats: FunctionStats = FunctionStats()
        self._queues: list[deque[Job] | None] = [None, None, None]  # made when used: an empty deque is large

    def push(self, job: Job) -> bool:
        """Puts a job at the end of its priority's queue. Returns whether it is alone there."""
        priority = job.priority
        queue = self._queues[priority]
        if queue is None:
            queue = self._queues[priority] = deque()
        queue.append(job)
        waiting = self.waiting
        count = waiting[priority] + 1
        waiting[priority] = count
        return count == 1

    def pop(self, priority: int) -> Job:
        """Takes the oldest job of a priority that has one. Skips the ended ones that still stand there."""
        queue = self._queues[priority]
        assert queue is not None
        job = queue.popleft()
        while job.state != QUEUED:
            job = queue.popleft()
        waiting = self.waiting
        waiting[priority] = waiting[priority] - 1  # compiled, -= on an item is slow
        return job

    def forget(self, priority: int) -> None:
        """Counts out a job that left a queue from its middle: the job stands there still, but is skipped."""
        waiting = self.waiting
        waiting[priority] -= 1
        queue = self._queues[priority]
        assert queue is not None
        if waiting[priority] == 0:
            queue.clear()
        elif len(queue) > 2 * waiting[priority] + _COMPACT_FROM:
            self._queues[priority] = deque(j for j in queue if j.state == QUEUED)

    def remove(self, job: Job) -> None:
        """Takes a waiting job out for good, to be queued elsewhere. Slow on a long queue."""
        queue = self._queues[job.priority]
        assert queue is not None
        queue.remove(job)
        self.waiting[job.priority] -= 1

    def oldest(self) -> Job | None:
        """The waiting job that was submitted first, None for none."""
        best: Job | None = None
        for priority in (0, 1, 2):
            queue = self._queues[priority]
            if self.waiting[priority] and queue is not None:
                job = next(j for j in queue if j.state == QUEUED)
                if best is None or job.submitted < best.submitted:
                    best = job
        return best
