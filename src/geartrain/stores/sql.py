"""What the stores over an SQL server share: the flow of a queue over a connection that may break, and how a job is
divided between gearmand's table and ours.

Owns reconnecting, numbers and handle prefixes, and the rules for keys. Knows no driver and no dialect: those are in
postgres.py and mysql.py, one `Dialect` each.

Beside gearmand's table stand three of ours: ``<table>_geartrain`` with one row for each job (its number, and what
gearmand has no column for), ``<table>_geartrain_values`` and ``<table>_geartrain_prefixes``.
"""

import hashlib
import logging
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Final, NamedTuple

from geartrain.errors import StoreError, StoreLocked, StoreUnavailable
from geartrain.stores import surrogate
from geartrain.stores.base import Batch, StoredJob
from geartrain.stores.handles import Prefixes
from geartrain.stores.lock import used_meanwhile
from geartrain.stores.numbers import ahead

__all__ = ["Link", "Row", "SqlStore", "chunks", "text_key"]

log = logging.getLogger("geartrain.store")

MAX_WHEN: Final = 2**31 - 1
"""gearmand's columns for the time have 32 bits. A later time stands in our table; gearmand waits until 2038."""
_CHUNK_ROWS: Final = 5000
_CHUNK_BYTES: Final = 8 << 20


class Row(NamedTuple):
    """A job, divided: the first six stand in gearmand's table, all but priority and workload in ours."""

    number: int
    unique_key: bytes
    function_name: bytes
    priority: int
    workload: bytes
    when: int
    true_unique: bytes | None
    true_function: bytes | None
    true_when: int | None
    handle: bytes | None
    reducer: bytes | None
    attempts: int


class Link(ABC):
    """One connection to a database server, in its dialect. Raises its driver's errors; `SqlStore` has them translated.

    Its statements end in a transaction of their own unless they say otherwise.
    """

    @abstractmethod
    def prepare(self) -> None:
        """Makes or upgrades gearmand's table, then takes the lock on it, then makes ours.

        Raises:
            StoreLocked: another server has it.
            StoreError: the table cannot be a queue.
        """

    @abstractmethod
    def take_over(self, next_number: int) -> None:
        """Gives the rows of gearmand numbers from `next_number` on, oldest first, and removes rows of ours whose job
        gearmand has finished."""

    @abstractmethod
    def values(self) -> dict[str, bytes]:
        """The table of values."""

    @abstractmethod
    def set_value(self, name: str, value: bytes) -> None:
        """Writes one value, at once."""

    @abstractmethod
    def prefixes(self) -> dict[int, bytes]:
        """The table of handle prefixes: first number to prefix."""

    @abstractmethod
    def add_prefix(self, first: int, prefix: bytes) -> None:
        """Adds a range."""

    @abstractmethod
    def last_number(self) -> int:
        """The highest number of a job; 0 for none."""

    @abstractmethod
    def write(
        self, dones: Sequence[int], rows: Sequence[Row], attempts: Sequence[tuple[int, int]],
        priorities: Sequence[tuple[int, int]], mark: int,
    ) -> None:  # fmt: skip
        """One batch in one transaction, in this order. `attempts` and `priorities` are (number, value); `mark` is the
        new high-water mark of numbers, 0 for none."""

    @abstractmethod
    def read(self) -> Iterator[Sequence[Any]]:
        """Streams rows in the order of `Row`, by number, as they are in one moment."""

    @abstractmethod
    def close(self) -> None:
        """Ends the connection, also one that is broken. Raises nothing."""


class SqlStore(ABC):
    """The flow of a `Store` over `Link`s: one to write, one more for each load."""

    write_on_stop: ClassVar[bool] = False

    def __init__(self, handle_prefix: bytes) -> None:
        self._handle_prefix = handle_prefix
        self._prefixes = Prefixes({0: handle_prefix})
        self._link: Link | None = None
        self._queue_id = b""
        self._owner = b""
        self._next = 1
        self._mark = 0

    @abstractmethod
    def connect(self) -> Link:
        """A new connection."""

    @abstractmethod
    def translate(self, exc: Exception) -> StoreError | None:
        """The error of ours for one of the driver; None for any other exception. A `StoreError` itself means that
        waiting cannot help."""

    @abstractmethod
    def plain(self, function: bytes, unique: bytes) -> tuple[bool, bool]:
        """Whether the function and the unique can stand in gearmand's columns as they are, and are never taken there
        for another one."""

    def open(self) -> int:
        """See `Store.open`."""
        self._drop()
        self._owner = b""
        try:
            self._open()
            self._reserve()
        except Exception as exc:
            self._drop()
            error = self.translate(exc)
            if error is None:
                raise
            raise error from exc
        return self._next

    def _reserve(self) -> None:
        assert self._link is not None
        mark = ahead(self._next)
        self._link.set_value("next_number", b"%d" % mark)
        self._mark = mark
        owner = uuid.uuid4().bytes
        self._link.set_value("owner", owner)
        self._owner = owner

    def _open(self) -> None:
        link = self._link = self.connect()
        link.prepare()
        values = link.values()
        found = values.get("id", b"")
        if self._queue_id and found != self._queue_id:
            raise StoreUnavailable(
                f"{self} is not the queue that this server started with (a backup, or another database server?). "
                "Bring that one back, or restart the server to begin with this one."
            )
        if self._owner and values.get("owner") != self._owner:
            raise StoreUnavailable(used_meanwhile(self))
        if not found:
            found = uuid.uuid4().bytes
            link.set_value("id", found)
        self._queue_id = found
        next_number = max(int(values.get("next_number", b"1")), link.last_number() + 1)
        link.take_over(next_number)
        next_number = max(next_number, link.last_number() + 1)
        ranges = link.prefixes()
        if not ranges or ranges[max(ranges)] != self._handle_prefix:
            first = next_number if ranges else 0
            link.add_prefix(first, self._handle_prefix)
            ranges[first] = self._handle_prefix
        self._prefixes = Prefixes(ranges)
        self._next = max(self._next, next_number)
        self._mark = next_number

    def load(self) -> Iterator[StoredJob]:
        """See `Store.load`. Reads on a connection of its own."""
        link: Link | None = None
        try:
            link = self.connect()
            for row in link.read():
                yield self._job(row)
        except Exception as exc:
            error = self.translate(exc)
            if error is None:
                raise
            raise (error if isinstance(error, StoreUnavailable) else StoreUnavailable(str(error))) from exc
        finally:
            if link is not None:
                link.close()

    def _job(self, row: Sequence[Any]) -> StoredJob:
        number, unique, function, priority, workload, when, true_unique, true_function, true_when = row[:9]
        handle, reducer, attempts = row[9:]
        parsed = surrogate.parse(unique)
        if parsed is not None:
            kind = parsed[0]
            if kind == surrogate.OTHER:
                unique = unique if true_unique is None else bytes(true_unique)
            else:
                unique = b"" if kind == surrogate.EMPTY else b"-"
        return StoredJob(
            number,
            bytes(handle) if handle is not None else self._prefixes.handle(number),
            bytes(true_function) if true_function is not None else function,
            unique,
            workload or b"",
            priority if priority in (0, 1, 2) else 1,
            max(true_when if true_when is not None else when or 0, 0),
            bytes(reducer or b""),
            attempts or 0,
        )

    def apply(self, batch: Batch) -> None:
        """See `Store.apply`."""
        try:
            if self._link is None:
                self._open()
                log.warning("%s: connected again", self)
            self._write(batch)
        except Exception as exc:
            error = self.translate(exc)
            if isinstance(exc, StoreLocked):
                error = StoreUnavailable(str(exc))
            self._drop()  # whatever state it is in, a new connection is in none, and in no half transaction
            if error is None:
                raise
            if type(error) is StoreError:  # hopeless at a start, but here somebody may still mend it
                error = StoreUnavailable(str(error))
            raise error from exc

    def _write(self, batch: Batch) -> None:
        link = self._link
        assert link is not None
        # By key: of two jobs with one function and unique the later replaces the earlier, as in gearmand's table.
        rows: dict[tuple[bytes, bytes], Row] = {}
        for job in batch.adds:
            row = self._row(job)
            rows[row.unique_key, row.function_name] = row
        next_number = batch.unused
        mark = ahead(next_number, self._mark)
        link.write(
            [key.number for key in batch.dones],
            list(rows.values()),
            [(key.number, value) for key, value in batch.attempts.items()],
            [(key.number, value) for key, value in batch.priorities.items()],
            mark if mark != self._mark else 0,
        )
        self._mark = mark
        self._next = max(self._next, next_number)

    def _row(self, job: StoredJob) -> Row:
        number, handle, function, unique, workload, priority, when, reducer, attempts = job
        plain_function, plain_unique = self.plain(function, unique)
        key = surrogate.stored_unique(unique, number)
        true_unique = None
        if unique and unique != b"-" and (key is not unique or not plain_unique):
            key = surrogate.stand_in(surrogate.OTHER, number)
            true_unique = unique
        name = function if plain_function else b"geartrain:" + hashlib.sha256(function).hexdigest().encode()
        return Row(
            number, key, name, priority, workload, min(when, MAX_WHEN), true_unique,
            None if plain_function else function, when if when > MAX_WHEN else None,
            None if handle == self._prefixes.handle(number) else handle, reducer or None, attempts,
        )  # fmt: skip

    def close(self) -> None:
        """See `Store.close`."""
        if self._link is not None:
            try:
                self._link.set_value("next_number", b"%d" % self._next)
            except Exception as exc:
                if self.translate(exc) is None:
                    raise
                log.warning("%s: %s", self, exc)  # the mark is ahead of every number that was given
        self._drop()

    def _drop(self) -> None:
        if self._link is not None:
            self._link.close()
            self._link = None


def text_key(value: bytes, limit: int, utf8: bool = True) -> bool:
    """Whether bytes can stand in a text column of so many characters."""
    if b"\0" in value:
        return False
    if value.isascii():
        return len(value) <= limit
    if not utf8:
        return False
    try:
        return len(value.decode()) <= limit
    except UnicodeDecodeError:
        return False


def chunks(rows: Sequence[Row], most_bytes: int = _CHUNK_BYTES) -> Iterator[Sequence[Row]]:
    """Rows in portions for one statement each."""
    start = size = 0
    for index, row in enumerate(rows):
        weight = len(row.workload)
        if index > start and (index - start >= _CHUNK_ROWS or size + weight > most_bytes):
            yield rows[start:index]
            start, size = index, 0
        size += weight
    if rows:
        yield rows[start:]
