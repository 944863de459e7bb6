"""The rows: every shape of load, how large it is, and what it must reach. One table.

Owns names, sizes and targets. How a kind of row is run is in loads.py and libraries.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from benchmarks.samples import BEST, FLOOR, ITSELF, SHIPPED, Target

__all__ = ["LIBRARIES", "ROWS", "Row"]

Shape = Mapping[str, int | str | bool]
_SERVERS: Final = (
    "gearmand-t4",
    "pure",
    "gearmand-t0",
    "compiled",
    "gearmand-t1",
    "pure-uvloop",
    "floor",
    "compiled-uvloop",
)
_NO_FLOOR: Final = tuple(name for name in _SERVERS if name != "floor")
_HTTP: Final = tuple(name for name in _NO_FLOOR if name != "gearmand-t0")
"""Without its threads gearmand's HTTP plugin stalls: twenty requests a second."""
_SLOW: Final = ("gearmand-t4", "pure", "gearmand-t1", "compiled")
_OURS: Final = ("pure", "compiled")
LIBRARIES: Final = ("php", "sync", "gear", "asyncio", "pygearman")


@dataclass(frozen=True)
class Row:
    """One row of the tables.

    Attributes:
        name: for --row.
        title: for people.
        kind: how it is run, a key of `bench.KINDS`.
        jobs: how many at full size.
        shape: options of the load driver.
        targets: what it must reach.
        variants: what is compared, in the order of a round; ours stands between others, so that a drift of the
            machine meets all alike.
        slow_jobs: fewer jobs for gearmand, and for PyPI's gear, where they are slower by a hundred; 0 for as many.
        most_rounds: a bound for rows that take long.
    """

    name: str
    title: str
    kind: str
    jobs: int
    shape: Shape
    targets: tuple[Target, ...] = ()
    variants: tuple[str, ...] = _SERVERS
    slow_jobs: int = 0
    most_rounds: int = field(default=99)


def _shape(**options: int | str | bool) -> Shape:
    return MappingProxyType(options)


def _table(pure: float, compiled: float, rate: float, floor: float = 0) -> tuple[Target, ...]:
    """The three columns of the first table, and the distance to the limit."""
    found = (
        Target("pure", "cpu_us", SHIPPED, pure),
        Target("compiled", "cpu_us", BEST, compiled),
        Target("compiled", "jobs_per_second", BEST, rate, at_least=True),
    )
    return (*found, Target("compiled", "cpu_us", FLOOR, floor)) if floor else found


def _durable(rate: float, cpu: float) -> tuple[Target, ...]:
    return tuple(
        target
        for variant in _OURS
        for target in (
            Target(variant, "jobs_per_second", SHIPPED, rate, at_least=True),
            Target(variant, "cpu_us", SHIPPED, cpu),
        )
    )


def _each(figure: str, against: str, bound: float, at_least: bool = False) -> tuple[Target, ...]:
    return tuple(Target(variant, figure, against, bound, at_least) for variant in _OURS)


_LIBRARY: Final = tuple(
    target
    for shell in ("sync", "asyncio")
    for target in (
        Target(shell, "cpu_us", "php", 1.0),
        Target(shell, "jobs_per_second", "gear", 5.0, at_least=True),
    )
)
_FG: Final = "fg"
_TEN: Final = _shape(mode=_FG, clients=10, window=20, workers=10)
_FIFTY: Final[Shape] = {"mode": _FG, "clients": 50, "window": 4, "workers": 50, "functions": 10}
_ONE: Final = _shape(mode=_FG, clients=1, window=1, workers=1)

# ruff: noqa: E501 - a table: one row, one line
# fmt: off
_ALL: Final = (
    Row("one", "round trip, one at a time", "load", 20_000, _ONE, _table(0.7, 1.0, 1.0, 1.5)),
    Row("all-yours", "the same with a worker of ours (ALL_YOURS)", "load", 20_000, _ONE, _table(0.5, 0.7, 1.4, 1.5)),
    Row("window", "round trip, 1 client with 100 in flight, 1 worker", "load", 80_000, _shape(mode=_FG, clients=1, window=100, workers=1), _table(0.7, 1.1, 1.0, 1.5)),
    Row("ten", "round trip, 10 clients x 20 in flight, 10 workers", "load", 150_000, _TEN, _table(0.55, 0.8, 1.25, 1.5)),
    Row("fifty", "round trip, 50 clients x 4, 50 workers, 10 functions", "load", 100_000, _FIFTY, _table(0.6, 1.0, 1.1, 1.5)),
    Row("16k", "the same shape, 16 KiB workloads", "load", 50_000, {**_FIFTY, "size": 16 << 10}, _table(0.4, 0.55, 1.6, 1.5)),
    Row("1m", "the same shape, 1 MiB workloads", "load", 1_500, {**_FIFTY, "size": 1 << 20}, _table(0.7, 1.0, 1.0, 1.5)),
    Row("echo", "echo, 4 connections, 50 in flight", "load", 1_000_000, _shape(mode="echo", clients=4, window=50), _table(0.8, 1.3, 0.8)),
    Row("submit", "background submit, 4 x 100 in flight", "load", 400_000, _shape(mode="bg", clients=4, window=100), _table(0.9, 1.3, 0.8)),
    Row("submit-fifty", "background submit, 50 connections x 1", "load", 150_000, _shape(mode="bg", clients=50, window=1), _table(0.8, 1.0, 1.0)),
    Row("drain", "drain 300,000 jobs, 8 workers", "drain", 300_000, _shape(mode="drain", workers=8), _table(0.22, 0.25, 3.5)),
    Row("functions", "1,000 functions x 200 workers (registration, then round trips of 20 clients)", "register", 20_000, _shape(mode=_FG, clients=20, window=1, workers=200, functions=1000), _table(0.3, 0.4, 2)),
    Row("idle", "10,000 idle connections, then one job each way", "idle", 10_000, {"mode": _FG, "clients": 9_900, "window": 1, "total-window": 100, "workers": 10},
        (*_table(0.8, 1.0, 1.0), *_each("connection_bytes", SHIPPED, 1.0))),
    Row("tls", "TLS round trips, 10 x 20 (gearmand behind stunnel: Debian builds it without TLS)", "tls", 60_000, _TEN, _table(0.8, 1.0, 1.0), _NO_FLOOR),

    Row("durable", "durable submit on SQLite, 4 x 1000 in flight", "durable", 200_000, _shape(mode="bg", clients=4, window=1000, unique=True), _durable(100, 0.02), _SLOW, slow_jobs=2_000),
    Row("durable-one", "durable submit on SQLite, one at a time", "durable", 1_500, _shape(mode="bg", clients=1, window=1, unique=True), _durable(2, 0.6), _SLOW),
    Row("durable-round", "durable round (submit, run, finish), 10 workers", "durable", 100_000, _shape(mode="round", clients=4, window=100, workers=10, unique=True), _durable(20, 0.05), _SLOW, slow_jobs=1_500),
    Row("memory", "a million queued jobs of 100 bytes", "memory", 1_000_000, _shape(mode="bg", clients=4, window=100, size=100), _each("job_bytes", SHIPPED, 0.5), _SLOW, most_rounds=3),
    Row("replay", "replay of a million durable jobs at start", "replay", 1_000_000, _shape(size=100), _each("seconds", SHIPPED, 0.3), _SLOW, most_rounds=3),
    Row("http", "HTTP gateway, 50 clients", "http", 30_000, _shape(clients=50, workers=10), _each("jobs_per_second", SHIPPED, 3, at_least=True), _HTTP),

    Row("client-one", "clients, one job at a time", "client", 10_000, _shape(window=1), _LIBRARY, LIBRARIES),
    Row("client-many", "clients, 1,000 jobs at once", "client", 20_000, _shape(window=1000), _LIBRARY, LIBRARIES),
    Row("worker-one", "workers, one job at a time", "worker", 10_000, _shape(window=1), _LIBRARY, LIBRARIES, slow_jobs=100),
    Row("worker-many", "workers, 100 jobs waiting", "worker", 20_000, _shape(window=100), _LIBRARY, LIBRARIES, slow_jobs=100),
    Row("pair-one", "a library's client and worker, one job at a time", "pair", 10_000, _shape(window=1), _LIBRARY, LIBRARIES, slow_jobs=100),
    Row("pair-many", "a library's client and worker, 100 jobs at once", "pair", 20_000, _shape(window=100), _LIBRARY, LIBRARIES, slow_jobs=100),

    Row("flat-functions", "jobs/s at 10, 1,000 and 100,000 functions", "flat-functions", 50_000, _TEN, _each("flatness", ITSELF, 0.8, at_least=True), _OURS, most_rounds=5),
    Row("flat-queue", "jobs/s over 1,000 and 1,000,000 queued jobs", "flat-queue", 100_000, _shape(mode="steady", clients=4, window=20, workers=8), _each("flatness", ITSELF, 0.8, at_least=True), _OURS, most_rounds=5),
)
# fmt: on
ROWS: Final = {row.name: row for row in _ALL}
