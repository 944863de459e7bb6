"""How `geartrain top` looks. Needs rich.

Owns the screen's layout, the orders of sorting, and what is scrolled how far. Knows no servers and no terminal.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final, NamedTuple

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from geartrain.cli.snapshot import Detail, Job, Row, ServerState, Snapshot
from geartrain.cli.spans import span
from geartrain.cli.terminal import counted

__all__ = ["ORDERS", "View"]


class Order(NamedTuple):
    """How rows are sorted. `detailed`: by something that only HTTP tells."""

    name: str
    key: Callable[[Row], Any]
    detailed: bool = False


def _of(row: Row, name: str) -> float:
    return getattr(row.detail, name, None) or 0.0


ORDERS: Final[dict[str, Order]] = {
    "w": Order("waiting", lambda row: (-row.waiting, row.function)),
    "r": Order("running", lambda row: (-row.running, row.function)),
    "k": Order("workers", lambda row: (-row.workers, row.function)),
    "c": Order("change", lambda row: (-abs(row.change or 0.0), row.function)),
    "n": Order("name", lambda row: (row.function, row.server)),
    "d": Order("done", lambda row: (-_of(row, "done"), row.function), True),
    "f": Order("failed", lambda row: (-_of(row, "failed"), row.function), True),
    "l": Order("latency", lambda row: (-_of(row, "ran_p99"), row.function), True),
    "o": Order("oldest", lambda row: (-_of(row, "oldest"), row.function), True),
}
"""By their keys."""


class Column(NamedTuple):
    """A number of a function, and the least width of a window that has room for it.

    Attributes:
        plain: where there is the text protocol only; None for never.
        full: where there is more.
    """

    heading: str
    plain: int | None
    full: int
    show: Callable[[Row], str]


def _detail(show: Callable[[Detail], str]) -> Callable[[Row], str]:
    return lambda row: "-" if row.detail is None else show(row.detail)


def _span(seconds: float | None) -> str:
    return "-" if seconds is None else span(seconds)


def _rate(rate: float | None) -> str:
    return "-" if rate is None else "0" if rate < 0.05 else f"{rate:.1f}" if rate < 1000 else f"{rate:.0f}"


def _change(change: float | None) -> str:
    return "-" if change is None else "0" if abs(change) < 0.05 else f"{change:+.1f}"


_COLUMNS: Final = (
    Column("WAITING", 0, 0, lambda row: str(row.waiting)),
    Column("HIGH", 80, 140, lambda row: str(row.high)),
    Column("NORMAL", 80, 140, lambda row: str(row.normal)),
    Column("LOW", 80, 140, lambda row: str(row.low)),
    Column("DELAYED", None, 140, _detail(lambda detail: str(detail.delayed))),
    Column("OLDEST", None, 80, _detail(lambda detail: _span(detail.oldest))),
    Column("RUNNING", 0, 0, lambda row: str(row.running)),
    Column("WORKERS", 0, 0, lambda row: str(row.workers)),
    Column("DONE/S", None, 0, _detail(lambda detail: _rate(detail.done))),
    Column("FAILED/S", None, 0, _detail(lambda detail: _rate(detail.failed))),
    Column("CHANGE/S", 0, 110, lambda row: _change(row.change)),
    Column("WAIT P50", None, 100, _detail(lambda detail: _span(detail.waited_p50))),
    Column("WAIT P99", None, 100, _detail(lambda detail: _span(detail.waited_p99))),
    Column("RUN P50", None, 80, _detail(lambda detail: _span(detail.ran_p50))),
    Column("RUN P99", None, 80, _detail(lambda detail: _span(detail.ran_p99))),
)
_BAR: Final = 20


class _Pane:
    """A part of a longer list."""

    def __init__(self) -> None:
        self.first = 0
        self.room = 1
        self.count = 0

    @property
    def cut(self) -> bool:
        return self.count > self.room

    def fit(self, count: int, room: int) -> slice:
        """What is shown of so many rows where there is room for so many."""
        self.count, self.room = count, max(1, room)
        self.first = max(0, min(self.first, count - self.room))
        return slice(self.first, self.first + self.room)

    def where(self) -> str:
        return f"{self.first + 1}-{min(self.first + self.room, self.count)} of {self.count}"


_MOVES: Final[dict[str, Callable[[_Pane], int]]] = {
    "up": lambda pane: pane.first - 1,
    "down": lambda pane: pane.first + 1,
    "page up": lambda pane: pane.first - pane.room,
    "page down": lambda pane: pane.first + pane.room,
    "home": lambda pane: 0,
    "end": lambda pane: pane.count,
}


class View:
    """The screen, as its user arranged it."""

    def __init__(self) -> None:
        self._order = "w"
        self._functions = _Pane()
        self._jobs = _Pane()
        self._moved = self._functions

    def press(self, key: str) -> None:
        """A key: an order, a move, or Tab. Others do nothing."""
        if key in ORDERS:
            self._order = key
        elif key in _MOVES:
            pane = self._moved
            pane.first = max(0, min(_MOVES[key](pane), pane.count - pane.room))
        elif key == "\t":
            self._moved = self._jobs if self._moved is self._functions else self._functions

    def render(self, snapshot: Snapshot, height: int, width: int) -> RenderableType:
        """The screen.

        Args:
            snapshot: what to show.
            height: lines that there are.
            width: characters in a line.
        """
        head = [line for state in snapshot.servers for line in _server(state)]
        foot: list[RenderableType] = []
        order = ORDERS[self._order]
        rows = sorted(snapshot.rows, key=order.key)
        jobs = sorted(snapshot.jobs, key=lambda job: -job.since)
        if stuck := [row for row in rows if row.stuck]:
            names = ", ".join(_safe(row.function) for row in stuck[:3])
            names += f" and {len(stuck) - 3} more" if stuck[3:] else ""
            foot.append(_line(f"no worker: {sum(row.waiting for row in stuck)} waiting for {names}", "bold yellow"))
        detailed = any(row.detail for row in rows)
        keys = "  ".join(f"{key} {order.name}" for key, order in ORDERS.items() if detailed or not order.detailed)
        foot.append(_line(f"{datetime.now():%H:%M:%S}  sorted by {order.name}  q quit  sort: {keys}", "dim"))

        # What is left, less a heading and a line that says where we are, for each of the tables.
        room = height - len(head) - len(foot) - (4 if jobs else 2)
        for_jobs = min(len(jobs), max(1, room // 3, room - len(rows)))
        shown = rows[self._functions.fit(len(rows), room - for_jobs)]
        shown_jobs = jobs[self._jobs.fit(len(jobs), for_jobs)]
        several = len(snapshot.servers) > 1
        body: list[RenderableType] = [
            _table(shown, several, detailed, width) if rows else _line("no functions yet", "dim")
        ]
        if self._functions.cut:
            body.append(self._where(self._functions, "functions"))
        if jobs:
            body.append(_jobs(shown_jobs, several, width))
        if self._jobs.cut:
            body.append(self._where(self._jobs, "running jobs"))
        return Group(*head, *body, *foot)

    def _where(self, pane: _Pane, name: str) -> Text:
        both = self._functions.cut and self._jobs.cut
        if not both:
            self._moved = pane  # the only one that can be moved
        keys = "arrows, Page Up, Page Down" + (", Tab: the other table" if both else "")
        return _line(f"{name} {pane.where()}" + (f"  ({keys})" if pane is self._moved else ""), "dim")


def _safe(text: str) -> str:
    """Names are what clients sent: what would move the cursor, or is no character at all, is shown as a number."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)


def _line(text: str, style: str) -> Text:
    """A line that is cut where the window ends: a wrapped one would push the last line out of the window."""
    return Text(_safe(text), style=style, no_wrap=True, overflow="ellipsis")


def _server(state: ServerState) -> list[RenderableType]:
    if state.error:
        return [_line(f"{state.server}  {state.error}", "bold red")]
    line = _line(state.server, "bold")
    counts = f"  {state.version}  {counted(state.workers, 'worker')}  {counted(state.connections, 'connection')}"
    line.append(_safe(counts), style="not bold").append(f"  {_safe(state.way)}", style="not bold dim")
    lines: list[RenderableType] = [line]
    if state.facts:
        lines.append(_line("  ".join(state.facts), ""))
    if state.trouble:
        lines.append(_line(state.trouble, "bold red"))
    return lines


def _table(rows: list[Row], several: bool, detailed: bool, width: int) -> Table:
    table = _bare(several)
    least = [(column, column.full if detailed else column.plain) for column in _COLUMNS]
    columns = [column for column, needs in least if needs is not None and width >= needs]
    table.add_column("FUNCTION", no_wrap=True, overflow="ellipsis", min_width=8)
    for column in columns:
        table.add_column(column.heading, justify="right", no_wrap=True)
    for row in rows:
        texts = [Text(_safe(row.function)), *(Text(column.show(row)) for column in columns)]
        if several:
            texts.insert(0, Text(row.server))
        table.add_row(*texts, style="yellow" if row.stuck else ("green" if row.running else ""))
    return table


def _jobs(jobs: list[Job], several: bool, width: int) -> Table:
    table = _bare(several)
    wide = width >= 80
    for heading in ["RUNNING JOB", "FUNCTION", *(["WORKER"] if wide else [])]:
        table.add_column(heading, no_wrap=True, overflow="ellipsis", min_width=8)
    table.add_column("FOR", justify="right", no_wrap=True)
    table.add_column("PROGRESS", min_width=_BAR if wide else 8, no_wrap=True)
    table.add_column("", justify="right", no_wrap=True)
    for job in jobs:
        names = [job.handle, job.function, *([job.worker] if wide else [])]
        bar: RenderableType = ""
        share = ""
        if job.denominator > 0:
            done = max(0, min(job.numerator, job.denominator))
            bar = ProgressBar(job.denominator, done, width=_BAR if wide else 8)
            share = f"{100 * done // job.denominator}%"
        cells: list[RenderableType] = [Text(job.server)] if several else []
        table.add_row(*cells, *(Text(_safe(name)) for name in names), Text(span(job.since)), bar, Text(share))
    return table


def _bare(several: bool) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False, expand=False)
    if several:
        table.add_column("SERVER", no_wrap=True)
    return table
