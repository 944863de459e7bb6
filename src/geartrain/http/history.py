"""History: how the server did over the last hours, in bounded memory.

Owns three rings of samples (every second for ten minutes, every ten seconds for three hours, every minute for a day)
and one ring per busy function. A sample costs as much as there are functions; nothing grows with jobs or viewers.
"""

import asyncio
import time
from array import array
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from geartrain.engine.stats import BOUNDS, Histogram
from geartrain.http.snapshot import percentile, text

if TYPE_CHECKING:
    from geartrain.engine.function import Function
    from geartrain.server.server import JobServer

__all__ = ["FIELDS", "FUNCTION_FIELDS", "MAX_FUNCTIONS", "STEPS", "History", "Ring"]

FIELDS: Final = (
    "time", "submitted", "completed", "failed", "waiting", "running", "workers",
    "waited_p50", "waited_p99", "ran_p50", "ran_p99",
)  # fmt: skip
"""What a sample has: seconds since 1970; jobs since the sample before (submitted, completed, failed); what was the
case in that moment (waiting, running, workers); latencies of the jobs since the sample before, in seconds, NaN for
none."""
FUNCTION_FIELDS: Final = ("time", "submitted", "completed", "failed", "waiting", "running")
STEPS: Final[dict[int, int]] = {1: 600, 10: 1080, 60: 1440}
"""Seconds between two samples of a ring, to the number of samples it keeps."""
MAX_FUNCTIONS: Final = 500
"""Functions with a ring of their own: the ones that did something last."""
_FUNCTION_STEP: Final = 10
_FUNCTION_SAMPLES: Final = 360
_NONE: Final = float("nan")


class Ring:
    """A fixed number of rows of numbers; the oldest makes room for the newest."""

    __slots__ = ("_next", "_rows", "_values", "_width")

    def __init__(self, width: int, rows: int) -> None:
        self._width = width
        self._rows = rows
        self._next = 0
        self._values = array("d")

    def add(self, row: tuple[float, ...]) -> None:
        if len(self._values) < self._width * self._rows:
            self._values.extend(row)
        else:
            start = self._next * self._width
            self._values[start : start + self._width] = array("d", row)
        self._next = (self._next + 1) % self._rows

    def newest(self) -> Iterator["array[float]"]:
        """The rows, newest first."""
        width = self._width
        count = len(self._values) // width
        for back in range(1, count + 1):
            start = (self._next - back) % count * width
            yield self._values[start : start + width]

    def columns(self) -> list[list[float | None]]:
        """One list per field, oldest first; None where there was nothing to measure."""
        width = self._width
        values = self._values
        start = self._next * width if len(values) == width * self._rows else 0
        ordered = values[start:] + values[:start]
        return [[None if value != value else value for value in ordered[field::width]] for field in range(width)]


class _Counts:
    """Sums over all functions, to be compared with the ones of a step before."""

    __slots__ = ("completed", "failed", "ran", "ran_sum", "submitted", "waited", "waited_sum")

    def __init__(self, functions: "list[Function]") -> None:
        self.submitted = 0
        self.completed = 0
        self.failed = 0
        self.waited = [0] * (len(BOUNDS) + 1)
        self.waited_sum = 0.0
        self.ran = [0] * (len(BOUNDS) + 1)
        self.ran_sum = 0.0
        for function in functions:
            stats = function.stats
            self.submitted += stats.submitted
            self.completed += stats.completed
            self.failed += _failed(function)
            if stats.waited is not None:
                self.waited = [a + b for a, b in zip(self.waited, stats.waited.counts, strict=True)]
                self.waited_sum += stats.waited.sum
            if stats.ran is not None:
                self.ran = [a + b for a, b in zip(self.ran, stats.ran.counts, strict=True)]
                self.ran_sum += stats.ran.sum


class History:
    """The samples of one server.

    Args:
        server: started.
    """

    def __init__(self, server: "JobServer") -> None:
        self._server = server
        self._rings = {step: Ring(len(FIELDS), rows) for step, rows in STEPS.items()}
        self._functions: dict[bytes, Ring] = {}
        self._function_counts: dict[bytes, tuple[int, int, int]] = {}
        self._seconds = 0
        counts = _Counts(list(server.engine.functions.values()))
        self._counts = dict.fromkeys(STEPS, counts)
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Takes a sample each second from now on, on the running loop."""
        self._loop = asyncio.get_running_loop()
        self._next = self._loop.time() + 1
        self._timer = self._loop.call_at(self._next, self._tick)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _tick(self) -> None:
        self.sample(time.time())
        self._next = max(self._next + 1, self._loop.time())  # after a pause of the machine: no hurry to catch up
        self._timer = self._loop.call_at(self._next, self._tick)

    def sample(self, now: float) -> None:
        """Takes one second's sample.

        Args:
            now: seconds since 1970.
        """
        engine = self._server.engine
        functions = list(engine.functions.values())
        counts = _Counts(functions)
        waiting = sum(sum(function.waiting) for function in functions)
        workers = sum(1 for peer in engine.peers if peer.functions)
        self._seconds += 1
        for step, ring in self._rings.items():
            if self._seconds % step == 0:
                ring.add(_row(now, self._counts[step], counts, waiting, engine.running, workers))
                self._counts[step] = counts
        if self._seconds % _FUNCTION_STEP == 0:
            self._sample_functions(now, functions)

    def _sample_functions(self, now: float, functions: "list[Function]") -> None:
        for function in functions:
            stats = function.stats
            counts = (stats.submitted, stats.completed, _failed(function))
            before = self._function_counts.get(function.name, (0, 0, 0))
            ring = self._functions.get(function.name)
            if ring is None:
                if counts == before and not function.total:
                    continue
                ring = self._functions[function.name] = Ring(len(FUNCTION_FIELDS), _FUNCTION_SAMPLES)
            elif counts != before:  # the quiet ones drift to the front, and make room first
                self._functions[function.name] = self._functions.pop(function.name)
            self._function_counts[function.name] = counts
            deltas = [float(new - old) for new, old in zip(counts, before, strict=True)]
            ring.add((now, *deltas, float(sum(function.waiting)), float(function.running)))
        while len(self._functions) > MAX_FUNCTIONS:
            name = next(iter(self._functions))
            del self._functions[name], self._function_counts[name]

    def series(self, step: int) -> dict[str, Any]:
        """One ring's samples, for JSON.

        Args:
            step: one of `STEPS`.
        """
        columns = self._rings[step].columns()
        return {"step": step, **dict(zip(FIELDS, columns, strict=True))}

    def since(self, time: float) -> list[list[float | None]]:
        """The samples of each second after a time (seconds since 1970), oldest first, in the order of `FIELDS`."""
        rows: list[list[float | None]] = []
        for row in self._rings[1].newest():
            if row[0] <= time:
                break
            rows.append([None if value != value else value for value in row])
        return rows[::-1]

    def function_series(self, name: bytes) -> dict[str, Any] | None:
        """One function's samples, for JSON; None where it did nothing of late."""
        ring = self._functions.get(name)
        if ring is None:
            return None
        columns = ring.columns()
        return {"step": _FUNCTION_STEP, "function": text(name), **dict(zip(FUNCTION_FIELDS, columns, strict=True))}


def _failed(function: "Function") -> int:
    stats = function.stats
    return stats.failed + stats.exceptions + stats.exhausted


def _row(now: float, before: _Counts, counts: _Counts, waiting: int, running: int, workers: int) -> tuple[float, ...]:
    waited = _between(before.waited, counts.waited, counts.waited_sum - before.waited_sum)
    ran = _between(before.ran, counts.ran, counts.ran_sum - before.ran_sum)
    return (
        now,
        max(counts.submitted - before.submitted, 0),  # a function that was dropped took its counters along
        max(counts.completed - before.completed, 0),
        max(counts.failed - before.failed, 0),
        waiting,
        running,
        workers,
        *(_NONE if value is None else value for value in (percentile(waited, 0.5), percentile(waited, 0.99))),
        *(_NONE if value is None else value for value in (percentile(ran, 0.5), percentile(ran, 0.99))),
    )


def _between(before: list[int], after: list[int], seconds: float) -> Histogram:
    histogram = Histogram()
    histogram.counts = [max(new - old, 0) for old, new in zip(before, after, strict=True)]
    histogram.sum = seconds
    return histogram
