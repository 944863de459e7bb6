"""The write-ahead log of the SQLite file: what makes a commit durable, and what makes it fast.

Owns the pragmas about it, its length, and the room that is taken for it in advance. Knows nothing of tables and jobs.

A commit that writes over an old part of the log takes half the time of one that makes the log longer: then the file
system must put its own records of the file on the disk as well. So the log gets its length when the file is opened,
and begins anew (by a checkpoint) where that length ends.
"""

import contextlib
import logging
import sqlite3
from typing import Final

__all__ = ["Log"]

log = logging.getLogger("geartrain.store")

_PAGES: Final = 1000
"""Length of the log. SQLite's default, and 4 MiB of the usual pages."""
_MORE_PAGES: Final = 4000
"""The same while batches are large. They touch many pages of the index each, and the next one touches most of them
again: the fewer checkpoints, the less is written."""
_LARGE: Final = 50
"""Rows of a large batch."""
_CACHED: Final = 10
"""Pages in memory while the log gets its length. The others are written to it."""


class Log:
    """The log of one connection.

    Args:
        db: just connected, in no transaction.
    """

    __slots__ = ("_db", "_pages", "ahead")

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._pages = 0
        self.ahead: bool = db.execute("PRAGMA journal_mode=WAL").fetchone()[0] == b"wal"
        """Whether this file system allows one."""
        db.execute("PRAGMA synchronous=FULL")
        self.expect(1)

    def expect(self, rows: int) -> None:
        """Tells how many rows the next commit has."""
        pages = _PAGES if rows < _LARGE else _MORE_PAGES
        if pages != self._pages:
            self._db.execute(f"PRAGMA wal_autocheckpoint={pages}")
            self._pages = pages

    def reserve(self) -> None:
        """Gives the log its length, by a transaction that is too large for the memory and is taken back.

        It may fail: commits are slower then, until the log has grown.
        """
        if not self.ahead:
            return
        db = self._db
        cache, size = (db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("cache_size", "page_size"))
        db.execute(f"PRAGMA cache_size={_CACHED}")
        try:
            db.execute("PRAGMA wal_checkpoint")  # what a killed server left: else the new length comes behind it
            db.execute("BEGIN IMMEDIATE")
            db.execute("CREATE TABLE geartrain_room (room)")  # not AS SELECT: that would have it all in memory
            db.execute(f"INSERT INTO geartrain_room VALUES (zeroblob({(_PAGES + 2 * _CACHED) * size}))")
        except sqlite3.Error as exc:
            log.debug("no room is reserved for the log: %s", exc)
            self._take_back()
            with contextlib.suppress(sqlite3.Error):  # there may be no room for this either
                self.shrink()
        else:
            self._take_back()
        db.execute(f"PRAGMA cache_size={cache}")

    def shrink(self) -> None:
        """Gives the room back, for what needs it more."""
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _take_back(self) -> None:
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")
