"""The page of results: a table of all rows with their verdicts, and how they were measured.

Owns the wording. Knows nothing of how a row is run.
"""

from collections.abc import Mapping
from typing import Final

from benchmarks.results import Result
from benchmarks.rows import ROWS, Row
from benchmarks.samples import Sample, Verdict, judge, typical

__all__ = ["line", "page"]

_FIGURES: Final[Mapping[str, tuple[str, str]]] = {
    "cpu_us": ("{:.2f}", "µs CPU"),
    "user_us": ("{:.2f}", "user"),
    "system_us": ("{:.2f}", "system"),
    "jobs_per_second": ("{:,.0f}", "jobs/s"),
    "seconds": ("{:.2f}", "s"),
    "p50_us": ("{:.0f}", "p50 µs"),
    "p99_us": ("{:.0f}", "p99 µs"),
    "driver_us": ("{:.2f}", "driver µs"),
    "job_bytes": ("{:.0f}", "bytes/job"),
    "connection_bytes": ("{:.0f}", "bytes/connection"),
    "flatness": ("{:.2f}", "of the smallest's jobs/s"),
}
_COLUMNS: Final = ("cpu_us", "user_us", "system_us", "jobs_per_second", "p50_us", "p99_us", "peak_kib")
_EXTRA: Final = ("seconds", "job_bytes", "connection_bytes", "connect_us", "register_seconds", "flatness")

_HEAD: Final = """# How fast it is

geartrain beside the C gearmand, measured in one run. To repeat it: `scripts/compile` (for the compiled build), then
`scripts/bench`. One row: `scripts/bench --row ten --rounds 3`; a first impression: `scripts/bench --quick`.

![CPU per job](chart.svg)

"""
_METHOD: Final = """## How it is measured

- Every variant gets a fresh server on loopback for every run. The variants take turns within a round, every other round
  backwards; a ratio is taken within a round, and what stands here is the median over the rounds. Nothing is pinned to a
  core, as users run it.
- Both sides are what the distribution installs: Debian's gearmand, and geartrain installed by pip on Debian's Python,
  which is built with profile-guided optimisation. A Python that is not (pyenv's default) costs about a sixth more.
- **D** is gearmand as Debian ships it (`-t 4`), **B** the best of `-t 0`, `-t 1` and `-t 4` in that row and figure,
  **L** the least that a job server in C on epoll can cost (`floor.c`).
- The load comes from `load.c`: one thread, one epoll, all clients and workers. Its own cost is in `results.json`
  (`driver_us`). Workers return the workload, and ask for the next job in the same write.
- CPU is the server's process clock, all threads, in nanoseconds, from the first job until the server has come to rest
  after the last one; user and system are split by the kernel's ticks. Latency is from submission to result (to the
  handle for background jobs). Memory is the peak of the resident set.
- A workload has 64 bytes where nothing else is said. Both servers keep jobs in memory, but for the durable rows, where
  both write to SQLite on the same disk, each as it does by itself: ours commits with synchronous=FULL before it
  answers.
- Debian's gearmand takes `--ssl` but was built without TLS. In the TLS row it stands behind stunnel, as its users run
  it, and stunnel's CPU counts.
- In the ALL_YOURS row gearmand's worker is an ordinary one, because gearmand does not know that request.
- A second driver, written independently, was run beside this one (2026-11-21). One job at a time and ten clients it
  agrees with. With fifty clients it finds 0.85 (pure, of D) and 0.88 (compiled, of B): each of its clients asks for one
  function only. gearmand serves a worker's functions in a fixed order, so it answers some of these clients only when
  the others have no more jobs (the longest of its round trips took as long as the run), and has fewer connections to
  write to. Beside `gearmand --round-robin`, which lets nobody wait, as geartrain does, it finds 0.71 and 0.83; with
  gearmand's order on both sides (`--compat 1.1`) 0.77 and 0.82. In `load.c` every client asks for all functions in
  turn.
- In the library rows the CPU is that of the client or worker program, over the same server of ours (the compiled
  build where there is one: the server must cost less than what is measured); the other side is the C driver, or, in
  the rows of both, the library's own: then the CPU is that of the two programs. PyPI's pygearman takes part as a worker
  only: on Python 3 its client comes back without the result, from gearmand, too.
"""


def line(sample: Mapping[str, float]) -> str:
    """The known figures of a sample in one line."""
    words = [f"{form.format(sample[name])} {unit}" for name, (form, unit) in _FIGURES.items() if name in sample]
    words += [f"{name} {value:,.0f}/s" for name, value in sample.items() if name.startswith("at_")]
    if "peak_kib" in sample:
        words.append(f"{sample['peak_kib'] / 1024:.0f} MiB")
    return ", ".join(words)


def _cell(samples: list[Sample], figure: str) -> str:
    value = typical(samples, figure)
    if value is None:
        return ""
    if figure == "peak_kib":
        return f"{value / 1024:,.0f}"
    return f"{value:,.0f}" if value >= 1000 else f"{value:,.2f}" if value < 100 else f"{value:,.1f}"


def _verdict(verdict: Verdict) -> str:
    mark = {True: "reached", False: "**not reached**", None: "not measured"}[verdict.reached]
    value = "" if verdict.value is None else f"{verdict.value:.3g}"
    return f"| {verdict.target} | {value} | {mark} |"


def _section(row: Row, result: Result) -> str:
    shown = [figure for figure in (*_COLUMNS, *_EXTRA) if _any(result, figure)]
    names = {"peak_kib": "peak MiB", **{name: unit for name, (_, unit) in _FIGURES.items()}}
    titles = [names.get(figure, figure.replace("_", " ")) for figure in shown]
    lines = [f"### {row.title}", "", f"`--row {row.name}`, {_rounds(result)}, {result.date}.", ""]
    lines += [f"| | {' | '.join(titles)} |", f"|---|{'---:|' * len(shown)}"]
    for name, samples in result.rounds.items():
        lines.append(f"| {name} | {' | '.join(_cell(samples, figure) for figure in shown)} |")
    for name, reason in result.failures.items():
        lines.append(f"\n{name}: {reason.splitlines()[0]}")
    if row.targets:
        lines += ["", "| target | measured | |", "|---|---:|---|"]
        lines += [_verdict(judge(result.rounds, target)) for target in row.targets]
    return "\n".join(lines) + "\n"


def _any(result: Result, figure: str) -> bool:
    values = [sample.get(figure, 0) for samples in result.rounds.values() for sample in samples]
    return any(values) and not (figure == "seconds" and _any(result, "jobs_per_second"))


def _rounds(result: Result) -> str:
    count = max((len(samples) for samples in result.rounds.values()), default=0)
    return f"{count} round" + "s" * (count != 1)


def _summary(results: Mapping[str, Result]) -> str:
    lines = ["| row | target | measured | |", "|---|---|---:|---|"]
    for name, result in results.items():
        title = ROWS[name].title
        lines += [f"| {title} {_verdict(judge(result.rounds, target))}" for target in ROWS[name].targets]
    return "\n".join(lines) + "\n"


def page(results: Mapping[str, Result]) -> str:
    """The whole page, in Markdown."""
    known = {name: results[name] for name in ROWS if name in results}
    machines = list({tuple(result.machine.items()): result for result in known.values()}.values())
    lines = [_HEAD, "## Targets\n\n", _summary(known), "\n", _METHOD, "\n## The machine\n\n"]
    lines += [f"- {name}: {value}\n" for name, value in machines[-1].machine.items()] if machines else []
    if len(machines) > 1:
        lines.append("\nSome rows were measured with other versions; results.json says which.\n")
    lines.append("\n## Every row\n\n")
    lines.append("\n".join(_section(ROWS[name], result) for name, result in known.items()))
    return "".join(lines)
