"""Where a queue stands in Redis: keys, fields, and the jobs that they make. Pure: touches no connection.

What gearmand has written is read in its three forms; what we write is the hash of gearmand 2.0 with fields of ours,
which gearmand does not look at:

    _gear_-<function>-<unique>             HASH data priority function unique [handle when reducer attempts]
    geartrain:_gear_:later:<number>        the same, for a job with a time: gearmand would run it at once
    geartrain:_gear_:jobs                  ZSET of all keys by number: the order, and what a handle stands for
    geartrain:_gear_:{next,id,prefixes}    the next number; the queue's identity; handle prefixes by first number
    geartrain:_gear_:owner                 the identity of the server that has it
"""

import re
from collections.abc import Mapping
from typing import Any

from geartrain.stores import surrogate
from geartrain.stores.base import StoredJob
from geartrain.stores.handles import Prefixes
from geartrain.stores.keys import KeyNames

__all__ = ["RedisLayout"]


class RedisLayout:
    """The keys of one queue.

    Args:
        prefix: gearmand's ``--redis-prefix``.
        functions: names of functions with a hyphen, to take apart what gearmand 1.1 wrote.
        prefixes: of handles.

    Attributes:
        base: what the keys of ours begin with.
        index: the key of the sorted set of all jobs.
        next: the key of the next number.
        id: the key of the queue's identity.
        owner: the key of what the server that uses the queue has left there.
        ranges: the key of the handles' prefixes.
        pattern: finds all keys of gearmand's form.
    """

    def __init__(self, prefix: bytes, functions: tuple[bytes, ...], prefixes: Prefixes) -> None:
        self._keys = KeyNames(prefix + b"-", functions)
        self.prefixes = prefixes
        self.base = b"geartrain:%b:" % prefix
        self.index = self.base + b"jobs"
        self.next = self.base + b"next"
        self.id = self.base + b"id"
        self.owner = self.base + b"owner"
        self.ranges = self.base + b"prefixes"
        self.pattern = re.sub(rb"([*?\[\]\\^])", rb"\\\1", self._keys.prefix) + b"*"

    def regular(self, key: bytes, number: int) -> bytes:
        """The key that a key of gearmand's has to be renamed to: it has one for all the jobs of a function without a
        unique, and each job needs its own."""
        parts = self._keys.split(key)
        if parts is None or parts[1] not in (b"", b"-"):
            return key
        return self._keys.join(parts[0], parts[1], number)[0]

    def entry(self, job: StoredJob) -> tuple[bytes, bytes, dict[bytes, Any]]:
        """A job's key, the other key under which it could stand, and its fields."""
        visible, readable = self._keys.join(job.function, job.unique, job.number)
        later = b"%blater:%d" % (self.base, job.number)
        fields: dict[bytes, Any] = {
            b"data": job.workload,
            b"priority": job.priority,
            b"function": job.function,
            # What gearmand reads is what its key has.
            b"unique": visible[len(self._keys.prefix) + len(job.function) + 1 :],
        }
        if not readable:
            fields[b"true_unique"] = job.unique
        if job.when:
            fields[b"when"] = job.when
        if job.reducer:
            fields[b"reducer"] = job.reducer
        if job.attempts:
            fields[b"attempts"] = job.attempts
        if job.handle != self.prefixes.handle(job.number):
            fields[b"handle"] = job.handle
        return (later, visible, fields) if job.when else (visible, later, fields)

    def job(self, key: bytes, number: int, fields: Mapping[bytes, bytes]) -> StoredJob | None:
        """The job of a key and its fields; None where it is none."""
        function, unique = fields.get(b"function"), fields.get(b"true_unique", fields.get(b"unique"))
        if not function or unique is None:
            parts = self._keys.split(key)
            if parts is None:
                return None
            function, unique = parts
        if (parsed := surrogate.parse(unique)) and b"true_unique" not in fields:
            unique = {surrogate.EMPTY: b"", surrogate.DASH: b"-"}.get(parsed[0], unique)
        priority = _int(fields.get(b"priority"), 1)
        return StoredJob(
            number, fields.get(b"handle") or self.prefixes.handle(number), function, unique,
            fields.get(b"data", b""), priority if 0 <= priority <= 2 else 1, _int(fields.get(b"when"), 0),
            fields.get(b"reducer", b""), _int(fields.get(b"attempts"), 0),
        )  # fmt: skip


def _int(value: bytes | None, default: int) -> int:
    try:
        return int(value or b"")
    except ValueError:
        return default
