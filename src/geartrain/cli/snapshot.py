"""What some servers do at one moment, and how that changes.

Owns the rows that `geartrain top` shows, how the text protocol gives them, and the choice between that and HTTP. What
comes over HTTP is read in http_source.py. Knows no terminal.
"""

import time
from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

from geartrain.client.address import Server
from geartrain.client.admin import AdminClient
from geartrain.client.tls import Tls
from geartrain.errors import GeartrainError, ServerError

__all__ = ["Detail", "Eye", "Job", "Look", "Row", "ServerState", "Snapshot", "Source", "TextSource", "look_at"]

_AGAIN: Final = 5.0
_SELDOM: Final = 300.0
"""Seconds until HTTP is tried again where it did not answer: at first, and after many tries."""


class Detail(NamedTuple):
    """What only HTTP tells of a function.

    Attributes:
        done: jobs that were completed, a second; None at the first look.
        failed: jobs that failed, a second; None at the first look.
        delayed: jobs whose time has not come.
        oldest: seconds that the oldest waiting job waits; None where none waits.
        waited_p50, waited_p99: seconds from submission to the worker, percentiles; None before the first job.
        ran_p50, ran_p99: seconds from the worker to the end, percentiles; None before the first job.
    """

    done: float | None
    failed: float | None
    delayed: int
    oldest: float | None
    waited_p50: float | None
    waited_p99: float | None
    ran_p50: float | None
    ran_p99: float | None


class Row(NamedTuple):
    """One function of one server.

    Attributes:
        change: by how many jobs a second waiting and running together grow (or, below zero, shrink); None at the
            first look. The text protocol does not tell more: as many may come as go.
        detail: None where the text protocol is all there is.
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
    detail: Detail | None = None

    @property
    def stuck(self) -> bool:
        """Jobs wait and no worker can do them."""
        return self.waiting > 0 and self.workers == 0


class Job(NamedTuple):
    """One job that a worker has.

    Attributes:
        worker: its id, or else its address.
        since: seconds that it runs.
        numerator, denominator: its progress; 0 of 0 where it tells none.
    """

    server: str
    handle: str
    function: str
    worker: str
    since: float
    numerator: int
    denominator: int


class ServerState(NamedTuple):
    """One server, or why it did not answer.

    Attributes:
        facts: more that it told, each a few words.
        way: how it was asked.
        trouble: what it says is wrong with it: its store is down, it stops.
        error: why it did not answer; empty if it did.
    """

    server: str
    version: str = ""
    connections: int = 0
    workers: int = 0
    facts: tuple[str, ...] = ()
    way: str = ""
    trouble: str = ""
    error: str = ""


class Look(NamedTuple):
    """One server at one moment."""

    state: ServerState
    rows: tuple[Row, ...] = ()
    jobs: tuple[Job, ...] = ()


class Snapshot(NamedTuple):
    """All of it at one moment."""

    servers: tuple[ServerState, ...]
    rows: tuple[Row, ...]
    jobs: tuple[Job, ...] = ()


class Eye(Protocol):
    """What asks one server again and again."""

    def look(self) -> Look:
        """The server now.

        Raises:
            GeartrainError: it does not answer, or not as it should.
        """

    def close(self) -> None:
        """Ends the connection."""


class Source:
    """One server: over HTTP where that answers, otherwise in the text protocol.

    Args:
        text: asks in the text protocol.
        http: asks over HTTP; None for never.
    """

    def __init__(self, text: "TextSource", http: Eye | None = None) -> None:
        self._text = text
        self._http = http
        self._due = 0.0
        self._pause = _AGAIN
        self._why = ""

    def look(self) -> Look:
        """The server now. One that does not answer is no error here, but a state."""
        if self._http is not None and time.monotonic() >= self._due:
            try:
                found = self._http.look()
            except GeartrainError as error:
                self._why = f"; {error}"
                self._http.close()
                self._due = time.monotonic() + self._pause
                self._pause = min(self._pause * 2, _SELDOM)
            else:
                self._pause = _AGAIN
                self._text.close()
                return found
        try:
            found = self._text.look()
        except GeartrainError as error:
            self._text.close()
            self._due, self._pause = 0.0, _AGAIN  # when it is back, it is back as it was
            return Look(ServerState(self._text.name, error=f"{error}{self._why}"))
        return found._replace(state=found.state._replace(way=f"text protocol{self._why}"))

    def close(self) -> None:
        """Ends the connections."""
        self._text.close()
        if self._http is not None:
            self._http.close()


class TextSource:
    """Asks one server in the text protocol, on one connection. Any gearmand answers.

    Args:
        server: which.
        tls: how to connect.
        timeout: seconds for each answer.
    """

    def __init__(self, server: Server, tls: Tls, timeout: float) -> None:
        self.name = str(server)
        self._client = AdminClient(server, timeout=timeout, **tls._asdict())
        self._before: dict[str, int] = {}
        self._asked: float | None = None

    def look(self) -> Look:
        """The server now. See `Eye`."""
        version = self._client.version()
        status = self._client.status()
        workers = self._client.workers()
        try:
            priorities = {line.function: line for line in self._client.prioritystatus()}
        except ServerError:  # gearmand before 1.1.10 and the Perl server do not know it
            priorities = {}
        now = time.monotonic()
        elapsed = None if self._asked is None else max(now - self._asked, 0.001)
        rows = []
        for line in status:
            queued = priorities.get(line.function)
            high, normal, low = (queued.high, queued.normal, queued.low) if queued else (0, line.waiting, 0)
            change = None if elapsed is None else (line.total - self._before.get(line.function, 0)) / elapsed
            rows.append(
                Row(self.name, line.function, line.waiting, high, normal, low, line.running, line.workers, change)
            )
        self._before = {line.function: line.total for line in status}
        self._asked = now
        able = sum(bool(line.functions) for line in workers)
        return Look(ServerState(self.name, f"version {version}", len(workers), able), tuple(rows))

    def close(self) -> None:
        """Ends the connection. The next look is a first one."""
        self._asked = None
        self._client.close()


def look_at(sources: Sequence[Source]) -> Snapshot:
    """Asks all servers."""
    looks = [source.look() for source in sources]
    return Snapshot(
        tuple(look.state for look in looks),
        tuple(row for look in looks for row in look.rows),
        tuple(job for look in looks for job in look.jobs),
    )
