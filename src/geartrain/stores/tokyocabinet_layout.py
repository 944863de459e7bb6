"""Records of a Tokyo Cabinet queue to jobs and back. Pure: touches no file.

gearmand's file holds its own records and nothing else (it takes every record for a job):

    <function>-<unique>    ->  function NUL unique NUL, one character for the priority, time in decimal NUL, workload

What gearmand has no place for is in a file of ours beside it, ``<file>.geartrain``:

    n<number, 8 bytes>     ->  the key in gearmand's file [NUL and what else the job has, as JSON]
    k<key>                 ->  the number
    next, prefixes         ->  the next number; handle prefixes by first number
"""

import json
from collections.abc import Mapping
from typing import Any

from geartrain.stores import surrogate
from geartrain.stores.base import StoredJob
from geartrain.stores.handles import Prefixes

__all__ = ["card_of", "dump", "job_of", "record_of"]


def record_of(job: StoredJob, key: bytes) -> bytes:
    """gearmand's record for a job under a key."""
    unique = key[len(job.function) + 1 :]
    return b"%b\0%b\0%d%d\0%b" % (job.function, unique, job.priority, job.when, job.workload)


def card_of(job: StoredJob, readable: bool, prefixes: Prefixes) -> dict[str, Any]:
    """What the record cannot say; empty for most jobs.

    Args:
        readable: the unique can be read from the record.
    """
    card: dict[str, Any] = {}
    if not readable:
        card["unique"] = job.unique.decode("latin-1")
    if job.reducer:
        card["reducer"] = job.reducer.decode("latin-1")
    if job.attempts:
        card["attempts"] = job.attempts
    if job.handle != prefixes.handle(job.number):
        card["handle"] = job.handle.decode("latin-1")
    return card


def job_of(number: int, card: bytes, record: bytes, prefixes: Prefixes) -> StoredJob | None:
    """The job of a record and its card; None where it is none."""
    parts = record.split(b"\0", 3)
    if len(parts) < 4 or not parts[0]:
        return None
    function, unique, numbers, workload = parts
    more: dict[str, Any] = json.loads(card) if card else {}
    if parsed := surrogate.parse(unique):
        unique = {surrogate.EMPTY: b"", surrogate.DASH: b"-"}.get(parsed[0], unique)
    return StoredJob(
        number,
        more["handle"].encode("latin-1") if "handle" in more else prefixes.handle(number),
        function,
        more["unique"].encode("latin-1") if "unique" in more else unique,
        workload,
        {b"0": 0, b"2": 2}.get(numbers[:1], 1),
        int(numbers[1:]) if numbers[1:].isdigit() else 0,
        more.get("reducer", "").encode("latin-1"),
        more.get("attempts", 0),
    )


def dump(value: Mapping[str, Any]) -> bytes:
    """A card as it is stored."""
    return json.dumps(value, separators=(",", ":")).encode()
