"""Counters: what happened since the start. Read by metrics, dashboard and `geartrain top`; the engine only adds.

Owns the histograms' bounds. A counter never goes down.
"""

from math import inf
from typing import Final

__all__ = ["BOUNDS", "FunctionStats", "Histogram", "ServerStats"]

BOUNDS: Final[tuple[float, ...]] = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0,
)  # fmt: skip
"""Upper bounds of the histograms' buckets in seconds; one more bucket takes what is above."""
_BOUNDS: Final = (*BOUNDS, inf)


class Histogram:
    """Durations in seconds, counted in buckets.

    Attributes:
        counts: one number per bucket of `BOUNDS`, and one for what is above the last.
        sum: all durations together, in seconds.
    """

    __slots__ = ("_above", "_bucket", "_most", "counts", "sum")

    def __init__(self) -> None:
        self.counts: list[int] = [0] * (len(BOUNDS) + 1)
        self.sum: float = 0.0
        self._bucket: int = 0  # the last one, and its bounds: most durations fall where the one before fell
        self._above: float = -inf
        self._most: float = BOUNDS[0]

    def add(self, seconds: float) -> None:
        if seconds > self._most or seconds <= self._above:
            self._find(seconds)
        counts = self.counts
        bucket = self._bucket
        counts[bucket] = counts[bucket] + 1  # compiled, += on an item is slow
        self.sum += seconds

    def _find(self, seconds: float) -> None:
        above = -inf
        for bucket, bound in enumerate(_BOUNDS):  # compiled, a fifth of what bisect costs
            if seconds <= bound:
                self._bucket = bucket
                self._above = above
                self._most = bound
                return
            above = bound

    @property
    def count(self) -> int:
        return sum(self.counts)


class FunctionStats:
    """What happened to the jobs of one function.

    Attributes:
        submitted: jobs that were made (a submission that joined another's job counts as `joined`).
        joined: submissions that joined a live job by its unique.
        started: how often a worker got a job.
        completed, failed, exceptions: how jobs ended, by the worker's word.
        requeued: jobs that came back from a worker that left or took too long.
        timeouts: how many of those took too long.
        exhausted: jobs given up after the allowed attempts.
        cancelled: jobs cancelled or dropped before their end.
        refused: submissions refused because a limit was reached or the store did not take them.
        waited: time from submission to the worker, in seconds; None before the first: many functions have none.
        ran: time from the worker to the end, in seconds; None before the first.
    """

    __slots__ = (
        "cancelled",
        "completed",
        "exceptions",
        "exhausted",
        "failed",
        "joined",
        "ran",
        "refused",
        "requeued",
        "started",
        "submitted",
        "timeouts",
        "waited",
    )

    def __init__(self) -> None:
        self.submitted: int = 0  # what each job changes stands together in memory, in the compiled build
        self.started: int = 0
        self.completed: int = 0
        self.waited: Histogram | None = None
        self.ran: Histogram | None = None
        self.joined: int = 0
        self.failed: int = 0
        self.exceptions: int = 0
        self.requeued: int = 0
        self.timeouts: int = 0
        self.exhausted: int = 0
        self.cancelled: int = 0
        self.refused: int = 0

    def first_waited(self) -> Histogram:
        """Makes `waited`."""
        self.waited = waited = Histogram()
        return waited

    def first_ran(self) -> Histogram:
        """Makes `ran`."""
        self.ran = ran = Histogram()
        return ran


class ServerStats:
    """What happened on the whole server, beside the functions' own counters.

    Attributes:
        connections: connections accepted.
        errors: ERROR packets sent, by code.
        bytes_in, bytes_out: counted by the shell.
        commits, committed_jobs, commit_seconds, commit_failures: counted by the shell's committer.
        batch_sizes: adds and dones per committed batch, counted in powers of two: index 3 is 5 to 8.
    """

    __slots__ = (
        "batch_sizes",
        "bytes_in",
        "bytes_out",
        "commit_failures",
        "commit_seconds",
        "commits",
        "committed_jobs",
        "connections",
        "errors",
    )

    def __init__(self) -> None:
        self.connections: int = 0
        self.errors: dict[bytes, int] = {}
        self.bytes_in: int = 0
        self.bytes_out: int = 0
        self.commits: int = 0
        self.committed_jobs: int = 0
        self.commit_failures: int = 0
        self.commit_seconds: Histogram = Histogram()
        self.batch_sizes: list[int] = [0] * 24
