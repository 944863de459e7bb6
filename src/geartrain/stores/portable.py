"""A queue in a file of its own kind, to be carried from one store to another.

Owns the format: one JSON object in a line, UTF-8, so that it can be read, searched and cut with ordinary tools.

    {"format": "geartrain-queue", "version": 1, "next_number": 4712}
    {"number": 17, "handle": "H:db1:17", "function": "resize", "unique": "img-9", "workload": "a.png", "priority": 1}
    ...                                    [, "when": seconds since 1970] [, "reducer": text] [, "attempts": n]
    {"jobs": 1}

Bytes that are not UTF-8 stand as {"base64": "..."}. The last line tells that the file is whole. A name that ends in
.gz is compressed.
"""

import base64
import binascii
import contextlib
import gzip
import json
import os
import sys
from collections.abc import Iterable, Iterator
from typing import IO, Any, Final

from geartrain.errors import GeartrainError
from geartrain.stores.base import StoredJob

__all__ = ["PortableError", "Reader", "write"]

_HEAD: Final = {"format": "geartrain-queue", "version": 1}
_BYTES: Final = ("handle", "function", "unique", "workload", "reducer")


class PortableError(GeartrainError):
    """The file is no queue that was exported."""


def write(path: str, jobs: Iterable[StoredJob], next_number: int) -> int:
    """Writes jobs to a file, or to standard output for ``-``. The file appears under its name when it is complete.

    Returns:
        how many.

    Raises:
        PortableError: it cannot be written.
    """
    if path == "-":
        return _write(sys.stdout.buffer, jobs, next_number)
    part = path + ".part"
    try:
        with open(part, "wb") as raw:
            with gzip.open(raw, "wb", 5) if path.endswith(".gz") else contextlib.nullcontext(raw) as file:
                count = _write(file, jobs, next_number)  # type: ignore[arg-type]
            raw.flush()
            os.fsync(raw.fileno())
        os.replace(part, path)
        folder = os.open(os.path.dirname(os.path.abspath(path)), os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as exc:
        raise PortableError(f"{exc.filename or part} cannot be written: {exc.strerror}.") from exc
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(part)
    return count


def _write(file: IO[bytes], jobs: Iterable[StoredJob], next_number: int) -> int:
    count = 0
    file.write(_line(_HEAD | {"next_number": next_number}))
    for job in jobs:
        fields = {name: value for name, value in job._asdict().items() if value or name in _REQUIRED}
        file.write(_line({name: _text(value) if name in _BYTES else value for name, value in fields.items()}))
        count += 1
    file.write(_line({"jobs": count}))
    file.flush()
    return count


_REQUIRED: Final = frozenset({"number", "handle", "function", "unique", "workload", "priority"})


class Reader:
    """Reads such a file, or standard input for ``-``.

    Attributes:
        next_number: the number that the queue would have given next.
        share: how much of the file has been read, 0 to 1; 0 where its size is not known.

    Raises:
        PortableError: it cannot be read, is of another kind, or (known at its end, from `jobs`) was cut off.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._line_number = 1
        self._files = contextlib.ExitStack()
        with contextlib.ExitStack() as opened:
            self._open(path, opened)
            self._files = opened.pop_all()

    def _open(self, path: str, opened: contextlib.ExitStack) -> None:
        try:
            self._raw: IO[bytes] = sys.stdin.buffer if path == "-" else opened.enter_context(open(path, "rb"))  # noqa: SIM115
            self._size = 0 if path == "-" else os.fstat(self._raw.fileno()).st_size
            compressed = path.endswith(".gz")
            self._file: IO[bytes] = gzip.GzipFile(fileobj=self._raw) if compressed else self._raw  # type: ignore[assignment]
            head = self._object(self._file.readline())
        except OSError as exc:
            raise PortableError(f"{path} cannot be read: {exc.strerror or exc}.") from exc
        if head.get("format") != _HEAD["format"]:
            raise PortableError(f"{path} is no queue that geartrain exported.")
        if head.get("version") != _HEAD["version"]:
            raise PortableError(f"{path} was written by a newer geartrain: take that one to read it.")
        self.next_number = int(head.get("next_number", 1))

    @property
    def share(self) -> float:
        return self._raw.tell() / self._size if self._size else 0.0

    def jobs(self) -> Iterator[StoredJob]:
        """All jobs, in the order of the file."""
        count = 0
        try:
            while line := self._file.readline():
                self._line_number += 1
                fields = self._object(line)
                if "jobs" in fields:
                    if fields["jobs"] != count:
                        raise PortableError(f"{self._path} says that it has {fields['jobs']} jobs, and has {count}.")
                    return
                yield self._job(fields)
                count += 1
        except (OSError, EOFError) as exc:
            raise PortableError(f"{self._path} cannot be read after {count} jobs: {exc}.") from exc
        raise PortableError(
            f"{self._path} was cut off after {count} jobs. They are in; export the queue again for more."
        )

    def close(self) -> None:
        self._files.close()

    def _object(self, line: bytes) -> dict[str, Any]:
        try:
            found = json.loads(line)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise PortableError(f"{self._path}, line {self._line_number}: this is no job.")
        return found

    def _job(self, fields: dict[str, Any]) -> StoredJob:
        try:
            values: dict[str, Any] = {
                name: _raw(value) if name in _BYTES else int(value) for name, value in fields.items()
            }
            return StoredJob(**values)
        except (TypeError, ValueError, KeyError, binascii.Error) as exc:
            raise PortableError(f"{self._path}, line {self._line_number}: this is no job: {exc}.") from exc


def _line(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(", ", ": ")).encode() + b"\n"


def _text(value: bytes) -> str | dict[str, str]:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode()}


def _raw(value: str | dict[str, str]) -> bytes:
    return value.encode() if isinstance(value, str) else base64.b64decode(value["base64"], validate=True)
