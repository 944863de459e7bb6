"""How `geartrain top` looks. Needs rich.

Owns the screen's layout and the orders of sorting. Knows no servers and no keys.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from geartrain.cli.snapshot import Row, ServerState, Snapshot

__all__ = ["ORDERS", "render"]

ORDERS: Final[dict[str, tuple[str, Callable[[Row], Any]]]] = {
    "w": ("waiting", lambda row: (-row.waiting, row.function)),
    "r": ("running", lambda row: (-row.running, row.function)),
    "k": ("workers", lambda row: (-row.workers, row.function)),
    "c": ("change", lambda row: (-abs(row.change or 0.0), row.function)),
    "n": ("name", lambda row: (row.function, row.server)),
}
"""Key to the name of an order and its sort key."""

_FRAME: Final = 5
"""Lines that are not for functions: headings, warning, the line of keys."""


def render(snapshot: Snapshot, order: str, height: int, wide: bool) -> RenderableType:
    """The screen.

    Args:
        snapshot: what to show.
        order: a key of `ORDERS`.
        height: lines that there are.
        wide: whether there is room for the priorities.
    """
    parts: list[RenderableType] = [_server(state) for state in snapshot.servers]
    rows = sorted(snapshot.rows, key=ORDERS[order][1])
    stuck = [row for row in rows if row.stuck]
    room = max(1, height - len(parts) - _FRAME)
    several = len(snapshot.servers) > 1
    parts.append(_table(rows[:room], several, wide) if rows else _line("no functions yet", "dim"))
    if len(rows) > room:
        parts.append(_line(f"and {len(rows) - room} more functions", "dim"))
    if stuck:
        names = ", ".join(row.function for row in stuck[:3]) + (f" and {len(stuck) - 3} more" if stuck[3:] else "")
        jobs = sum(row.waiting for row in stuck)
        parts.append(_line(f"no worker: {jobs} waiting for {names}", "bold yellow"))
    keys = "  ".join(f"{key} {name}" for key, (name, _) in ORDERS.items())
    parts.append(_line(f"{datetime.now():%H:%M:%S}  sorted by {ORDERS[order][0]}  q quit  sort: {keys}", "dim"))
    return Group(*parts)


def _line(text: str, style: str) -> Text:
    """A line that is cut where the window ends: a wrapped one would push the last line out of the window."""
    return Text(text, style=style, no_wrap=True, overflow="ellipsis")


def _server(state: ServerState) -> Text:
    if state.error:
        return _line(f"{state.server}  {state.error}", "bold red")
    line = _line(state.server, "bold")
    return line.append(
        f"  version {state.version}  {state.workers} workers  {state.connections} connections", style="not bold"
    )


def _table(rows: list[Row], several: bool, wide: bool) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False, expand=False)
    if several:
        table.add_column("SERVER", no_wrap=True)
    table.add_column("FUNCTION", no_wrap=True, overflow="ellipsis", min_width=8)
    headings = ["WAITING", *(["HIGH", "NORMAL", "LOW"] if wide else []), "RUNNING", "WORKERS", "CHANGE/S"]
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        cells = [row.waiting, *([row.high, row.normal, row.low] if wide else []), row.running, row.workers]
        texts = [Text(row.function), *(Text(str(cell)) for cell in cells), Text(_change(row.change))]
        if several:
            texts.insert(0, Text(row.server))
        table.add_row(*texts, style="yellow" if row.stuck else ("green" if row.running else ""))
    return table


def _change(change: float | None) -> str:
    if change is None:
        return "-"
    return "0" if abs(change) < 0.05 else f"{change:+.1f}"
