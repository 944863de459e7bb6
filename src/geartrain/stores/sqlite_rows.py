"""Rows of the SQLite tables to jobs and back. Pure: touches no connection.

Owns the reader's tolerance (what gearmand, an older gearmand or a hand may have written) and the statements that a
batch becomes.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, Final

from geartrain.stores import surrogate
from geartrain.stores.base import Batch, StoredJob
from geartrain.stores.handles import Prefixes
from geartrain.stores.sqlite_schema import Schema

__all__ = ["jobs", "statements"]

log = logging.getLogger("geartrain.store")

Statement = tuple[str, Sequence[Any]]

_CHUNK_ROWS: Final = 2000
_CHUNK_BYTES: Final = 8 << 20
"""Values are copied when they are bound: a statement of many large workloads would hold them all twice."""
_COPIED: Final = 4096
"""Bytes up to which a workload is bound as a bytearray, as the keys are: for bytes, Python 3.11's driver first looks
for an adapter, and to raise and drop the error that there is none takes longer than a copy. (3.14's does not.)"""


def jobs(rows: Iterable[Sequence[Any]], prefixes: Prefixes) -> Iterator[StoredJob]:
    """Jobs of rows: number, unique, function, priority, workload, when[, true unique, handle, reducer, attempts].

    A row that cannot be a job is logged and left out.
    """
    first, last, prefix = 1, 0, b""
    for row in rows:
        number, unique, function, priority, workload, when = row[:6]
        if not first <= number <= last:
            prefix, first, last = prefixes.at(number)
        if not (
            type(unique) is bytes and type(function) is bytes and function and type(workload) is bytes
            and type(when) is int and when >= 0 and type(priority) is int and 0 <= priority <= 2
        ):  # fmt: skip
            odd = _tolerate(row)
            if odd is None:
                log.warning("row %d of the queue has no function name: left where it is", number)
                continue
            unique, function, priority, workload, when = odd
        handle, reducer, attempts, true_unique = b"%b%d" % (prefix, number), b"", 0, None
        if len(row) > 6:
            true_unique = row[6]
            handle, reducer, attempts = row[7] or handle, row[8] or b"", row[9] or 0
        if unique[:6] == b"9ea27a" and (parsed := surrogate.parse(unique)):
            kind = parsed[0]
            if kind == surrogate.OTHER:
                unique = unique if true_unique is None else true_unique
            else:
                unique = b"" if kind == surrogate.EMPTY else b"-"
        yield StoredJob(number, handle, function, unique, workload, priority, when, reducer, attempts)


def _tolerate(row: Sequence[Any]) -> tuple[bytes, bytes, int, bytes, int] | None:
    """A row as other programs may have left it: NULL for an empty workload (gearmand), NULL for a time that an older
    table had no column for, numbers where text belongs."""
    function = _bytes(row[2])
    if not function:
        return None
    priority, when = _int(row[3], 1), _int(row[5], 0)
    return _bytes(row[1]), function, priority if 0 <= priority <= 2 else 1, _bytes(row[4]), max(when, 0)


def _bytes(value: object) -> bytes:
    if isinstance(value, bytes):
        return value
    return b"" if value is None else str(value).encode()


def _int(value: object, default: int) -> int:
    if isinstance(value, bytes | str | int | float):
        try:
            return int(value)
        except (ValueError, OverflowError):
            return default
    return default


def statements(schema: Schema, batch: Batch, prefixes: Prefixes, has_extras: bool) -> tuple[list[Statement], bool]:
    """What a batch becomes, in the order in which it must be executed; and whether the table of extras has rows
    after it (has_extras: whether it may have some before)."""
    gone = [key.number for key in batch.dones]
    rows, extras = _rows(batch.adds, prefixes)
    found: list[Statement] = []
    found += _chunks(schema.delete_jobs, [(number,) for number in gone])
    if has_extras:  # what stood under a number that is written anew goes too
        stale = gone + [row[0] for row in rows]
        found += _chunks(schema.delete_extras, [(number,) for number in stale])
    found += _chunks(schema.insert_jobs, rows, workload=4)
    found += _chunks(schema.insert_extras, extras)
    found += [(schema.set_attempts, (value, key.number)) for key, value in batch.attempts.items()]
    found += [(schema.set_priority, (value, key.number)) for key, value in batch.priorities.items()]
    return found, has_extras or bool(extras or batch.attempts)


def _rows(adds: Iterable[StoredJob], prefixes: Prefixes) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    rows: list[tuple[Any, ...]] = []
    extras: list[tuple[Any, ...]] = []
    first, last, prefix = 1, 0, b""
    stored_unique = surrogate.stored_unique
    for number, handle, function, unique, workload, priority, when, reducer, attempts in adds:
        if not first <= number <= last:
            prefix, first, last = prefixes.at(number)
        key = stored_unique(unique, number)
        data = bytearray(workload) if len(workload) <= _COPIED else workload
        rows.append((number, bytearray(key), bytearray(function), priority, data, when))
        plain = key is unique or not unique or unique == b"-"
        usual = handle == b"%b%d" % (prefix, number)
        if reducer or attempts or not plain or not usual:
            extras.append(
                (number, key, function, None if plain else unique, None if usual else handle, reducer or None, attempts)
            )
    return rows, extras


def _chunks(sql: Callable[[int], str], rows: Sequence[tuple[Any, ...]], workload: int = -1) -> Iterator[Statement]:
    """As few statements as may be: at each the interpreter's lock is given up and fought for again, and the server's
    thread may keep it for milliseconds. A statement of a thousand rows runs wholly beside that thread."""
    weights = [len(row[workload]) for row in rows] if workload >= 0 else [0] * len(rows)
    start = size = 0
    if len(rows) > _CHUNK_ROWS or sum(weights) > _CHUNK_BYTES:
        for index, weight in enumerate(weights):
            if index > start and (index - start >= _CHUNK_ROWS or size + weight > _CHUNK_BYTES):
                yield sql(index - start), list(chain.from_iterable(rows[start:index]))
                start, size = index, 0
            size += weight
    if rows:
        yield sql(len(rows) - start), list(chain.from_iterable(rows[start:]))
