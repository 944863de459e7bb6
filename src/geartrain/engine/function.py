"""Function: the jobs that wait for one name, their limits, and who can do them.

Which worker gets which job is in roster.py.
"""

from typing import TYPE_CHECKING

from geartrain.engine.job import Job
from geartrain.engine.queue import Queue
from geartrain.engine.stats import FunctionStats

if TYPE_CHECKING:
    from geartrain.engine.roster import Pool

__all__ = ["Function"]


class Function:
    """One function of the server.

    Attributes:
        name: any bytes but NUL.
        enclosed: the name between two NULs, as it stands in JOB_ASSIGN.
        total: all its jobs: queued, running and delayed. What maxqueue compares with.
        running: how many of them a worker has.
        queues: the jobs that wait, by priority.
        workers: how many workers registered it.
        pools: the pools whose workers can do it.
        limits: maxqueue by priority, 0 for none; None if never set.
        by_workload: live jobs whose unique is ``-``, by their workload.
        stats: counters.
    """

    __slots__ = (
        "by_workload",
        "enclosed",
        "limits",
        "name",
        "pools",
        "queues",
        "running",
        "stats",
        "total",
        "workers",
    )

    def __init__(self, name: bytes) -> None:
        self.name: bytes = name
        self.enclosed: bytes = b"\0%b\0" % name
        self.total: int = 0
        self.running: int = 0
        self.queues: tuple[Queue, ...] = (Queue(), Queue(), Queue())
        self.workers: int = 0
        self.pools: list[Pool] = []
        self.limits: tuple[int, int, int] | None = None
        self.by_workload: dict[bytes, Job] | None = None
        self.stats: FunctionStats = FunctionStats()

    @property
    def waiting(self) -> tuple[int, int, int]:
        """Queued jobs by priority, without delayed ones."""
        high, normal, low = self.queues
        return (high.count, normal.count, low.count)

    def oldest(self) -> Job | None:
        """The waiting job that was submitted first, None for none."""
        jobs = [queue.oldest for queue in self.queues]
        return min((job for job in jobs if job is not None), key=lambda job: job.submitted, default=None)
