"""Where a queue stands in memcached: keys, cards, and the jobs that they make. Pure: touches no connection.

Beside gearmand's key

    gear_<function>-<unique>         the workload; the flags are the priority

stands a card of ours for each job, with all that the key and value cannot say:

    geartrain:gear_<number>          the card (JSON); it is written last and removed first: what has none is no job
    geartrain:gear_<number>.<part>   the workload of a job that gearmand must or can not see: one with a time, with a
                                     key that memcached does not take, or larger than one value may be
    geartrain:gear_:<name>           the next number, handle prefixes, the queue's identity (on each server)
"""

import json
from collections.abc import Mapping
from typing import Any, Final

from geartrain.stores.base import StoredJob
from geartrain.stores.handles import Prefixes
from geartrain.stores.keys import KeyNames
from geartrain.stores.memcached_wire import Item

__all__ = ["MemcachedLayout", "dump", "is_key", "raw", "text"]

_MOST_KEY: Final = 250


class MemcachedLayout:
    """The keys of one queue.

    Args:
        prefix: gearmand's ``--libmemcached-prefix``.
        functions: names of functions with a hyphen, to take apart what gearmand wrote.
        prefixes: of handles.

    Attributes:
        base: what the keys of ours begin with.
        names: gearmand's keys.
        next: the key of the next number.
        ranges: the key of the handles' prefixes.
        id: the key of the queue's identity.
        most_value: bytes that a value may have, its key included.
    """

    def __init__(self, prefix: bytes, functions: tuple[bytes, ...], prefixes: Prefixes) -> None:
        self.names = KeyNames(prefix, functions)
        self.prefixes = prefixes
        self.base = b"geartrain:" + prefix
        self.next = self.base + b":next"
        self.ranges = self.base + b":prefixes"
        self.id = self.base + b":id"
        self.most_value = 0

    def card_key(self, number: int) -> bytes:
        """The key of a job's card."""
        return b"%b%d" % (self.base, number)

    def parts(self, number: int, parts: int) -> list[bytes]:
        """The keys of a workload in so many parts."""
        return [b"%b%d.%d" % (self.base, number, part) for part in range(parts)]

    def entry(self, job: StoredJob) -> tuple[Item, list[Item], list[bytes]]:
        """A job's card, the items of its workload, and keys under which another one may stand."""
        key, _ = self.names.join(job.function, job.unique, job.number)
        card: dict[str, Any] = {"function": text(job.function), "unique": text(job.unique)}
        stale: list[bytes] = []
        if job.when or b"-" in job.function or not is_key(key) or len(job.workload) > self.most_value - len(key):
            size = self.most_value - 100
            names = self.parts(job.number, max(-(-len(job.workload) // size), 1))
            items = [Item(name, job.workload[at * size : (at + 1) * size]) for at, name in enumerate(names)]
            card |= {"parts": len(names), "priority": job.priority}
            stale += [key] if is_key(key) else []
        else:
            items = [Item(key, job.workload, job.priority)]
            card["key"] = text(key)
        for name, value in (("when", job.when), ("attempts", job.attempts), ("reducer", text(job.reducer))):
            if value:
                card[name] = value
        if job.handle != self.prefixes.handle(job.number):
            card["handle"] = text(job.handle)
        return Item(self.card_key(job.number), dump(card)), items, stale

    def job(self, number: int, card: Mapping[str, Any], workload: bytes, priority: int) -> StoredJob:
        """The job of a card and what its keys have."""
        return StoredJob(
            number,
            raw(card["handle"]) if "handle" in card else self.prefixes.handle(number),
            raw(card["function"]),
            raw(card["unique"]),
            workload,
            priority if 0 <= priority <= 2 else 1,
            card.get("when", 0),
            raw(card.get("reducer", "")),
            card.get("attempts", 0),
        )


def is_key(key: bytes) -> bool:
    """Whether memcached takes this as a key."""
    return len(key) <= _MOST_KEY and not any(byte <= 32 or byte == 127 for byte in key)


def text(value: bytes) -> str:
    """Any bytes as text for JSON."""
    return value.decode("latin-1")


def raw(value: str) -> bytes:
    """The bytes of a text for JSON."""
    return value.encode("latin-1")


def dump(card: Mapping[str, Any]) -> bytes:
    """A card as it is stored."""
    return json.dumps(card, separators=(",", ":")).encode()
