"""Tokyo Cabinet's hash database, through its C library.

Owns the calls. Knows no jobs.
"""

import ctypes
import ctypes.util
import os
from collections.abc import Iterator
from functools import cache
from typing import Any, Final

from geartrain.errors import ConfigError

__all__ = ["CabinetError", "HashDatabase", "library"]

_WRITER, _CREATE, _LOCK_NO_WAIT = 1 << 1, 1 << 2, 1 << 5
_LARGE: Final = 1 << 0
"""A file may grow beyond 2 GiB."""
_BUCKETS: Final = 1_000_003
NO_FILE, NO_PERMISSION, META, HEADER, LOCKED, NO_RECORD = 3, 4, 5, 6, 16, 22
"""Error numbers of the library (enum in tcutil.h)."""


class CabinetError(Exception):
    """The library refused. args: error number, its text."""


class _Libraries:
    """The library twice: `quick` keeps the interpreter's lock (a call for each record, and the server's thread would
    take the lock for milliseconds at each), `slow` gives it up."""

    def __init__(self, name: str) -> None:
        self.quick = ctypes.PyDLL(name)
        self.slow = ctypes.CDLL(name)
        pointer, data, size = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
        layout = [pointer, ctypes.c_int64, ctypes.c_int8, ctypes.c_int8, ctypes.c_uint8]
        for library in (self.quick, self.slow):
            for call, result, arguments in (
                ("tchdbnew", pointer, []),
                ("tchdbdel", None, [pointer]),
                ("tchdbecode", size, [pointer]),
                ("tchdberrmsg", data, [size]),
                ("tchdbsetmutex", ctypes.c_bool, [pointer]),
                ("tchdbsetxmsiz", ctypes.c_bool, [pointer, ctypes.c_int64]),
                ("tchdbtune", ctypes.c_bool, layout),
                ("tchdboptimize", ctypes.c_bool, layout),
                ("tchdbopen", ctypes.c_bool, [pointer, data, size]),
                ("tchdbclose", ctypes.c_bool, [pointer]),
                ("tchdbput", ctypes.c_bool, [pointer, data, size, data, size]),
                ("tchdbout", ctypes.c_bool, [pointer, data, size]),
                ("tchdbget", pointer, [pointer, data, size, ctypes.POINTER(size)]),
                ("tchdbtranbegin", ctypes.c_bool, [pointer]),
                ("tchdbtrancommit", ctypes.c_bool, [pointer]),
                ("tchdbsync", ctypes.c_bool, [pointer]),
                ("tchdbtranabort", ctypes.c_bool, [pointer]),
                ("tchdbfwmkeys", pointer, [pointer, data, size, size]),
                ("tclistnum", size, [pointer]),
                ("tclistval", pointer, [pointer, size, ctypes.POINTER(size)]),
                ("tclistdel", None, [pointer]),
                ("tcfree", None, [pointer]),
            ):  # fmt: skip
                function = getattr(library, call)
                function.restype = result
                function.argtypes = arguments


@cache
def library() -> Any:
    """The library.

    Raises:
        ConfigError: it is not installed.
    """
    name = ctypes.util.find_library("tokyocabinet") or "libtokyocabinet.so.9"
    try:
        return _Libraries(name)
    except (OSError, AttributeError) as exc:
        raise ConfigError(
            "The queue type libtokyocabinet needs the C library of Tokyo Cabinet: apt-get install libtokyocabinet9"
        ) from exc


class HashDatabase:
    """One file, open for writing. May be used by two threads."""

    def __init__(self, path: str) -> None:
        self._libraries = library()
        self._quick, self._slow = self._libraries.quick, self._libraries.slow
        self._db = self._slow.tchdbnew()
        self._size = ctypes.c_int()
        self.path = path
        try:
            self._slow.tchdbsetmutex(self._db)
            # Not mapped into memory beyond its index: a write to a mapped page for which the disk has no room ends
            # the process.
            self._slow.tchdbsetxmsiz(self._db, 0)
            self._slow.tchdbtune(self._db, _BUCKETS, -1, -1, _LARGE)
            self._check(self._slow.tchdbopen(self._db, os.fsencode(path), _WRITER | _CREATE | _LOCK_NO_WAIT))
        except CabinetError:
            self._slow.tchdbdel(self._db)
            self._db = None
            raise

    def _check(self, ok: bool) -> None:
        if not ok:
            number = self._quick.tchdbecode(self._db)
            raise CabinetError(number, f"{self.path}: {self._quick.tchdberrmsg(number).decode('ascii', 'replace')}")

    def optimize(self) -> None:
        """Rewrites the file without its gaps."""
        self._check(self._slow.tchdboptimize(self._db, -1, -1, -1, 0xFF))

    def put(self, key: bytes, value: bytes) -> None:
        self._check(self._quick.tchdbput(self._db, key, len(key), value, len(value)))

    def delete(self, key: bytes) -> None:
        """Removes a record; one that is not there is no error."""
        if not self._quick.tchdbout(self._db, key, len(key)) and self._quick.tchdbecode(self._db) != NO_RECORD:
            self._check(False)

    def get(self, key: bytes) -> bytes | None:
        size = ctypes.c_int()
        found = self._quick.tchdbget(self._db, key, len(key), ctypes.byref(size))
        if not found:
            if self._quick.tchdbecode(self._db) != NO_RECORD:
                self._check(False)
            return None
        value = ctypes.string_at(found, size.value)
        self._quick.tcfree(found)
        return value

    def all_keys(self, prefix: bytes = b"") -> Iterator[bytes]:
        """All keys with a prefix, as they are at this moment, in no order."""
        found = self._slow.tchdbfwmkeys(self._db, prefix, len(prefix), -1)
        try:
            size = ctypes.c_int()
            for index in range(self._quick.tclistnum(found)):
                yield ctypes.string_at(self._quick.tclistval(found, index, ctypes.byref(size)), size.value)
        finally:
            self._quick.tclistdel(found)

    def begin(self) -> None:
        self._check(self._slow.tchdbtranbegin(self._db))

    def commit(self) -> None:
        """Returns when it is on the disk.

        The library's own way (HDBOTSYNC) syncs its log at each record, a few thousand in a second. Here the log keeps a
        batch whole when the process is killed, and one sync at the end makes it durable; only a power failure during
        that sync can leave a file that needs ``tchmgr optimize``.
        """
        self._check(self._slow.tchdbtrancommit(self._db))
        self._check(self._slow.tchdbsync(self._db))

    def abort(self) -> None:
        self._check(self._slow.tchdbtranabort(self._db))

    def close(self) -> None:
        """May be called twice.

        Raises:
            CabinetError: what was written before could not be completed; it is closed all the same.
        """
        if self._db is not None:
            ok = self._slow.tchdbclose(self._db)
            try:
                self._check(ok)
            finally:
                self._slow.tchdbdel(self._db)
                self._db = None
