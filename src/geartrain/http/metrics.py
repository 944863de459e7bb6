"""Metrics: the engine's counters as Prometheus reads them.

Owns the metrics' names, and how many functions get series of their own. The counters are read when Prometheus asks:
nothing is counted for it on a job's way. They are copied on the event loop and written as text in a thread, since
thousands of lines take a while.

Names without `_total` and with `gearman_jobs` are those of gearman-exporter, that dashboards know.
"""

import asyncio
from collections.abc import Iterable, Iterator
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from prometheus_client import GC_COLLECTOR, PLATFORM_COLLECTOR, PROCESS_COLLECTOR, CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from geartrain.engine.stats import BOUNDS, Histogram
from geartrain.http.api import unready
from geartrain.http.rows import text

if TYPE_CHECKING:
    from geartrain.engine.function import Function
    from geartrain.http.hub import HttpHub
    from geartrain.server.server import JobServer

__all__ = ["Metrics"]

MAX_FUNCTIONS: Final = 2000
"""Functions with series of their own: the busiest. The others are one, so that a scrape stays bounded."""
MAX_HISTOGRAMS: Final = 200
OTHERS: Final = "(others)"
_PRIORITIES: Final = ("high", "normal", "low")
_COUNTERS: Final = {
    "submitted": "Jobs that were made.",
    "joined": "Submissions that joined a live job by its unique.",
    "started": "How often a worker got a job.",
    "completed": "Jobs that were completed.",
    "failed": "Jobs that failed, by the worker's word.",
    "exceptions": "Jobs that ended with an exception.",
    "requeued": "Jobs that came back from a worker that left or took too long.",
    "timeouts": "Jobs that took longer than their worker allowed.",
    "exhausted": "Jobs given up after the allowed attempts.",
    "cancelled": "Jobs cancelled or dropped before their end.",
    "refused": "Submissions refused: the queue was full, or the store did not take them.",
}
_CODES: Final = (
    b"ARGUMENT_TOO_LARGE",
    b"JOB_NOT_FOUND",
    b"QUEUE_ERROR",
    b"UNKNOWN_OPTION",
)
_STATUSES: Final = (200, 400, 401, 403, 404, 500, 502, 503, 504)
"""Codes and statuses that are there from the start. Prometheus sees no increase in a series that begins with a 1, so
the first error would stay unseen."""
_BOUNDS: Final = [*(repr(bound) for bound in BOUNDS), "+Inf"]


class _Row:
    """The numbers of one function, or of several together."""

    __slots__ = ("counters", "delayed", "name", "oldest", "ran", "running", "total", "waited", "waiting", "workers")

    def __init__(self, name: str) -> None:
        self.name = name
        self.total = self.running = self.delayed = self.workers = 0
        self.waiting = [0, 0, 0]
        self.oldest = 0.0
        self.counters = dict.fromkeys(_COUNTERS, 0)
        self.waited: tuple[list[int], float] | None = None
        self.ran: tuple[list[int], float] | None = None

    def add(self, function: "Function", now: float) -> None:
        stats = function.stats
        waiting = sum(function.waiting)
        self.total += function.total
        self.running += function.running
        self.delayed += function.total - function.running - waiting
        self.workers += function.workers
        self.waiting = [a + b for a, b in zip(self.waiting, function.waiting, strict=True)]
        oldest = function.oldest() if waiting else None
        if oldest is not None:
            self.oldest = max(self.oldest, now - oldest.submitted)
        for name in _COUNTERS:
            self.counters[name] += getattr(stats, name)

    def add_times(self, function: "Function") -> None:
        self.waited = _sum(self.waited, function.stats.waited)
        self.ran = _sum(self.ran, function.stats.ran)


def _sum(before: tuple[list[int], float] | None, histogram: Histogram | None) -> tuple[list[int], float] | None:
    if histogram is None:
        return before
    if before is None:
        return list(histogram.counts), histogram.sum
    return [a + b for a, b in zip(before[0], histogram.counts, strict=True)], before[1] + histogram.sum


class _Copy(Collector):
    """Everything at one moment. Made on the loop, read in a thread."""

    def __init__(self, server: "JobServer", hub: "HttpHub | None") -> None:
        engine = server.engine
        stats = engine.stats
        now = monotonic()
        by_load = sorted(engine.functions.values(), key=lambda f: f.stats.submitted + f.total, reverse=True)
        self._rows: list[_Row] = []
        self._times: list[_Row] = []
        others, other_times = _Row(OTHERS), _Row(OTHERS)
        for place, function in enumerate(by_load):
            row = others
            if place < MAX_FUNCTIONS:
                row = _Row(text(function.name))
                self._rows.append(row)
            row.add(function, now)
            times = row if place < MAX_HISTOGRAMS else other_times
            if place < MAX_HISTOGRAMS:
                self._times.append(row)
            times.add_times(function)
        if len(by_load) > MAX_FUNCTIONS:
            self._rows.append(others)
        if len(by_load) > MAX_HISTOGRAMS:
            self._times.append(other_times)
        self._version = text(engine.about.version)
        self._errors = {code.decode(): count for code, count in (dict.fromkeys(_CODES, 0) | stats.errors).items()}
        journal = engine.journal
        self._gauges = {
            "gearman_up": ("Whether the server serves.", 1),
            "gearman_ready": (
                "Whether the server takes jobs: all stored ones are loaded, and the durable queue works.",
                int(not unready(server)),
            ),
            "gearman_connections": ("Open connections, HTTP among them.", len(engine.peers)),
            "gearman_functions": ("Functions the server knows.", len(engine.functions)),
            "gearman_uptime_seconds": ("Since the start.", now - server.started),
            "gearman_store_up": ("Whether the durable queue takes jobs.", int(not server.store_down)),
            "gearman_store_unsettled": ("Changes not committed yet.", journal.unsettled if journal else 0),
        }
        self._counters = {
            "gearman_connections_accepted": ("Connections accepted.", stats.connections),
            "gearman_received_bytes": ("Bytes that came.", stats.bytes_in),
            "gearman_sent_bytes": ("Bytes that were sent.", stats.bytes_out),
            "gearman_store_commits": ("Batches committed.", stats.commits),
            "gearman_store_committed_jobs": ("Jobs written to the durable queue.", stats.committed_jobs),
            "gearman_store_commit_failures": ("Tries to commit that failed.", stats.commit_failures),
        }
        self._commit = list(stats.commit_seconds.counts), stats.commit_seconds.sum
        self._batches = list(stats.batch_sizes)
        self._requests = {} if hub is None else dict.fromkeys(_STATUSES, 0) | hub.requests

    def collect(self) -> Iterator[Metric]:
        yield InfoMetricFamily("gearman_version", "The server's version.", {"version": self._version})
        for name, (help_text, value) in self._gauges.items():
            yield GaugeMetricFamily(name, help_text, value)
        for name, (help_text, value) in self._counters.items():
            yield CounterMetricFamily(name, help_text, value)
        yield _labelled(CounterMetricFamily("gearman_errors", "ERROR packets sent.", labels=["code"]), self._errors)
        yield _labelled(
            CounterMetricFamily("gearman_http_requests", "HTTP requests answered.", labels=["status"]), self._requests
        )
        yield from self._functions()
        yield from self._histograms()

    def _functions(self) -> Iterator[Metric]:
        rows = self._rows
        for name, help_text, values in (
            ("gearman_jobs", "Jobs: waiting, running and delayed.", [(row.name, row.total) for row in rows]),
            ("gearman_jobs_running", "Jobs that workers have.", [(row.name, row.running) for row in rows]),
            ("gearman_jobs_waiting", "Jobs without a worker.", [(row.name, row.total - row.running) for row in rows]),
            (
                "gearman_jobs_delayed",
                "Of the waiting jobs, those for later.",
                [(row.name, row.delayed) for row in rows],
            ),
            ("gearman_workers", "Workers that can do the function.", [(row.name, row.workers) for row in rows]),
            ("gearman_oldest_job_seconds", "How long the oldest job waits.", [(row.name, row.oldest) for row in rows]),
        ):
            yield _labelled(GaugeMetricFamily(name, help_text, labels=["function"]), dict(values))
        ready = GaugeMetricFamily(
            "gearman_jobs_ready", "Jobs that a worker could take, by priority.", labels=["function", "priority"]
        )
        for row in rows:
            for priority, count in zip(_PRIORITIES, row.waiting, strict=True):
                ready.add_metric([row.name, priority], count)
        yield ready
        for counter, help_text in _COUNTERS.items():
            name = f"gearman_jobs_{counter}"
            values = [(row.name, row.counters[counter]) for row in rows]
            yield _labelled(CounterMetricFamily(name, help_text, labels=["function"]), dict(values))

    def _histograms(self) -> Iterator[Metric]:
        waited = HistogramMetricFamily(
            "gearman_job_wait_seconds", "From submission to the worker.", labels=["function"]
        )
        ran = HistogramMetricFamily("gearman_job_run_seconds", "From the worker to the end.", labels=["function"])
        for row in self._times:
            if row.waited is not None:
                waited.add_metric([row.name], _buckets(_BOUNDS, row.waited[0]), row.waited[1])
            if row.ran is not None:
                ran.add_metric([row.name], _buckets(_BOUNDS, row.ran[0]), row.ran[1])
        yield waited
        yield ran
        commit = HistogramMetricFamily("gearman_store_commit_seconds", "Time of one commit.")
        commit.add_metric([], _buckets(_BOUNDS, self._commit[0]), self._commit[1])
        yield commit
        batches = HistogramMetricFamily("gearman_store_batch_size", "Jobs added and removed by one commit.")
        bounds = [*(f"{1 << power}.0" for power in range(len(self._batches) - 1)), "+Inf"]
        # The sizes themselves are not kept: the sum is what their buckets' upper bounds add up to at most.
        batches.add_metric([], _buckets(bounds, self._batches), None)
        yield batches


def _labelled(metric: Any, values: Any) -> Metric:
    for label, value in values.items():
        metric.add_metric([str(label)], value)
    family: Metric = metric
    return family


def _buckets(bounds: Iterable[str], counts: Iterable[int]) -> list[tuple[str, float]]:
    """Prometheus counts in each bucket what is in the smaller ones too."""
    total = 0
    buckets: list[tuple[str, float]] = []
    for bound, count in zip(bounds, counts, strict=True):
        total += count
        buckets.append((bound, total))
    return buckets


class Metrics:
    """What Prometheus gets.

    Args:
        server: whose counters.
        hub: counts HTTP's answers; set once it is there.
    """

    def __init__(self, server: "JobServer") -> None:
        self._server = server
        self.hub: HttpHub | None = None

    async def render(self, accept: str) -> tuple[bytes, str]:
        """The text and its content type, in the form that Accept asks for."""
        copy = _Copy(self._server, self.hub)
        return await asyncio.get_running_loop().run_in_executor(None, _render, copy, accept)


def _render(copy: _Copy, accept: str) -> tuple[bytes, str]:
    registry = CollectorRegistry(auto_describe=False)
    for collector in (copy, PROCESS_COLLECTOR, PLATFORM_COLLECTOR, GC_COLLECTOR):
        registry.register(collector)
    encoder, kind = choose_encoder(accept)
    return encoder(registry), kind
