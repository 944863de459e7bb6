"""The durable queue in an SQLite file, in gearmand's own table.

Owns the connection, the writing of batches and the streaming read. What the tables look like is in
sqlite_schema.py, what errors mean in sqlite_errors.py, what a commit costs in sqlite_log.py.

A job's row stands in gearmand's table under its handle's number as ROWID: the handle survives a restart at no
cost, and a finished job is deleted by the fastest key there is. What gearmand has no column for stands in tables
beside it, only for the jobs that need it: the plain job costs one insert.
"""

import contextlib
import logging
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping
from typing import ClassVar, Final

from geartrain.errors import ConfigError, StoreError, StoreUnavailable
from geartrain.stores.base import Batch, StoredJob
from geartrain.stores.handles import Prefixes
from geartrain.stores.lock import FileLock
from geartrain.stores.numbers import ahead
from geartrain.stores.options import flag
from geartrain.stores.sqlite_errors import hopeless_at_start, needs_reopen, translate
from geartrain.stores.sqlite_log import Log
from geartrain.stores.sqlite_rescue import identity, put_back, save_copy
from geartrain.stores.sqlite_rows import jobs, statements
from geartrain.stores.sqlite_schema import Schema

__all__ = ["SqliteStore"]

log = logging.getLogger("geartrain.store")

_BUSY_SECONDS: Final = 2.0
_MOVED_CHECK_SECONDS: Final = 0.05


class SqliteStore:
    """See `Store`. Options: ``libsqlite3-db``, ``libsqlite3-table``, ``store-queue-on-shutdown``."""

    options: ClassVar[Mapping[str, str]] = {
        "libsqlite3-db": "the queue's file",
        "libsqlite3-table": "the table in it (default: gearman_queue)",
        "store-queue-on-shutdown": "write the queue only when the server stops",
    }

    def __init__(
        self, path: str, table: str = "gearman_queue", handle_prefix: bytes = b"H:", write_on_stop: bool = False
    ) -> None:
        self._path = os.path.realpath(path)  # the file is what counts, not a link to it
        self._schema = Schema(table)
        self._handle_prefix = handle_prefix
        self._write_on_stop = write_on_stop
        self._lock = FileLock(self._path)
        self._db: sqlite3.Connection | None = None
        self._log: Log
        self._file: tuple[int, int] = (0, 0)
        self._checked = 0.0
        self._queue_id = b""
        self._rescued = ""
        self._prefixes = Prefixes({0: handle_prefix})
        self._next = 1
        self._mark = 0
        self._has_extras = True

    @classmethod
    def from_options(cls, options: Mapping[str, str], handle_prefix: bytes) -> "SqliteStore":
        """See `Store.from_options`."""
        path = options.get("libsqlite3-db", "")
        if not path:
            raise ConfigError("The queue type libsqlite3 needs a file: add --libsqlite3-db=/path/to/queue.db.")
        if path == ":memory:" or path.startswith("file:"):
            raise ConfigError(f"--libsqlite3-db={path} is not a file. For a queue in memory use -q builtin.")
        table = options.get("libsqlite3-table", "gearman_queue")
        if not table or "\0" in table or table.startswith("sqlite_"):
            raise ConfigError(f"--libsqlite3-table={table} is no name for a table.")
        return cls(path, table, handle_prefix, flag(options, "store-queue-on-shutdown"))

    def __str__(self) -> str:
        return f"SQLite file {self._path}"

    @property
    def write_on_stop(self) -> bool:
        """See `Store.write_on_stop`."""
        return self._write_on_stop

    # -- opening

    def open(self) -> int:
        """See `Store.open`."""
        folder = os.path.dirname(self._path)
        if not os.path.isdir(folder):
            raise StoreError(f"The folder {folder} of the queue file does not exist. Make it: mkdir -p {folder}")
        self._disconnect()
        self._lock.acquire()
        try:
            self._connect(opening=True)
        except (sqlite3.Error, StoreError) as exc:
            self._disconnect()
            self._lock.release()
            if isinstance(exc, sqlite3.Error):
                error = translate(exc, self._path)
                raise StoreError(str(error)) if hopeless_at_start(exc) else error from exc
            raise
        return self._next

    def _reserve(self) -> None:
        assert self._db is not None
        mark = ahead(self._next)
        try:
            self._db.execute(self._schema.set_mark, (mark,))
        except sqlite3.Error as exc:  # a full disk, say: jobs can run all the same, and make room
            log.debug("%s", translate(exc, self._path))
        else:
            self._mark = mark

    def _connect(self, opening: bool = False) -> None:
        db = self._db = self._new_connection()
        self._file = identity(self._path)
        if self._queue_id and self._schema.queue_id(db) != self._queue_id:
            raise self._exchanged()
        self._log = Log(db)
        if not self._log.ahead:
            log.warning("%s: no write-ahead log on this file system: slower", self)
        db.execute("PRAGMA cache_size=-16000")
        db.execute("BEGIN IMMEDIATE")
        state = self._schema.prepare(db, self._handle_prefix)
        db.execute("COMMIT")
        self._queue_id = state.queue_id
        self._prefixes = state.prefixes
        self._has_extras = state.has_extras
        self._next = max(self._next, state.next_number)
        self._mark = state.next_number
        if opening:
            self._reserve()
        self._log.reserve()

    def _new_connection(self) -> sqlite3.Connection:
        db = sqlite3.connect(
            self._path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False, cached_statements=32
        )
        db.text_factory = bytes
        return db

    def close(self) -> None:
        """See `Store.close`."""
        if self._db is not None:
            try:
                # Exact now, so that the next start does not skip numbers.
                self._db.execute(self._schema.set_mark, (self._next,))
            except sqlite3.Error as exc:
                log.warning("%s", translate(exc, self._path))
        self._disconnect()
        self._lock.release()

    def _disconnect(self) -> None:
        if self._db is not None:
            with contextlib.suppress(sqlite3.Error):  # it was broken already; a new one follows
                self._db.close()
            self._db = None

    # -- reading

    def load(self) -> Iterator[StoredJob]:
        """See `Store.load`. Reads a snapshot on a connection of its own."""
        try:
            db = self._new_connection()
            try:
                db.execute("PRAGMA query_only=1")
                db.execute("BEGIN")
                schema = self._schema
                sql = schema.select_with_extra if self._has_extras else schema.select_plain
                yield from jobs(db.execute(sql), self._prefixes)
            finally:
                db.close()
        except sqlite3.Error as exc:
            error = translate(exc, self._path)
            raise error if isinstance(error, StoreUnavailable) else StoreUnavailable(str(error)) from exc

    # -- writing

    def apply(self, batch: Batch) -> None:
        """See `Store.apply`."""
        try:
            self._ready()
            self._write(batch)
        except (sqlite3.Error, OverflowError) as exc:
            self._after_failure(exc)
            raise translate(exc, self._path) from exc
        except (StoreError, OSError) as exc:
            if isinstance(exc, StoreUnavailable):
                raise
            raise StoreUnavailable(f"The queue file {self._path} cannot be used: {exc}") from exc

    def _ready(self) -> None:
        """Connects anew where that is needed, and sees to it that we still write to the file at our path."""
        now = time.monotonic()
        if self._db is not None and now - self._checked < _MOVED_CHECK_SECONDS:
            return
        there = identity(self._path)
        if self._db is None:
            if there == (0, 0):
                raise StoreUnavailable(
                    f"The queue file {self._path} has gone. Put it back (is its disk mounted?), or restart the "
                    "server to begin with an empty queue."
                )
            self._lock.acquire()
            try:
                self._connect()
            except (sqlite3.Error, StoreError):
                self._disconnect()
                raise
            log.warning("%s: in use again", self)
        elif there == (0, 0):
            # SQLite would go on writing to the removed file, and all of it would be lost at the next start.
            put_back(self._db, self._path)
            self._db = None
            self._connect()
            self._lock.acquire()
            log.warning("%s was removed while in use: written anew with all its jobs", self)
        elif there != self._file:
            self._rescued = self._path + ".rescued"
            save_copy(self._db, self._rescued)
            self._disconnect()
            raise self._exchanged()
        self._checked = now

    def _exchanged(self) -> StoreUnavailable:
        # The file that was moved away is not whole: what was written last stood in the log beside it.
        way = "Put the old one back in its place"
        if self._rescued:
            way = f"Its jobs are saved in {self._rescued}: put that in its place (mv {self._rescued} {self._path})"
        return StoreUnavailable(
            f"The queue file {self._path} was exchanged for another file while this server used it. {way}, or "
            "restart the server to begin with the new one."
        )

    def _after_failure(self, exc: BaseException) -> None:
        if self._db is None:
            return
        try:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
        except sqlite3.Error as second:
            log.warning("%s: rollback failed as well: %s", self, second)
            self._disconnect()
            return
        if needs_reopen(exc):
            self._disconnect()
        elif getattr(exc, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
            with contextlib.suppress(sqlite3.Error):  # an attempt to make room: the next batch may fit into the log
                self._log.shrink()

    def _write(self, batch: Batch) -> None:
        db = self._db
        assert db is not None
        todo, has_extras = statements(self._schema, batch, self._prefixes, self._has_extras)
        next_number = batch.unused
        mark = ahead(next_number, self._mark)
        if mark != self._mark:
            todo.append((self._schema.set_mark, (mark,)))
        self._log.expect(len(batch.adds) + len(batch.dones))
        if len(todo) == 1:
            db.execute(*todo[0])  # a transaction by itself
        elif todo:
            db.execute("BEGIN IMMEDIATE")
            for sql, values in todo:
                db.execute(sql, values)
            db.execute("COMMIT")
        self._mark = mark
        self._next = max(self._next, next_number)
        self._has_extras = has_extras
