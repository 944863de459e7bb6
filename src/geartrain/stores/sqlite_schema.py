"""The tables in the SQLite file: gearmand's, and ours beside it.

Owns their SQL: creation, take-over of an older file, and the statements that a batch is made of.

gearmand's table stays as gearmand makes it. Ours carry its name: ``<table>_geartrain`` (a few values),
``<table>_geartrain_prefixes`` (handle prefixes by range of numbers) and ``<table>_geartrain_extra`` (what some jobs
have that gearmand has no column for). gearmand does not look at them.
"""

import logging
import sqlite3
import uuid
from typing import Final, NamedTuple

from geartrain.errors import StoreError
from geartrain.stores.handles import Prefixes

__all__ = ["Schema", "State"]

log = logging.getLogger("geartrain.store")

_CANARY: Final = 1 << 40
"""The ROWID of one row of ours. A queue that was copied with .dump (or, as SQLite's documentation allows, by a VACUUM)
gets new ROWIDs, and this row with it: then they are no handles' numbers any more."""


class State(NamedTuple):
    """What a file has when it is opened."""

    queue_id: bytes
    next_number: int
    prefixes: Prefixes
    has_extras: bool


class Schema:
    """The SQL for one table name."""

    def __init__(self, table: str) -> None:
        self.table = table
        self.queue = _quoted(table)
        self.values = _quoted(f"{table}_geartrain")
        self.extra = _quoted(f"{table}_geartrain_extra")
        self._prefixes = _quoted(f"{table}_geartrain_prefixes")
        self.set_mark = f"INSERT INTO {self.values} (name, value) VALUES ('next_number', ?) " + (
            "ON CONFLICT (name) DO UPDATE SET value = excluded.value"
        )
        columns = "q.rowid, q.unique_key, q.function_name, q.priority, q.data, q.when_to_run"
        self.select_plain = f"SELECT {columns} FROM {self.queue} q ORDER BY q.rowid"
        # An extra belongs to the row that it was written with: a row that gearmand put there later, under the same
        # ROWID, has another key.
        self.select_with_extra = (
            f"SELECT {columns}, e.true_unique, e.handle, e.reducer, e.attempts FROM {self.queue} q "
            f"LEFT JOIN {self.extra} e ON e.number = q.rowid AND {_same('e', 'q')} ORDER BY q.rowid"
        )
        self.set_attempts = (
            f"INSERT INTO {self.extra} (number, unique_key, function_name, attempts) "
            f"SELECT rowid, {_blob('unique_key')}, {_blob('function_name')}, ?1 FROM {self.queue} WHERE rowid = ?2 "
            "ON CONFLICT (number) DO UPDATE SET attempts = excluded.attempts"
        )
        self.set_priority = f"UPDATE {self.queue} SET priority = ? WHERE rowid = ?"

    def insert_jobs(self, rows: int) -> str:
        """Six values for each row: number, unique, function, priority, workload, when.

        The keys are cast: they are bytes of any kind, and gearmand wants the type TEXT."""
        return (
            f"INSERT OR REPLACE INTO {self.queue} "
            "(rowid, unique_key, function_name, priority, data, when_to_run) VALUES "
            + ",".join(["(?,CAST(? AS TEXT),CAST(? AS TEXT),?,?,?)"] * rows)
        )

    def insert_extras(self, rows: int) -> str:
        """Seven values for each: number, stored unique, function, true unique, handle, reducer, attempts."""
        return (
            f"INSERT OR REPLACE INTO {self.extra} "
            "(number, unique_key, function_name, true_unique, handle, reducer, attempts) VALUES "
            + ",".join(["(?,?,?,?,?,?,?)"] * rows)
        )

    def delete_jobs(self, rows: int) -> str:
        """One number for each."""
        return f"DELETE FROM {self.queue} WHERE rowid IN ({','.join('?' * rows)})"

    def delete_extras(self, rows: int) -> str:
        """One number for each."""
        return f"DELETE FROM {self.extra} WHERE number IN ({','.join('?' * rows)})"

    def prepare(self, db: sqlite3.Connection, handle_prefix: bytes) -> State:
        """Makes or upgrades the tables, inside the caller's transaction.

        Raises:
            StoreError: the table is there and cannot be a queue.
            sqlite3.Error: as it comes.
        """
        self._take_over(db)
        db.execute(f"CREATE TABLE IF NOT EXISTS {self.values} (name TEXT PRIMARY KEY, value)")
        db.execute(f"CREATE TABLE IF NOT EXISTS {self._prefixes} (first INTEGER PRIMARY KEY, prefix BLOB NOT NULL)")
        db.execute(
            f"CREATE TABLE IF NOT EXISTS {self.extra} (number INTEGER PRIMARY KEY, unique_key BLOB, "
            "function_name BLOB, true_unique BLOB, handle BLOB, reducer BLOB, attempts INTEGER)"
        )
        found = db.execute(f"SELECT rowid, value FROM {self.values} WHERE name = 'id'").fetchone()
        queue_id = found[1] if found else uuid.uuid4().bytes
        if not found:
            db.execute(f"INSERT INTO {self.values} (rowid, name, value) VALUES (?, 'id', ?)", (_CANARY, queue_id))
        next_number = self._next_number(db)
        if found and found[0] != _CANARY:
            next_number = self._renumber(db, next_number)
        # gearmand deletes its own rows only: what it finished is still here.
        db.execute(
            f"DELETE FROM {self.extra} WHERE NOT EXISTS "
            f"(SELECT 1 FROM {self.queue} q WHERE q.rowid = number AND {_same(self.extra, 'q')})"
        )
        has_extras = db.execute(f"SELECT EXISTS (SELECT 1 FROM {self.extra})").fetchone()[0] == 1
        return State(queue_id, next_number, self._ranges(db, next_number, handle_prefix), has_extras)

    def queue_id(self, db: sqlite3.Connection) -> bytes:
        """What tells this queue from every other; empty where no server of ours has used it yet."""
        try:
            found = db.execute(f"SELECT value FROM {self.values} WHERE name = 'id'").fetchone()
        except sqlite3.OperationalError as exc:
            if "no such table" in str(exc):
                return b""
            raise
        return bytes(found[0]) if found else b""

    def _take_over(self, db: sqlite3.Connection) -> None:
        db.execute(
            f"CREATE TABLE IF NOT EXISTS {self.queue} (unique_key TEXT, function_name TEXT, priority INTEGER, "
            "data BLOB, when_to_run INTEGER, PRIMARY KEY (unique_key, function_name))"
        )
        columns = {row[1].decode("utf-8", "replace").lower() for row in db.execute(f"PRAGMA table_info({self.queue})")}
        missing = {"unique_key", "function_name", "priority", "data"} - columns
        if missing:
            raise StoreError(
                f"The table {self.table} is no Gearman queue: it has no column {', '.join(sorted(missing))}. "
                "Name another table with --libsqlite3-table."
            )
        if "when_to_run" not in columns:
            # gearmand adds the column without a default, and cannot read the rows that were there before.
            db.execute(f"ALTER TABLE {self.queue} ADD COLUMN when_to_run INTEGER DEFAULT 0")
        try:
            db.execute(f"SELECT rowid FROM {self.queue} LIMIT 1")
        except sqlite3.OperationalError as exc:
            raise StoreError(f"The table {self.table} has no ROWID and cannot be used as a queue.") from exc

    def _next_number(self, db: sqlite3.Connection) -> int:
        mark = db.execute(f"SELECT value FROM {self.values} WHERE name = 'next_number'").fetchone()
        last = db.execute(f"SELECT max(rowid) FROM {self.queue}").fetchone()[0]
        return max(int(mark[0]) if mark else 1, (last or 0) + 1)

    def _renumber(self, db: sqlite3.Connection, next_number: int) -> int:
        """The ROWIDs are new, and some are the numbers of handles that other jobs had: all jobs get numbers that
        were never given."""
        log.warning(
            "the queue in table %s was copied or vacuumed, its jobs get new handles: status requests for handles that "
            "were given out before find no job", self.table,
        )  # fmt: skip
        db.execute(f"UPDATE {self.queue} SET rowid = rowid + ?", (next_number,))
        db.execute(f"UPDATE {self.extra} SET number = -number")
        db.execute(
            f"UPDATE {self.extra} SET handle = NULL, number = ifnull("
            f"(SELECT q.rowid FROM {self.queue} q WHERE {_same(self.extra, 'q')}), number)"
        )
        db.execute(f"UPDATE {self.values} SET rowid = ? WHERE name = 'id'", (_CANARY,))
        return self._next_number(db)

    def _ranges(self, db: sqlite3.Connection, next_number: int, handle_prefix: bytes) -> Prefixes:
        ranges: dict[int, bytes] = dict(db.execute(f"SELECT first, prefix FROM {self._prefixes}").fetchall())
        if not ranges or ranges[max(ranges)] != handle_prefix:
            # The first server of a file gives its prefix to the rows of gearmand, too.
            first = next_number if ranges else 0
            db.execute(f"INSERT OR REPLACE INTO {self._prefixes} (first, prefix) VALUES (?, ?)", (first, handle_prefix))
            ranges[first] = handle_prefix
        return Prefixes(ranges)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _blob(column: str) -> str:
    return f"CAST({column} AS BLOB)"


def _same(extra: str, queue: str) -> str:
    return (
        f"{extra}.unique_key = {_blob(f'{queue}.unique_key')} AND "
        f"{extra}.function_name = {_blob(f'{queue}.function_name')}"
    )
