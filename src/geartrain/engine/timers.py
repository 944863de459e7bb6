"""Timers: jobs that wait for a time, and workers that take too long. One heap.

A timer belongs to a job, not to a connection, and dies with it: an entry whose job has moved on is skipped, and
swept out when such entries are the larger part.
"""

from heapq import heapify, heappop, heappush

from geartrain.engine.job import DELAYED, RUNNING, Job

__all__ = ["Timers"]

_SWEEP_FROM = 1024
"""Entries below which a sweep is not worth its time."""


class Timers:
    __slots__ = ("_heap", "_serial", "_stale")

    def __init__(self) -> None:
        # deadline, serial (jobs do not compare), job, attempt
        self._heap: list[tuple[float, int, Job, int]] = []
        self._serial: int = 0
        self._stale: int = 0

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, deadline: float, job: Job) -> None:
        """Calls back for a job that is DELAYED or RUNNING now, unless it has moved on until then."""
        self._serial += 1
        heappush(self._heap, (deadline, self._serial, job, job.attempts))

    def drop(self) -> None:
        """Says that a job with a timer has moved on, so that the heap cannot fill with the past."""
        self._stale += 1
        if self._stale > _SWEEP_FROM and self._stale * 2 > len(self._heap):
            self._heap = [entry for entry in self._heap if _alive(entry[2], entry[3])]
            heapify(self._heap)
            self._stale = 0

    def next(self) -> float | None:
        """The next deadline, None for none."""
        heap = self._heap
        while heap and not _alive(heap[0][2], heap[0][3]):
            heappop(heap)
            self._stale = max(self._stale - 1, 0)
        return heap[0][0] if heap else None

    def due(self, now: float) -> list[Job]:
        """Takes the jobs whose time has come, in the order of their deadlines."""
        jobs: list[Job] = []
        while (deadline := self.next()) is not None and deadline <= now:
            jobs.append(heappop(self._heap)[2])
        return jobs


def _alive(job: Job, attempt: int) -> bool:
    return job.attempts == attempt and (job.state == RUNNING or job.state == DELAYED)
