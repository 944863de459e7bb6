"""Rows: functions and workers as the dashboard, the API and `geartrain top` show them.

Owns the names and units of a row, and what tells whether it is still right. A row is written once, and holds until
what it was made of changes: of many functions few do from one second to the next.
"""

import json
from collections.abc import Iterator, Sequence
from itertools import islice
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, TypeVar

from geartrain.http.percentile import percentiles

if TYPE_CHECKING:
    from geartrain.engine.function import Function
    from geartrain.engine.job import Job
    from geartrain.engine.peer import Peer

__all__ = ["COUNTERS", "SUMMED", "Row", "WorkerRow", "encode", "running_job", "see", "see_worker", "sliced", "text"]

_Item = TypeVar("_Item")
_SLICE: Final = 200
"""Functions, or rows, that are looked at before others have their turn: a millisecond or two."""
_NAMES: Final = 20
"""Of a worker's functions that are told."""
COUNTERS: Final = (
    "submitted",
    "joined",
    "started",
    "completed",
    "failed",
    "exceptions",
    "requeued",
    "timeouts",
    "exhausted",
    "cancelled",
    "refused",
)
_counters = attrgetter(*COUNTERS)
SUMMED: Final = ("total", "running", "workers", "high", "normal", "low", "unattended", *COUNTERS)
encode = json.JSONEncoder(separators=(",", ":"), default=str).encode
"""Writes JSON. What is not ASCII is escaped: every name can be written."""


def sliced(items: Sequence[_Item]) -> Iterator[Sequence[_Item]]:
    """Cuts into slices that stop nobody for long."""
    for start in range(0, len(items), _SLICE):
        yield items[start : start + _SLICE]


class Row:
    """One function as a look found it. Never changes: who was shown it knows all, but for the time that went by.

    Args:
        function: as it is now.
        numbers: its numbers, in the order of `SUMMED`.
        since: when the oldest of its waiting jobs was submitted, monotonic; None for none.
    """

    __slots__ = ("_limits", "_stats", "_text", "numbers", "since")

    def __init__(self, function: "Function", numbers: tuple[int, ...], since: float | None) -> None:
        self.numbers = numbers
        self.since = since
        self._limits = function.limits
        self._stats = function.stats
        total, running, workers, high, normal, low, unattended, *counters = numbers
        row: dict[str, Any] = {
            "name": text(function.name),
            "waiting": [high, normal, low],
            "running": running,
            "delayed": total - running - high - normal - low,
            "total": total,
            "workers": workers,
            "unattended": bool(unattended),
            "maxqueue": self._limits,
            **dict(zip(COUNTERS, counters, strict=True)),
        }
        row["waited_p50"], row["waited_p99"] = percentiles(self._stats.waited)
        row["ran_p50"], row["ran_p99"] = percentiles(self._stats.ran)
        self._text = encode(row)[:-1]

    def holds(self, function: "Function", numbers: tuple[int, ...], since: float | None) -> bool:
        """Whether a function is still so. One that was dropped and made again is another, though it has the name."""
        return (
            self.numbers == numbers
            and self.since == since
            and self._stats is function.stats
            and self._limits == function.limits
        )

    def json(self, now: float) -> str:
        """As JSON at a time (monotonic)."""
        age = "null" if self.since is None else f"{now - self.since:.3f}"
        return f'{self._text},"oldest":{age}}}'


class WorkerRow:
    """A connection that can do functions, or has jobs still, as a look found it. Never changes, as a `Row`.

    Args:
        peer: as it is now.
        seen: what `see_worker` says of it.
    """

    __slots__ = ("_connected", "_jobs", "_row", "_seen")

    def __init__(self, peer: "Peer", seen: tuple[Any, ...]) -> None:
        self._seen = seen
        self._connected = peer.connected
        self._jobs = [(job.started, running_job(job, 0.0)) for job in (peer.running or {}).values()]
        self._row = {
            "id": text(peer.client_id),
            "address": text(peer.address),
            "fd": peer.fd,
            "functions": len(peer.functions or ()),
            "names": [text(function.name) for function in islice(peer.functions or (), _NAMES)],
            "sleeping": peer.sleeping,
        }

    def holds(self, seen: tuple[Any, ...]) -> bool:
        """Whether the connection is still so."""
        return self._seen == seen

    def jobs(self, now: float) -> list[dict[str, Any]]:
        """The jobs that it has, at a time (monotonic)."""
        return [{**job, "since": now - started} for started, job in self._jobs]

    def json(self, now: float) -> str:
        """As JSON at a time (monotonic)."""
        return encode({**self._row, "connected": now - self._connected, "jobs": self.jobs(now)})


def see_worker(peer: "Peer") -> tuple[Any, ...]:
    """What tells a worker's row from another."""
    functions = peer.functions or ()
    jobs = [(job.handle, job.started, job.progress, job.attempts) for job in (peer.running or {}).values()]
    names = [function.name for function in islice(functions, _NAMES)]
    return (peer.connected, peer.client_id, peer.sleeping, len(functions), names, jobs)


def running_job(job: "Job", now: float) -> dict[str, Any]:
    """A job that a worker has, with its progress."""
    numerator, denominator = job.progress or (0, 0)
    worker = job.worker
    return {
        "handle": text(job.handle),
        "function": text(job.function.name),
        "unique": text(job.unique),
        "since": now - job.started,
        "attempts": job.attempts,
        "background": job.background,
        "numerator": numerator,
        "denominator": denominator,
        "worker": "" if worker is None else text(worker.client_id),
        "address": "" if worker is None else text(worker.address),
    }


def see(function: "Function") -> tuple[tuple[int, ...], float | None]:
    """A function's numbers, in the order of `SUMMED`, and when the oldest of its waiting jobs was submitted."""
    total = function.total
    workers = function.workers
    counters = _counters(function.stats)
    if not total:
        return (0, 0, workers, 0, 0, 0, 0, *counters), None
    high, normal, low = function.queues
    oldest = [job.submitted for job in (high.oldest, normal.oldest, low.oldest) if job is not None]
    waits = (high.count, normal.count, low.count)
    unattended = int(not workers and any(waits))
    return (total, function.running, workers, *waits, unattended, *counters), min(oldest, default=None)


def text(data: bytes) -> str:
    """Bytes of the wire for people: UTF-8, and what is not, escaped."""
    return data.decode("utf-8", "backslashreplace")
