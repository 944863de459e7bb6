"""What SQLite's errors mean for a queue, and the sentence for each.

Owns the table of result codes. Knows nothing of tables and jobs.
"""

import sqlite3
from typing import Final, NamedTuple

from geartrain.errors import StoreError, StoreRejected, StoreUnavailable

__all__ = ["hopeless_at_start", "needs_reopen", "translate"]


class _Meaning(NamedTuple):
    text: str
    kind: type[StoreError] = StoreUnavailable
    reopen: bool = True
    """The connection may be damaged: a new one is needed."""
    start: bool = True
    """Waiting can help when this happens at the start."""


_UNKNOWN: Final = _Meaning("cannot be used: {reason}. See the log, and check the file with: sqlite3 {path} '.tables'")
# By primary result code (https://www.sqlite.org/rescode.html).
_MEANINGS: Final[dict[int, _Meaning]] = {
    sqlite3.SQLITE_FULL: _Meaning(
        "cannot grow: the disk is full. Free space on it; nothing that was acknowledged is lost", reopen=False
    ),
    sqlite3.SQLITE_BUSY: _Meaning(
        "is locked by another program. Close the sqlite3 shell or backup that holds it", reopen=False
    ),
    sqlite3.SQLITE_LOCKED: _Meaning("is locked by another program ({reason})", reopen=False),
    sqlite3.SQLITE_NOMEM: _Meaning("cannot be written: out of memory"),
    sqlite3.SQLITE_IOERR: _Meaning("cannot be read or written: {reason}. Check the disk (dmesg)"),
    sqlite3.SQLITE_CORRUPT: _Meaning(
        "is damaged ({reason}). Save a copy, then: sqlite3 {path} .recover | sqlite3 new.db", start=False
    ),
    sqlite3.SQLITE_NOTADB: _Meaning("is not an SQLite database. Name another file with --libsqlite3-db", start=False),
    sqlite3.SQLITE_READONLY: _Meaning(
        "is read-only. Give the server's user the right to write the file and its folder", start=False
    ),
    sqlite3.SQLITE_PERM: _Meaning("may not be used: {reason}. Check its owner and mode", start=False),
    sqlite3.SQLITE_AUTH: _Meaning("may not be used: {reason}. Check its owner and mode", start=False),
    sqlite3.SQLITE_CANTOPEN: _Meaning(
        "cannot be opened. Check that its folder exists and that the server's user may write there", start=False
    ),
    sqlite3.SQLITE_TOOBIG: _Meaning(
        "cannot hold a job of this size: {reason} (SQLite's limit for one row)", StoreRejected, reopen=False
    ),
    sqlite3.SQLITE_ERROR: _Meaning("cannot be used as a queue: {reason}", start=False),
}


def _meaning(exc: BaseException) -> _Meaning:
    if isinstance(exc, OverflowError):
        return _MEANINGS[sqlite3.SQLITE_TOOBIG]
    code = getattr(exc, "sqlite_errorcode", None)
    return _UNKNOWN if code is None else _MEANINGS.get(code & 0xFF, _UNKNOWN)


def translate(exc: BaseException, path: str) -> StoreError:
    """The error of ours for an `sqlite3.Error`, or an OverflowError of its binding."""
    meaning = _meaning(exc)
    return meaning.kind(f"The queue file {path} {meaning.text.format(path=path, reason=exc)}.")


def needs_reopen(exc: BaseException) -> bool:
    """Whether the connection should be given up after this error."""
    return _meaning(exc).reopen


def hopeless_at_start(exc: BaseException) -> bool:
    """Whether a server that starts should give up: waiting cannot help."""
    return not _meaning(exc).start
