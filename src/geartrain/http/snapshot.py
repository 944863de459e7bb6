"""Snapshot: what the server looks like at this moment, as JSON.

Owns the looking, in slices between which the server serves others, and what does not belong to one function or worker.
Costs as much as there are functions, connections and running jobs; never as much as there are queued jobs. Changes
nothing.
"""

import asyncio
import time
from collections.abc import Iterable
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import geartrain
from geartrain.http.percentile import percentiles
from geartrain.http.rows import COUNTERS, SUMMED, Row, WorkerRow, encode, see, see_worker, sliced

if TYPE_CHECKING:
    from geartrain.server.server import JobServer

__all__ = ["Look", "Looks", "snapshot", "write"]

_KEPT: Final = 30.0
"""Seconds that rows are kept without a look."""


class Look(NamedTuple):
    """What one look found.

    Attributes:
        now: when it was over, monotonic.
        state: ``time`` (seconds since 1970), ``server`` (about the process), ``store`` and ``totals`` (over all
            functions). Durations are seconds, sizes bytes, counters jobs since the start.
        functions: by name.
        workers: by their connection's descriptor.
    """

    now: float
    state: dict[str, Any]
    functions: dict[bytes, Row]
    workers: dict[int, WorkerRow]


class Looks:
    """Looks at one server, for all who want to see it. A row that still holds is the same object at the next look.

    Args:
        server: started.
    """

    def __init__(self, server: "JobServer") -> None:
        self._server = server
        self._functions: dict[bytes, Row] = {}
        self._workers: dict[int, WorkerRow] = {}
        self._turn = asyncio.Lock()
        self._forgetting: asyncio.TimerHandle | None = None

    async def look(self) -> Look:
        """Everything that changes from second to second. Each row is right as of a moment during the look."""
        async with self._turn:
            totals = await self._look_at_functions()
            await self._look_at_workers()
            totals["workers"] = len(self._workers)
            now = monotonic()
            state = {
                "time": time.time(),
                "server": _server(self._server, now),
                "store": _store(self._server),
                "totals": totals,
            }
            if self._forgetting is not None:
                self._forgetting.cancel()
            self._forgetting = asyncio.get_running_loop().call_later(_KEPT, self.forget)
            return Look(now, state, self._functions, self._workers)

    async def _look_at_functions(self) -> dict[str, int]:
        before, after = self._functions, {}
        sums: Iterable[int] = (0,) * len(SUMMED)
        for functions in sliced(list(self._server.engine.functions.values())):
            columns = [sums]
            for function in functions:
                numbers, since = see(function)
                row = before.get(function.name)
                if row is None or not row.holds(function, numbers, since):
                    row = Row(function, numbers, since)
                after[function.name] = row
                columns.append(numbers)
            sums = list(map(sum, zip(*columns, strict=True)))
            await asyncio.sleep(0)
        self._functions = after
        return _totals(dict(zip(SUMMED, sums, strict=True)), len(after))

    async def _look_at_workers(self) -> None:
        before, after = self._workers, {}
        for peers in sliced(list(self._server.engine.peers)):
            for peer in peers:
                if peer.functions or peer.running:
                    seen = see_worker(peer)
                    row = before.get(peer.fd)
                    after[peer.fd] = row if row is not None and row.holds(seen) else WorkerRow(peer, seen)
            await asyncio.sleep(0)
        self._workers = after

    def forget(self) -> None:
        """Frees what nobody looks at."""
        self._functions = {}
        self._workers = {}


async def write(look: Look, functions: Iterable[Row], workers: Iterable[WorkerRow], **more: Any) -> str:
    """A look's state as JSON, with these of its rows and what else is named; in slices, too."""
    state = encode({**look.state, **more})[:-1]
    return f'{state},"functions":[{await _rows(functions, look.now)}],"workers":[{await _rows(workers, look.now)}]}}'


async def _rows(rows: "Iterable[Row | WorkerRow]", now: float) -> str:
    written: list[str] = []
    for some in sliced([*rows]):
        written += [row.json(now) for row in some]
        await asyncio.sleep(0)
    return ",".join(written)


async def snapshot(looks: Looks) -> str:
    """All of one look, for the API: the ``running`` jobs stand by themselves, too."""
    look = await looks.look()
    running = [job for worker in look.workers.values() for job in worker.jobs(look.now)]
    return await write(look, look.functions.values(), look.workers.values(), running=running)


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
    p50, p99 = percentiles(stats.commit_seconds)
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


def _totals(sums: dict[str, int], functions: int) -> dict[str, int]:
    waiting = sums["high"] + sums["normal"] + sums["low"]
    return {
        **{name: sums[name] for name in (*COUNTERS, "running", "total", "unattended")},
        "waiting": waiting,
        "delayed": sums["total"] - sums["running"] - waiting,
        "functions": functions,
    }
