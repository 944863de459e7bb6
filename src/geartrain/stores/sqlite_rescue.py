"""An SQLite file that was removed while it is in use: put back from the connection that still has it.

Owns the copy and the order in which files are exchanged. Knows nothing of tables.
"""

import contextlib
import os
import sqlite3

__all__ = ["identity", "put_back", "save_copy"]


def identity(path: str) -> tuple[int, int]:
    """Device and inode of a file; (0, 0) where there is none."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return 0, 0
    return found.st_dev, found.st_ino


def save_copy(db: sqlite3.Connection, copy: str) -> None:
    """Writes the whole database of this connection to another file, durably.

    Raises:
        sqlite3.Error, OSError: it cannot be written; the connection is still open and has everything.
    """
    _remove(copy)
    target = sqlite3.connect(copy)
    try:
        db.backup(target)
        target.execute("PRAGMA journal_mode=DELETE")  # one file, complete in itself
    finally:
        target.close()
    _sync(copy)
    _sync(os.path.dirname(copy))


def put_back(db: sqlite3.Connection, path: str) -> None:
    """Writes the whole database of this connection to its path, from where its file was removed, and closes it.

    Raises:
        sqlite3.Error, OSError: as `save_copy`.
    """
    copy = path + ".rescued"
    save_copy(db, copy)
    db.close()
    for leftover in ("-wal", "-shm"):  # they belong to the file that is gone
        _remove(path + leftover)
    os.rename(copy, path)
    _sync(os.path.dirname(path))


def _remove(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def _sync(path: str) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
