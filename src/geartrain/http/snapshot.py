"""Snapshot: what the server looks like at this moment, as plain data for JSON.

Owns the names and units of what the dashboard, the API and `geartrain top` show. Costs as much as there are functions,
connections and running jobs; never as much as there are queued jobs. Changes nothing.
"""

import time
from time import monotonic
from typing import TYPE_CHECKING, Any

import geartrain
from geartrain.engine.stats import BOUNDS, Histogram

if TYPE_CHECKING:
    from geartrain.engine.function import Function
    from geartrain.engine.job import Job
    from geartrain.engine.peer import Peer
    from geartrain.server.server import JobServer

__all__ = ["percentile", "snapshot", "text"]

_COUNTERS = (
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


def snapshot(server: "JobServer") -> dict[str, Any]:
    """Everything that changes from second to second.

    Returns:
        ``time`` (seconds since 1970), ``server`` (about the process), ``store``, ``totals`` (over all functions),
        ``functions``, ``workers`` and ``running``: each a plain value or a list of plain mappings. Durations are
        seconds, sizes bytes, counters jobs since the start.
    """
    engine = server.engine
    now = monotonic()
    functions = [_function(function, now) for function in engine.functions.values()]
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

    Within a bucket the durations are taken to lie evenly.
    """
    if histogram is None:
        return None
    wanted = histogram.count * share
    if not wanted:
        return None
    below = 0.0
    for index, count in enumerate(histogram.counts):
        if count and below + count >= wanted:
            low = BOUNDS[index - 1] if index else 0.0
            high = BOUNDS[index] if index < len(BOUNDS) else low * 2
            return low + (high - low) * (wanted - below) / count
        below += count
    return BOUNDS[-1]


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
    return {
        "type": server.config.queue_type,
        "durable": journal is not None,
        "down": server.store_down,
        "unsettled": 0 if journal is None else journal.unsettled,
        "commits": stats.commits,
        "committed_jobs": stats.committed_jobs,
        "commit_failures": stats.commit_failures,
        "commit_p50": percentile(stats.commit_seconds, 0.5),
        "commit_p99": percentile(stats.commit_seconds, 0.99),
    }


def _totals(functions: list[dict[str, Any]], workers: int) -> dict[str, Any]:
    totals: dict[str, Any] = {name: sum(f[name] for f in functions) for name in (*_COUNTERS, "running", "total")}
    totals["waiting"] = sum(sum(f["waiting"]) for f in functions)
    totals["delayed"] = sum(f["delayed"] for f in functions)
    totals["workers"] = workers
    totals["functions"] = len(functions)
    totals["unattended"] = sum(1 for f in functions if f["unattended"])
    return totals


def _function(function: "Function", now: float) -> dict[str, Any]:
    stats = function.stats
    waiting = sum(function.waiting)
    oldest = function.oldest() if waiting else None
    row: dict[str, Any] = {
        "name": text(function.name),
        "waiting": list(function.waiting),
        "running": function.running,
        "delayed": function.total - function.running - waiting,
        "total": function.total,
        "workers": function.workers,
        "unattended": waiting > 0 and function.workers == 0,
        "maxqueue": None if function.limits is None else list(function.limits),
        "oldest": None if oldest is None else now - oldest.submitted,
        "waited_p50": percentile(stats.waited, 0.5),
        "waited_p99": percentile(stats.waited, 0.99),
        "ran_p50": percentile(stats.ran, 0.5),
        "ran_p99": percentile(stats.ran, 0.99),
    }
    for name in _COUNTERS:
        row[name] = getattr(stats, name)
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
