"""scripts/bench: runs the rows, in turns and several rounds, and writes what came out.

Owns the command line and the order of the runs.
"""

import argparse
import datetime as dt
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from benchmarks import libraries, loads, report
from benchmarks.build import BIN, ROOT, BenchError
from benchmarks.chart import draw
from benchmarks.machine import facts
from benchmarks.results import Result, read, write
from benchmarks.rows import LIBRARIES, ROWS, Row
from benchmarks.samples import Sample, judge, typical
from benchmarks.servers import VARIANTS, Variant

__all__ = ["main"]

HERE: Final = Path(__file__).resolve().parent
_QUICK: Final = 0.1

KINDS: Final[dict[str, Callable[[Row, Variant, float], Sample]]] = {
    "load": loads.load,
    "drain": loads.drain,
    "register": loads.register,
    "idle": loads.idle,
    "tls": loads.tls,
    "durable": loads.durable,
    "memory": loads.memory,
    "replay": loads.replay,
    "http": loads.http,
    "flat-functions": loads.flat_functions,
    "flat-queue": loads.flat_queue,
}
LIBRARY_KINDS: Final[dict[str, Callable[[Row, str, float], Sample]]] = {
    "client": libraries.client,
    "worker": libraries.worker,
    "pair": libraries.pair,
}


def _run(row: Row, name: str, scale: float) -> Sample:
    if row.kind in LIBRARY_KINDS:
        return LIBRARY_KINDS[row.kind](row, name, scale)
    return KINDS[row.kind](row, VARIANTS[name], scale)


def _missing(name: str) -> str:
    return libraries.missing(name) if name in LIBRARIES else VARIANTS[name].missing()


def measure(row: Row, rounds: int, scale: float, only: Sequence[str]) -> Result:
    """Runs a row: every variant once in each round, and every other round backwards."""
    result = Result(dt.date.today().isoformat(), scale, facts())
    names = [name for name in row.variants if not only or name in only]
    for name in names:
        if reason := _missing(name):
            result.failures[name] = reason
    for turn in range(min(rounds, row.most_rounds)):
        for name in names if turn % 2 == 0 else reversed(names):
            if name in result.failures:
                continue
            try:
                sample = _run(row, name, scale)
            except BenchError as error:
                # A server that cannot do a row says so in the results, and the others go on.
                result.failures[name] = str(error).strip().replace(f"{ROOT}/", "")
                print(f"  {name}: {error}", file=sys.stderr)
                continue
            result.rounds.setdefault(name, []).append(sample)
            print(f"  {turn + 1}/{rounds} {name:16} {report.line(sample)}", flush=True)
    return result


def _show(row: Row, result: Result) -> None:
    for name, samples in result.rounds.items():
        if len(samples) < 2:
            continue
        figures = {figure: typical(samples, figure) for figure in samples[0]}
        known = {figure: value for figure, value in figures.items() if value is not None}
        print(f"  median {name:16} {report.line(known)}")
    for target in row.targets:
        print(f"  {judge(result.rounds, target)}")


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description="Measures geartrain beside the C gearmand, in one run and in turns.",
        epilog="Example: scripts/bench --row ten --row drain --rounds 3. Without --row: all rows.",
    )
    parser.add_argument("--row", action="append", metavar="NAME", help="only this row (may be repeated)")
    parser.add_argument("--variant", action="append", metavar="NAME", default=[], help="only this server or library")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each row (default 5)")
    parser.add_argument("--quick", action="store_true", help="one round of a tenth of the jobs; nothing is written")
    parser.add_argument("--list", action="store_true", help="show the rows with their targets and leave")
    parser.add_argument("--report", action="store_true", help="write table and chart anew from results.json and leave")
    parser.add_argument("--results", type=Path, default=HERE / "results.json", help="another file for the results")
    return parser.parse_args(arguments)


def _write_report(path: Path) -> None:
    results = read(path)
    path.with_suffix(".md").write_text(report.page(results))
    path.with_name("chart.svg").write_text(draw(results))
    print(f"{path.with_suffix('.md')} and {path.with_name('chart.svg')} are written.")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command. Returns the exit status: 0 whatever the verdicts are, 1 when a row could not be run."""
    chosen = _arguments(arguments)
    if unknown := [name for name in chosen.row or () if name not in ROWS]:
        print(f"There is no row {unknown[0]!r}. The rows are: {', '.join(ROWS)}.", file=sys.stderr)
        return 1
    if chosen.list:
        for row in ROWS.values():
            print(f"{row.name:15} {row.title}")
            for target in row.targets:
                print(f"{'':15}   {target}")
        return 0
    if chosen.report:
        _write_report(chosen.results)
        return 0
    BIN.mkdir(exist_ok=True)
    scale, rounds = (_QUICK, 1) if chosen.quick else (1.0, chosen.rounds)
    failed = False
    for name in chosen.row or ROWS:
        row = ROWS[name]
        print(f"{row.name}: {row.title}", flush=True)
        result = measure(row, rounds, scale, chosen.variant)
        failed = failed or not result.rounds
        _show(row, result)
        if not chosen.quick:
            results = read(chosen.results)
            results[name] = result
            write(chosen.results, {known: results[known] for known in ROWS if known in results})
    if not chosen.quick:
        _write_report(chosen.results)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
