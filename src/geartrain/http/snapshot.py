"""Snapshot: what the server looks like at this moment, as plain data for JSON.

Owns the names and units of what the dashboard, the API and `geartrain top` show. Costs as much as there are functions,
connections and running jobs; never as much as there are queued jobs. Changes nothing.
"""

import time
from bisect import bisect_left
from itertools import accumulate
from math import inf
from operator import attrgetter, itemgetter
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

import geartrain
from geartrain.engine.stats import BOUNDS, Histogram

if TYPE_CHECKING:
    from geartrain.engine.function import Function
    from geartrain.engine.job import Job
    from geartrain.engine.peer import Peer
    from geartrain.server.server import JobServer

__all__ = ["Cache", "percentile", "snapshot", "text"]

_MOST: Final = 10_000
"""Functions that a cache keeps something of."""
_COUNTERS: Final = (
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
_counters = attrgetter(*_COUNTERS)
_PERCENTILES: Final = ("waited_p50", "waited_p99", "ran_p50", "ran_p99")
_Percentiles = tuple[float | None, float | None, float | None, float | None]


class Cache:
    """What the snapshot before knew of each function that may still be so. Belongs to whoever looks again and again.

    Holds no more than the functions that there were at the last look, and never more than 10,000 of them.
    """

    __slots__ = ("_after", "_before")

    def __init__(self) -> None:
        self._before: dict[bytes, _Known] = {}
        self._after: dict[bytes, _Known] = {}

    def of(self, function: "Function") -> "_Known":
        """What is known of a function: right as of now."""
        known = self._before.get(function.name)
        if known is None:
            known = _Known(text(function.name))
        known.look(function.stats.waited, function.stats.ran)
        if len(self._after) < _MOST:
            self._after[function.name] = known
        return known

    def looked(self) -> None:
        """One look is over: forgets the functions that it did not meet."""
        self._before, self._after = self._after, {}

    def __len__(self) -> int:
        return len(self._before)


class _Known:
    """A function's name as text, and its percentiles.

    Those hold as long as the histograms are the same objects (a function may be dropped and made anew) with as many
    durations in them: a histogram only grows.
    """

    __slots__ = ("name", "percentiles", "ran", "ran_count", "waited", "waited_count")

    def __init__(self, name: str) -> None:
        self.name = name
        self.waited: Histogram | None = None
        self.ran: Histogram | None = None
        self.waited_count = 0
        self.ran_count = 0
        self.percentiles: _Percentiles = (None, None, None, None)

    def look(self, waited: Histogram | None, ran: Histogram | None) -> None:
        a, b, c, d = self.percentiles
        count = 0 if waited is None else sum(waited.counts)
        if waited is not self.waited or count != self.waited_count:
            self.waited, self.waited_count = waited, count
            a, b = _both(waited)
        count = 0 if ran is None else sum(ran.counts)
        if ran is not self.ran or count != self.ran_count:
            self.ran, self.ran_count = ran, count
            c, d = _both(ran)
        self.percentiles = (a, b, c, d)


def snapshot(server: "JobServer", cache: Cache | None = None) -> dict[str, Any]:
    """Everything that changes from second to second.

    Args:
        server: started.
        cache: of the caller who looks again and again; None to work out everything.

    Returns:
        ``time`` (seconds since 1970), ``server`` (about the process), ``store``, ``totals`` (over all functions),
        ``functions``, ``workers`` and ``running``: each a plain value or a list of plain mappings. Durations are
        seconds, sizes bytes, counters jobs since the start.
    """
    engine = server.engine
    now = monotonic()
    cache = Cache() if cache is None else cache
    functions = [_function(function, now, cache.of(function)) for function in engine.functions.values()]
    cache.looked()
    workers = [_worker(peer, now) for peer in engine.peers if peer.functions or peer.running]
    return {
        "time": time.time(),
        "server": _server(server, now),
        "store": _store(server),
        "totals": _totals(functions, len(workers)),
        "functions": functions,
        "workers": workers,
        "running": [job for worker in workers for job in worker["jobs"]],
    }


def text(data: bytes) -> str:
    """Bytes of the wire for people: UTF-8, and what is not, escaped."""
    return data.decode("utf-8", "backslashreplace")


def percentile(histogram: Histogram | None, share: float) -> float | None:
    """A percentile in seconds, as fine as the buckets are: None before the first duration.

    Within a bucket the durations are taken to lie evenly; the highest one reaches as far as their sum allows.
    """
    return None if histogram is None else _percentile(histogram, list(accumulate(histogram.counts)), share)


def _percentile(histogram: Histogram, sums: list[int], share: float) -> float | None:
    wanted = sums[-1] * share
    if not wanted:
        return None
    index = min(bisect_left(sums, wanted), len(BOUNDS))
    count = histogram.counts[index]
    low = BOUNDS[index - 1] if index else 0.0
    high = BOUNDS[index] if index < len(BOUNDS) else inf
    if sums[index] == sums[-1]:
        below = sum(number * bound for number, bound in zip(histogram.counts[1:index], BOUNDS, strict=False))
        mean = (histogram.sum - below) / count
        high = max(min(high, 2 * mean - low), low)
    return low + (high - low) * (wanted - sums[index] + count) / count


def _both(histogram: Histogram | None) -> tuple[float | None, float | None]:
    if histogram is None:
        return None, None
    sums = list(accumulate(histogram.counts))
    return _percentile(histogram, sums, 0.5), _percentile(histogram, sums, 0.99)


def _server(server: "JobServer", now: float) -> dict[str, Any]:
    engine = server.engine
    stats = engine.stats
    return {
        "version": geartrain.__version__,
        "compat": server.config.compat,
        "addresses": server.addresses,
        "uptime": now - server.started,
        "ready": server.ready,
        "replaying": engine.replaying,
        "draining": engine.draining,
        "connections": len(engine.peers),
        "connections_accepted": stats.connections,
        "bytes_in": stats.bytes_in,
        "bytes_out": stats.bytes_out,
        "errors": {code.decode(): count for code, count in stats.errors.items()},
    }


def _store(server: "JobServer") -> dict[str, Any]:
    stats = server.engine.stats
    journal = server.engine.journal
    p50, p99 = _both(stats.commit_seconds)
    return {
        "type": server.config.queue_type,
        "durable": journal is not None,
        "down": server.store_down,
        "unsettled": 0 if journal is None else journal.unsettled,
        "commits": stats.commits,
        "committed_jobs": stats.committed_jobs,
        "commit_failures": stats.commit_failures,
        "commit_p50": p50,
        "commit_p99": p99,
    }


def _totals(functions: list[dict[str, Any]], workers: int) -> dict[str, Any]:
    names = (*_COUNTERS, "running", "total", "delayed", "unattended")
    totals: dict[str, Any] = {name: sum(map(itemgetter(name), functions)) for name in names}
    totals["waiting"] = sum(map(sum, map(itemgetter("waiting"), functions)))
    totals["workers"] = workers
    totals["functions"] = len(functions)
    return totals


def _function(function: "Function", now: float, known: _Known) -> dict[str, Any]:
    high, normal, low = function.waiting
    waiting = high + normal + low
    oldest = function.oldest() if waiting else None
    limits = function.limits
    row: dict[str, Any] = {
        "name": known.name,
        "waiting": [high, normal, low],
        "running": function.running,
        "delayed": function.total - function.running - waiting,
        "total": function.total,
        "workers": function.workers,
        "unattended": waiting > 0 and function.workers == 0,
        "maxqueue": None if limits is None else list(limits),
        "oldest": None if oldest is None else now - oldest.submitted,
    }
    row.update(zip(_PERCENTILES, known.percentiles, strict=True))
    row.update(zip(_COUNTERS, _counters(function.stats), strict=True))
    return row


def _worker(peer: "Peer", now: float) -> dict[str, Any]:
    jobs = [] if peer.running is None else [running_job(job, now) for job in peer.running.values()]
    return {
        "id": text(peer.client_id),
        "address": text(peer.address),
        "fd": peer.fd,
        "connected": now - peer.connected,
        "functions": len(peer.functions or ()),
        "names": [text(function.name) for function in list(peer.functions or ())[:20]],
        "sleeping": peer.sleeping,
        "jobs": jobs,
    }


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
