"""Uniques: which live job has which unique.

Owns the index for coalescing, whose scope is (function, unique), and for GET_STATUS_UNIQUE, which names no function.
A job with the unique ``-`` is found by its workload, and not by GET_STATUS_UNIQUE (gearmand).
"""

from geartrain.engine.function import Function
from geartrain.engine.job import Job, Pieces

__all__ = ["Uniques"]


class Uniques:
    __slots__ = ("_jobs",)

    def __init__(self) -> None:
        # most uniques are used for one function: only where they are not, a second level is made
        self._jobs: dict[bytes, Job | dict[Function, Job]] = {}

    def find(self, function: Function, unique: bytes, workload: bytes | Pieces) -> Job | None:
        """The live job that a submission joins."""
        if unique == b"-":
            if function.by_workload is None or not workload:
                return None
            return function.by_workload.get(workload.whole() if isinstance(workload, Pieces) else workload)
        found = self._jobs.get(unique)
        if found is None:
            return None
        if isinstance(found, Job):
            return found if found.function is function else None
        return found.get(function)

    def any(self, unique: bytes) -> Job | None:
        """A live job with that unique, of whatever function: the first one."""
        found = self._jobs.get(unique)
        if found is None or isinstance(found, Job):
            return found
        return next(iter(found.values()))

    def add(self, job: Job) -> None:
        function = job.function
        unique = job.unique
        if unique == b"-":
            if job.workload:
                if function.by_workload is None:
                    function.by_workload = {}
                function.by_workload.setdefault(job.workload, job)
            return
        found = self._jobs.get(unique)
        if found is None:
            self._jobs[unique] = job
        elif isinstance(found, Job):
            self._jobs[unique] = {found.function: found, function: job}
        else:
            found[function] = job

    def remove(self, job: Job) -> None:
        """Takes a job out; one that was taken out before (it was cancelled while it ran) does no harm."""
        function = job.function
        unique = job.unique
        if unique == b"-":
            by_workload = function.by_workload
            if by_workload is not None and by_workload.get(job.workload) is job:
                del by_workload[job.workload]
                if not by_workload:
                    function.by_workload = None
            return
        found = self._jobs.get(unique)
        if found is job:
            del self._jobs[unique]
        elif isinstance(found, dict) and found.get(function) is job:
            del found[function]
            if not found:
                del self._jobs[unique]
