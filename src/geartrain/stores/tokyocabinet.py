"""The durable queue in a Tokyo Cabinet hash file, in gearmand's records.

Owns the two files, their lock and the order of writing. Where what stands is in tokyocabinet_layout.py.
"""

import json
import logging
import os
from array import array
from collections.abc import Iterator, Mapping
from typing import ClassVar, Final

from geartrain.errors import ConfigError, StoreError, StoreLocked, StoreRejected, StoreUnavailable
from geartrain.stores.base import Batch, StoredJob
from geartrain.stores.handles import Prefixes
from geartrain.stores.keys import KeyNames
from geartrain.stores.lock import FileLock
from geartrain.stores.numbers import ahead
from geartrain.stores.options import flag
from geartrain.stores.tokyocabinet_layout import card_of, dump, job_of, record_of
from geartrain.stores.tokyocabinet_library import (
    HEADER,
    LOCKED,
    META,
    NO_FILE,
    NO_PERMISSION,
    CabinetError,
    HashDatabase,
    library,
)

__all__ = ["TokyoCabinetStore"]

log = logging.getLogger("geartrain.store")

_MOST_BYTES: Final = (1 << 31) - 4096
"""The library counts bytes in a C int."""
_ROOM: Final = 32 << 20
"""Free space that is left alone on the disk: the library cannot bear a full one."""


class TokyoCabinetStore:
    """See `Store`. Options: ``libtokyocabinet-file``, ``libtokyocabinet-optimize``."""

    write_on_stop: ClassVar[bool] = False
    options: ClassVar[Mapping[str, str]] = {
        "libtokyocabinet-file": "the queue's file, as /var/lib/gearman/queue.tch",
        "libtokyocabinet-optimize": "rewrite the file without gaps at the start",
    }

    def __init__(self, path: str, handle_prefix: bytes, optimize: bool = False) -> None:
        self._path = os.path.realpath(path)
        self._handle_prefix = handle_prefix
        self._prefixes = Prefixes({0: handle_prefix})
        self._optimize = optimize
        self._lock = FileLock(self._path)
        self._names = KeyNames(b"")
        self._theirs: HashDatabase | None = None
        self._ours: HashDatabase | None = None
        self._file: tuple[int, int] | None = None
        self._next = 1
        self._mark = 0

    @classmethod
    def from_options(cls, options: Mapping[str, str], handle_prefix: bytes) -> "TokyoCabinetStore":
        """See `Store.from_options`."""
        library()
        path = options.get("libtokyocabinet-file", "")
        if not path:
            raise ConfigError(
                "The queue type libtokyocabinet needs a file: add --libtokyocabinet-file=/path/to/queue.tch."
            )
        return cls(path, handle_prefix, flag(options, "libtokyocabinet-optimize"))

    def __str__(self) -> str:
        return f"Tokyo Cabinet file {self._path}"

    # -- opening

    def open(self) -> int:
        """See `Store.open`."""
        folder = os.path.dirname(self._path)
        if not os.path.isdir(folder):
            raise StoreError(f"The folder {folder} of the queue file does not exist. Make it: mkdir -p {folder}")
        self._drop()
        self._lock.acquire()
        try:
            self._open()
            self._write_mark(ahead(self._next))
        except (CabinetError, OSError, StoreError) as exc:
            self._drop()
            self._lock.release()
            if isinstance(exc, StoreError):
                raise
            raise self._translate(exc, at_start=True) from exc
        return self._next

    def _open(self) -> None:
        self._has_room(0)
        theirs = self._theirs = HashDatabase(self._path)
        ours = self._ours = HashDatabase(self._path + ".geartrain")
        if self._optimize:
            theirs.optimize()  # writes another file under the same name
            self._optimize = False
        self._file = _identity(self._path)
        next_number = max(self._next, int(ours.get(b"next") or 1))
        ours.begin()
        next_number = self._take_over(theirs, ours, next_number)
        found = ours.get(b"prefixes")
        ranges = {int(first): prefix.encode("latin-1") for first, prefix in json.loads(found or b"{}").items()}
        if not ranges or ranges[max(ranges)] != self._handle_prefix:
            ranges[next_number if ranges else 0] = self._handle_prefix
            ours.put(b"prefixes", dump({str(first): prefix.decode("latin-1") for first, prefix in ranges.items()}))
        ours.put(b"next", b"%d" % next_number)
        ours.commit()
        self._prefixes = Prefixes(ranges)
        self._next = self._mark = next_number

    def _take_over(self, theirs: HashDatabase, ours: HashDatabase, next_number: int) -> int:
        """Gives the records of gearmand numbers, and forgets those that it has finished. Returns the next number."""
        for name in ours.all_keys(b"k"):
            if theirs.get(name[1:]) is None:
                ours.delete(b"n" + int(ours.get(name) or 0).to_bytes(8))
                ours.delete(name)
        for key in theirs.all_keys():
            if ours.get(b"k" + key) is None:
                ours.put(b"k" + key, b"%d" % next_number)
                ours.put(b"n" + next_number.to_bytes(8), key)
                next_number += 1
        return next_number

    # -- reading

    def load(self) -> Iterator[StoredJob]:
        """See `Store.load`. Of all jobs only the numbers are in memory; `apply` may come between."""
        try:
            if self._theirs is None or self._ours is None:
                self._reopen()
            assert self._ours is not None
            numbers = array("Q", (int.from_bytes(name[1:]) for name in self._ours.all_keys(b"n") if len(name) == 9))
            for number in sorted(numbers):
                if self._theirs is None or self._ours is None:
                    raise StoreUnavailable(f"{self} was closed during the load.")
                job = self._job(number, self._ours, self._theirs)
                if job is not None:
                    yield job
        except (CabinetError, OSError) as exc:
            raise self._translate(exc) from exc

    def _job(self, number: int, ours: HashDatabase, theirs: HashDatabase) -> StoredJob | None:
        card = ours.get(b"n" + number.to_bytes(8))
        if card is None:
            return None
        key, _, text = card.partition(b"\0")
        record = theirs.get(key)
        if record is None:
            return None
        job = job_of(number, text, record, self._prefixes)
        if job is None:
            log.warning("%s: the record %r is no job: left where it is", self, key)
        return job

    # -- writing

    def apply(self, batch: Batch) -> None:
        """See `Store.apply`. gearmand's file is committed first: what has no number there is taken over, what has no
        record in it is forgotten, so a batch that broke off between the two can be applied again."""
        size = 0
        for job in batch.adds:
            if len(job.workload) > _MOST_BYTES:
                raise StoreRejected(f"{self}: a job of {len(job.workload)} bytes is above the limit of 2 GiB.")
            size += len(job.workload) + 500
        try:
            self._has_room(size)
            if self._theirs is None or self._ours is None:
                self._reopen()
            elif _identity(self._path) != self._file:
                raise StoreUnavailable(
                    f"The queue file {self._path} was removed or exchanged while this server used it. Put it back, or "
                    "restart the server to begin with an empty queue."
                )
            assert self._theirs is not None
            assert self._ours is not None
            self._write(batch, self._theirs, self._ours)
        except (CabinetError, OSError, StoreError) as exc:
            if isinstance(exc, StoreUnavailable):
                raise
            self._drop()
            raise self._translate(exc) from exc

    def _reopen(self) -> None:
        if self._file is not None and _identity(self._path) != self._file:
            raise StoreUnavailable(f"The queue file {self._path} has gone. Put it back, or restart the server.")
        self._drop()
        self._lock.acquire()
        self._open()
        log.warning("%s: in use again", self)

    def _write(self, batch: Batch, theirs: HashDatabase, ours: HashDatabase) -> None:
        theirs.begin()
        ours.begin()
        for done in batch.dones:
            name = b"n" + done.number.to_bytes(8)
            card = ours.get(name)
            if card is not None:
                key = card.partition(b"\0")[0]
                if ours.get(b"k" + key) == b"%d" % done.number:  # and not of a job that replaced it
                    theirs.delete(key)
                    ours.delete(b"k" + key)
                ours.delete(name)
        for job in batch.adds:
            self._add(job, theirs, ours)
        for target, value in batch.attempts.items():
            name = b"n" + target.number.to_bytes(8)
            card = ours.get(name)
            if card is not None:
                key, _, text = card.partition(b"\0")
                more = json.loads(text) if text else {}
                ours.put(name, key + b"\0" + dump(more | {"attempts": value}))
        for target, value in batch.priorities.items():
            card = ours.get(b"n" + target.number.to_bytes(8))
            key = (card or b"").partition(b"\0")[0]
            record = theirs.get(key) if card else None
            if record is not None:
                function, unique, numbers, workload = record.split(b"\0", 3)
                theirs.put(key, b"%b\0%b\0%d%b\0%b" % (function, unique, value, numbers[1:], workload))
        next_number = batch.unused
        mark = ahead(next_number, self._mark)
        if mark != self._mark:
            ours.put(b"next", b"%d" % mark)
        theirs.commit()
        ours.commit()
        self._mark = mark
        self._next = max(self._next, next_number)

    def _add(self, job: StoredJob, theirs: HashDatabase, ours: HashDatabase) -> None:
        key, readable = self._names.join(job.function, job.unique, job.number)
        old = ours.get(b"k" + key)
        if old is not None and int(old) != job.number:
            ours.delete(b"n" + int(old).to_bytes(8))
        theirs.put(key, record_of(job, key))
        more = card_of(job, readable, self._prefixes)
        ours.put(b"n" + job.number.to_bytes(8), key + (b"\0" + dump(more) if more else b""))
        ours.put(b"k" + key, b"%d" % job.number)

    def close(self) -> None:
        """See `Store.close`."""
        if self._ours is not None:
            try:
                self._write_mark(self._next)
            except CabinetError as exc:
                log.warning("%s", self._translate(exc))  # the mark is ahead of every number that was given
        self._drop()
        self._lock.release()

    def _write_mark(self, mark: int) -> None:
        assert self._ours is not None
        self._ours.begin()
        self._ours.put(b"next", b"%d" % mark)
        self._ours.commit()
        self._mark = mark

    def _drop(self) -> None:
        for database in (self._theirs, self._ours):
            if database is not None:
                try:
                    database.close()
                except CabinetError as exc:
                    log.warning("%s", self._translate(exc))
        self._theirs = self._ours = None

    def _has_room(self, size: int) -> None:
        disk = os.statvfs(os.path.dirname(self._path))
        if disk.f_bavail * disk.f_frsize < _ROOM + 3 * size:
            raise StoreUnavailable(f"The queue file {self._path} cannot grow: the disk is full. Free space on it.")

    def _translate(self, exc: Exception, *, at_start: bool = False) -> StoreError:
        if isinstance(exc, StoreError):
            return StoreUnavailable(str(exc))
        number = exc.args[0] if isinstance(exc, CabinetError) else 0
        text = str(exc.args[-1])
        if number == LOCKED:
            return StoreLocked(f"The queue {self._path} is in use by another program ({text}). Stop it first.")
        if at_start and number in (META, HEADER):
            return StoreError(
                f"The queue file is damaged, or no hash database ({text}). Try: tchmgr optimize {self._path}"
            )
        if at_start and number in (NO_PERMISSION, NO_FILE):
            return StoreError(f"The queue file cannot be opened: {text}.")
        return StoreUnavailable(f"The queue file cannot be used: {text}.")


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino
