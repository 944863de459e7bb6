"""Queue: the jobs of one function and priority that wait for a worker, oldest first.

Owns their order. They are linked through `Job.before` and `Job.after`, so that any of them may leave at once, and an
empty queue is small: there may be hundreds of thousands of functions.
"""

from collections.abc import Iterator

from geartrain.engine.job import Job

__all__ = ["Queue"]


class Queue:
    """See the module.

    Attributes:
        count: how many jobs.
        oldest: the first to leave; None for none.
    """

    __slots__ = ("_last", "count", "oldest")

    def __init__(self) -> None:
        self.count: int = 0
        self.oldest: Job | None = None
        self._last: Job | None = None

    def __iter__(self) -> Iterator[Job]:
        job = self.oldest
        while job is not None:
            yield job
            job = job.after

    def push(self, job: Job) -> None:
        """Puts a job at the end."""
        last = self._last
        if last is None:
            self.oldest = job
        else:
            last.after = job
            job.before = last
        self._last = job
        self.count += 1

    def pop(self) -> Job:
        """Takes the oldest job of a queue that has one."""
        job = self.oldest
        assert job is not None
        after = job.after
        self.oldest = after
        if after is None:
            self._last = None
        else:
            after.before = None
            job.after = None
        self.count -= 1
        return job

    def remove(self, job: Job) -> None:
        """Takes a job that stands in this queue, wherever."""
        before, after = job.before, job.after
        if before is None:
            self.oldest = after
        else:
            before.after = after
        if after is None:
            self._last = before
        else:
            after.before = before
        job.before = job.after = None
        self.count -= 1
