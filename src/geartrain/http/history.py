"""History: how the server did over the last hours, in bounded memory.

Owns three rings of samples (every second for ten minutes, every ten seconds for three hours, every minute for a day)
and one ring per busy function. A sample is taken in slices: it costs as much as there are functions, and stops nobody
for long. Nothing grows with jobs or viewers.
"""

import asyncio
import time
from array import array
from collections.abc import Iterator, Sequence
from operator import add, attrgetter, sub
from typing import TYPE_CHECKING, Any, Final

from geartrain.engine.stats import BOUNDS, FunctionStats, Histogram
from geartrain.http.percentile import percentile
from geartrain.http.rows import sliced, text

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
"""Functions with a ring of their own: of those that did something last."""
_FUNCTION_STEP: Final = 10
_FUNCTION_SAMPLES: Final = 360
_NONE: Final = float("nan")
_counts_of = attrgetter("submitted", "completed", "failed", "exceptions", "exhausted", "started")
"""With each duration that is added to a histogram, one of these grows."""
_NEVER: Final = (0,) * 6
_FLAT: Final = len(BOUNDS) + 2
"""Numbers of a histogram: its buckets, and the sum."""
_NO_TIMES: Final = (0,) * (2 * _FLAT)


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


class _Sums:
    """What happened on the whole server: grows by what each function's counters grew since the look before.

    Only functions whose counters moved are looked at closely. One that was dropped took its counters along, and what
    they counted stays in these sums; one that was made again begins at nought, with stats of its own.

    Attributes:
        counts: of all functions, in the order of `_counts_of`.
        times: the buckets and the sum of `waited`, then those of `ran`.
    """

    __slots__ = ("_counts", "_times", "counts", "times")

    def __init__(self) -> None:
        self.counts: tuple[int, ...] = _NEVER
        self.times: tuple[float, ...] = _NO_TIMES
        self._counts: dict[FunctionStats, tuple[int, ...]] = {}
        self._times: dict[FunctionStats, tuple[float, ...]] = {}

    def look(self, functions: "Sequence[Function]") -> "list[tuple[Function, tuple[int, ...]]]":
        """Adds what happened to these functions. Returns those that moved, with their counts before."""
        before = self._counts
        every = [function.stats for function in functions]
        moved = []
        for function, stats, counts in zip(functions, every, map(_counts_of, every), strict=True):
            known = before.get(stats, _NEVER)
            if known != counts:
                moved.append((function, known))
                before[stats] = counts
                self.counts = tuple(map(add, self.counts, map(sub, counts, known)))
                times = (*_flat(stats.waited), *_flat(stats.ran))
                self.times = tuple(map(add, self.times, map(sub, times, self._times.get(stats, _NO_TIMES))))
                self._times[stats] = times
        return moved

    def forget(self, functions: "list[Function]") -> None:
        """Given all functions, forgets those that are gone."""
        if len(self._counts) > len(functions):
            for stats in self._counts.keys() - {function.stats for function in functions}:
                del self._counts[stats]
                self._times.pop(stats, None)


class History:
    """The samples of one server.

    Args:
        server: started.
    """

    def __init__(self, server: "JobServer") -> None:
        self._server = server
        self._rings = {step: Ring(len(FIELDS), rows) for step, rows in STEPS.items()}
        self._functions: dict[bytes, Ring] = {}
        self._moved: dict[Function, tuple[int, ...]] = {}  # since the functions' last sample, with their counts then
        self._seconds = 0
        self._sums = _Sums()
        self._sums.look(list(server.engine.functions.values()))
        self._before = dict.fromkeys(STEPS, (self._sums.counts, self._sums.times))
        self._handle: asyncio.Handle | None = None

    def start(self) -> None:
        """Takes a sample each second from now on, on the running loop."""
        self._loop = asyncio.get_running_loop()
        self._next = self._loop.time() + 1
        self._handle = self._loop.call_at(self._next, self._tick)

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()

    def _tick(self) -> None:
        self._go_on(self._steps(time.time()))

    def _go_on(self, steps: Iterator[None]) -> None:
        for _ in steps:  # one of them: then the others on this loop have their turn
            self._handle = self._loop.call_soon(self._go_on, steps)
            return
        self._next = max(self._next + 1, self._loop.time())  # after a pause of the machine: no hurry to catch up
        self._handle = self._loop.call_at(self._next, self._tick)

    def sample(self, now: float) -> None:
        """Takes one second's sample, at once.

        Args:
            now: seconds since 1970.
        """
        for _ in self._steps(now):
            pass

    def _steps(self, now: float) -> Iterator[None]:
        engine = self._server.engine
        functions = list(engine.functions.values())
        waiting = 0
        for some in sliced(functions):
            for function, before in self._sums.look(some):
                self._moved.setdefault(function, before)
            waiting += sum(queue.count for function in some if function.total for queue in function.queues)
            yield
        self._sums.forget(functions)
        counts, times = self._sums.counts, self._sums.times
        workers = sum(1 for peer in engine.peers if peer.functions)
        self._seconds += 1
        for step, ring in self._rings.items():
            if self._seconds % step == 0:
                happened = _less(counts, self._before[step][0]), _less(times, self._before[step][1])
                ring.add(_row(now, *happened, waiting, engine.running, workers))
                self._before[step] = (counts, times)
        if self._seconds % _FUNCTION_STEP == 0:
            self._sample_functions(now)

    def _sample_functions(self, now: float) -> None:
        functions = self._server.engine.functions
        moved = {function.name: before for function, before in self._moved.items()}
        self._moved = {}
        self._make_room(moved)
        for name, ring in self._functions.items():
            function = functions.get(name)
            if function is not None:
                counts = _counts_of(function.stats)
                submitted, completed, *failed, _ = _less(counts, moved.get(name, counts))
                ring.add((now, submitted, completed, sum(failed), sum(function.waiting), function.running))

    def _make_room(self, moved: dict[bytes, tuple[int, ...]]) -> None:
        """Gives rings to those that did something; the quiet ones drift to the front, and go first."""
        rings = self._functions
        busy = [name for name in moved if name in rings]
        for name in busy:
            rings[name] = rings.pop(name)
        for name in [name for name in moved if name not in rings][: MAX_FUNCTIONS - len(busy)]:
            if len(rings) == MAX_FUNCTIONS:
                del rings[next(iter(rings))]
            rings[name] = Ring(len(FUNCTION_FIELDS), _FUNCTION_SAMPLES)

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


def _row(
    now: float, counts: list[float], times: list[float], waiting: int, running: int, workers: int
) -> tuple[float, ...]:
    submitted, completed, *failed, _ = counts
    waited, ran = (_histogram(times[:_FLAT]), _histogram(times[_FLAT:]))
    latencies = [percentile(histogram, share) for histogram in (waited, ran) for share in (0.5, 0.99)]
    return (
        now, submitted, completed, sum(failed), waiting, running, workers,
        *(_NONE if value is None else value for value in latencies),
    )  # fmt: skip


def _less(after: tuple[float, ...], before: tuple[float, ...]) -> list[float]:
    return list(map(sub, after, before))


def _flat(histogram: Histogram | None) -> tuple[float, ...]:
    return (0,) * _FLAT if histogram is None else (*histogram.counts, histogram.sum)


def _histogram(flat: list[float]) -> Histogram:
    histogram = Histogram()
    *counts, histogram.sum = flat
    histogram.counts = list(map(int, counts))
    return histogram
