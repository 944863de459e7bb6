"""What the functions of some servers do at one moment, and how that changes.

Owns the rows that `geartrain top` shows. Knows no terminal.
"""

import time
from collections.abc import Sequence
from typing import NamedTuple

from geartrain.client.address import Server
from geartrain.client.admin import AdminClient
from geartrain.client.tls import Tls
from geartrain.errors import GeartrainError, ServerError

__all__ = ["Row", "ServerState", "Snapshot", "Source"]


class Row(NamedTuple):
    """One function of one server.

    Attributes:
        change: by how many jobs a second waiting and running together grow (or, below zero, shrink); None at the
            first look. The text protocol does not tell more: as many may come as go.
    """

    server: str
    function: str
    waiting: int
    high: int
    normal: int
    low: int
    running: int
    workers: int
    change: float | None

    @property
    def stuck(self) -> bool:
        """Jobs wait and no worker can do them."""
        return self.waiting > 0 and self.workers == 0


class ServerState(NamedTuple):
    """One server: its version and connections, or why it did not answer."""

    server: str
    version: str = ""
    connections: int = 0
    workers: int = 0
    error: str = ""


class Snapshot(NamedTuple):
    """All of it at one moment."""

    servers: tuple[ServerState, ...]
    rows: tuple[Row, ...]


class Source:
    """Asks one server again and again, on one connection.

    Args:
        server: which.
        tls: how to connect.
        timeout: seconds for each answer.
    """

    def __init__(self, server: Server, tls: Tls, timeout: float) -> None:
        self._name = str(server)
        self._client = AdminClient(server, timeout=timeout, **tls._asdict())
        self._before: dict[str, int] = {}
        self._asked: float | None = None

    def look(self) -> tuple[ServerState, tuple[Row, ...]]:
        """The server now. One that does not answer is no error here, but a state."""
        try:
            version = self._client.version()
            status = self._client.status()
            workers = self._client.workers()
            try:
                priorities = {line.function: line for line in self._client.prioritystatus()}
            except ServerError:  # gearmand before 1.1.10 and the Perl server do not know it
                priorities = {}
        except GeartrainError as error:
            self._asked = None
            return ServerState(self._name, error=str(error)), ()
        now = time.monotonic()
        elapsed = None if self._asked is None else max(now - self._asked, 0.001)
        rows = []
        for line in status:
            queued = priorities.get(line.function)
            high, normal, low = (queued.high, queued.normal, queued.low) if queued else (0, line.waiting, 0)
            change = None if elapsed is None else (line.total - self._before.get(line.function, 0)) / elapsed
            rows.append(
                Row(self._name, line.function, line.waiting, high, normal, low, line.running, line.workers, change)
            )
        self._before = {line.function: line.total for line in status}
        self._asked = now
        able = sum(bool(line.functions) for line in workers)
        return ServerState(self._name, version, len(workers), able), tuple(rows)

    def close(self) -> None:
        """Ends the connection."""
        self._client.close()


def look_at(sources: Sequence[Source]) -> Snapshot:
    """Asks all servers."""
    answers = [source.look() for source in sources]
    return Snapshot(tuple(state for state, _ in answers), tuple(row for _, rows in answers for row in rows))
