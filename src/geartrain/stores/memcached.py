"""The queue in memcached, in gearmand's keys and values.

Owns the connections and the order of writing. memcached keeps the queue in memory only: it outlives our server, not
memcached's. Where what stands is in memcached_layout.py.
"""

import json
import logging
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Final

from geartrain.errors import ConfigError, StoreEmptied, StoreError, StoreUnavailable
from geartrain.stores import surrogate
from geartrain.stores.base import Batch, StoredJob
from geartrain.stores.handles import Prefixes
from geartrain.stores.keys import functions_option
from geartrain.stores.memcached_layout import MemcachedLayout, dump, is_key, raw, text
from geartrain.stores.memcached_wire import Item, MemcachedError, Wire, one_at_a_time
from geartrain.stores.numbers import ahead

__all__ = ["MemcachedStore"]

log = logging.getLogger("geartrain.store")

_AT_ONCE: Final = 20
"""Workloads that are fetched at once; each may have a megabyte."""


class MemcachedStore:
    """See `Store`. Options: ``libmemcached-servers``, ``-prefix``, ``-functions``.

    Two servers on one prefix do not notice each other: memcached has no lock that goes with its holder.
    """

    write_on_stop: ClassVar[bool] = False
    options: ClassVar[Mapping[str, str]] = {
        "libmemcached-servers": "memcached servers as host:port,host:port (default: localhost:11211)",
        "libmemcached-prefix": "what the keys begin with (default: gear_)",
        "libmemcached-functions": "names of functions with a hyphen, to take over what gearmand wrote",
    }

    def __init__(
        self, servers: Sequence[tuple[str, int]], prefix: bytes, handle_prefix: bytes, functions: tuple[bytes, ...] = ()
    ) -> None:
        self._servers = list(servers)
        self._prefix = prefix
        self._layout = MemcachedLayout(prefix, functions, Prefixes({0: handle_prefix}))
        self._handle_prefix = handle_prefix
        self._wires: list[Wire] = []
        self._queue_id = b""
        self._next = 1
        self._mark = 0

    @classmethod
    def from_options(cls, options: Mapping[str, str], handle_prefix: bytes) -> "MemcachedStore":
        """See `Store.from_options`."""
        servers = _servers(options.get("libmemcached-servers") or "localhost:11211")
        prefix = options.get("libmemcached-prefix", "gear_").encode()
        if not prefix or len(prefix) > 100 or not is_key(prefix):
            raise ConfigError("--libmemcached-prefix takes 1 to 100 characters without spaces.")
        return cls(servers, prefix, handle_prefix, functions_option(options, "libmemcached-functions"))

    def __str__(self) -> str:
        servers = ", ".join(f"{host}:{port}" for host, port in self._servers)
        return f"memcached at {servers}, keys {self._prefix.decode('utf-8', 'replace')}*"

    # -- opening

    def open(self) -> int:
        """See `Store.open`."""
        self._drop()
        try:
            self._open()
            mark = ahead(self._next)
            self._set([Item(self._layout.next, b"%d" % mark)])
            self._mark = mark
        except StoreError:
            self._drop()
            raise
        except (OSError, MemcachedError) as exc:
            self._drop()
            raise self._translate(exc) from exc
        return self._next

    def _open(self) -> None:
        for host, port in self._servers:
            self._wires.append(Wire(host, port))
        for wire in self._wires:
            version = wire.stats().get(b"version", b"").decode("ascii", "replace")
            if _version(version) < (1, 6, 9):
                raise StoreError(f"{self}: version {version} cannot name all its keys. Version 1.6.9 or later can.")
        settings = [wire.stats(b"settings") for wire in self._wires]
        # The item's own header and key count against the limit.
        self._layout.most_value = min(int(one.get(b"item_size_max", b"1048576")) for one in settings) - 1024
        if any(one.get(b"evictions") == b"on" for one in settings) and not self._queue_id:
            log.warning("%s may throw jobs away when its memory is full. Start memcached with -M", self)
        again, emptied = bool(self._queue_id), self._identify()
        values = self._get([self._layout.next, self._layout.ranges])
        marked = values.get(self._layout.next)
        next_number = max(self._next, int(marked.value) if marked else 1)
        if not again:
            next_number = self._take_over(next_number)
        found = values.get(self._layout.ranges)
        ranges = {int(first): raw(prefix) for first, prefix in json.loads(found.value).items()} if found else {}
        if not ranges or ranges[max(ranges)] != self._handle_prefix:
            ranges[next_number if ranges else 0] = self._handle_prefix
            encoded = json.dumps({str(first): text(prefix) for first, prefix in ranges.items()}).encode()
            self._set([Item(self._layout.ranges, encoded)])
        self._layout.prefixes = Prefixes(ranges)
        self._set([Item(self._layout.next, b"%d" % next_number)])
        self._next = self._mark = next_number
        if emptied:
            raise StoreEmptied(f"{self} has come back empty.")

    def _identify(self) -> bool:
        """Has every server know that it keeps this queue. Returns whether one of them has forgotten it."""
        found = self._identities()
        known = self._queue_id or next(filter(None, found), uuid.uuid4().hex.encode())
        if self._queue_id and any(one not in (b"", known) for one in found):
            raise StoreUnavailable(
                f"{self}: this is not the queue that the server started with. Bring that one back, or restart the "
                "server to begin with this one."
            )
        for wire in self._wires:
            wire.set_many([Item(self._layout.id, known)])
        emptied = bool(self._queue_id) and b"" in found
        self._queue_id = known
        return emptied

    def _identities(self) -> list[bytes]:
        key = self._layout.id
        return [wire.get_many([key]).get(key, Item(key, b"")).value for wire in self._wires]

    def _take_over(self, next_number: int) -> int:
        """Gives a card to every job of gearmand's that has none, removes what gearmand has finished and what was left
        half written. Returns the next number."""
        numbers, parts, theirs = self._all_keys(all_of_them=True)
        next_number = max(next_number, max(numbers, default=0) + 1)
        gone: dict[bytes, bytes] = {}
        used: set[bytes] = set()
        taken: set[bytes] = set()
        for portion in _portions(sorted(numbers, reverse=True)):  # of two cards for one key the newer is right
            for number, card in self._cards(portion).items():
                key = card.get("key")
                if key is None:
                    used.update(self._layout.parts(number, card["parts"]))
                elif raw(key) in theirs:
                    theirs.discard(raw(key))
                    taken.add(raw(key))
                else:
                    gone[self._layout.card_key(number)] = raw(key)
        self._delete(list(parts - used))
        there = self._get(gone.values())
        self._delete([card for card, key in gone.items() if key not in there or key in taken])
        cards = []
        for key in sorted(theirs):
            split = self._layout.names.split(key)
            if split is None:
                log.warning("%s: the key %r is no job: left where it is", self, key)
                continue
            function, unique = split
            if parsed := surrogate.parse(unique):
                unique = {surrogate.EMPTY: b"", surrogate.DASH: b"-"}.get(parsed[0], unique)
            card = {"function": text(function), "unique": text(unique), "key": text(key)}
            cards.append(Item(self._layout.card_key(next_number), dump(card)))
            next_number += 1
        if cards:
            log.info("%s: %d jobs of gearmand taken over", self, len(cards))
        self._set(cards)
        return next_number

    def _all_keys(self, *, all_of_them: bool) -> tuple[list[int], set[bytes], set[bytes]]:
        """Numbers of cards; and, if wanted, keys of parts and keys in gearmand's form."""
        numbers: list[int] = []
        parts: set[bytes] = set()
        theirs: set[bytes] = set()
        for wire in self._wires:
            for key in wire.all_keys():
                if key.startswith(self._layout.base):
                    name = key[len(self._layout.base) :]
                    if name.isdigit():
                        numbers.append(int(name))
                    elif all_of_them and name[:1].isdigit():
                        parts.add(key)
                elif all_of_them and key.startswith(self._prefix):
                    theirs.add(key)
        return numbers, parts, theirs

    # -- reading

    def load(self) -> Iterator[StoredJob]:
        """See `Store.load`. Of all jobs only the numbers are in memory."""
        reader = MemcachedStore(self._servers, self._prefix, self._handle_prefix)
        reader._layout = self._layout
        try:
            try:
                for host, port in self._servers:
                    reader._wires.append(Wire(host, port))
                numbers, _, _ = reader._all_keys(all_of_them=False)
                numbers.sort()
                for portion in _portions(numbers):
                    yield from reader._jobs(portion)
            finally:
                reader._drop()
        except (OSError, MemcachedError) as exc:
            raise self._translate(exc) from exc

    def _jobs(self, numbers: Sequence[int]) -> Iterator[StoredJob]:
        cards = self._cards(numbers)
        for some in _portions(sorted(cards), _AT_ONCE):
            values = self._get([raw(cards[number]["key"]) for number in some if "key" in cards[number]])
            for number in some:
                card = cards[number]
                if "key" in card:
                    item = values.get(raw(card["key"]))
                    if item is not None:  # gearmand, or a batch at this moment, has removed it
                        yield self._layout.job(number, card, item.value, item.flags)
                    continue
                names = self._layout.parts(number, card["parts"])
                found = self._get(names)
                if len(found) == len(names):
                    yield self._layout.job(
                        number, card, b"".join(found[name].value for name in names), card["priority"]
                    )

    # -- writing

    def apply(self, batch: Batch) -> None:
        """See `Store.apply`. memcached has no transactions: what is written first can be done without, so that a
        batch that broke off can be applied again."""
        try:
            if not self._wires:
                self._open()
                log.warning("%s: connected again", self)
            elif batch.empty and set(self._identities()) != {self._queue_id}:
                self._drop()
                self._open()
            self._write(batch)
        except StoreEmptied:
            raise
        except (OSError, MemcachedError, StoreError) as exc:
            self._drop()
            raise self._translate(exc) from exc

    def _write(self, batch: Batch) -> None:
        next_number = batch.unused
        mark = ahead(next_number, self._mark)
        if mark != self._mark:
            self._set([Item(self._layout.next, b"%d" % mark)])
            self._mark = mark
        if batch.dones:
            self._finish([key.number for key in batch.dones])
        if batch.adds:
            self._add(batch.adds)
        changes: dict[int, dict[str, int]] = {}
        for name, wanted in (("attempts", batch.attempts), ("priority", batch.priorities)):
            for key, value in wanted.items():
                changes.setdefault(key.number, {})[name] = value
        if changes:
            self._change(changes)
        self._next = max(self._next, next_number)

    def _finish(self, numbers: Sequence[int]) -> None:
        jobs: list[bytes] = []
        cards: list[bytes] = []
        for number, card in self._cards(numbers).items():  # what has no card was replaced, or is gone already
            jobs += [raw(card["key"])] if "key" in card else self._layout.parts(number, card["parts"])
            cards.append(self._layout.card_key(number))
        self._delete(jobs)  # first: a card without a job is nothing, a job without a card would run again
        self._delete(cards)

    def _add(self, adds: Iterable[StoredJob]) -> None:
        jobs: list[Item] = []
        before: list[Item] = []
        behind: list[Item] = []
        stale: list[bytes] = []
        for job in adds:
            card, items, gone = self._layout.entry(job)
            in_parts = items[0].key.startswith(self._layout.base)
            # A batch may break off anywhere. A job under gearmand's key that has no card would be taken for one of
            # gearmand's, and run although it was refused; parts that have none are nothing.
            (behind if in_parts else before).append(card)
            jobs += items
            stale += gone
        self._delete(stale)
        self._set(before)
        self._set(jobs)
        self._set(behind)

    def _change(self, changes: Mapping[int, Mapping[str, int]]) -> None:
        cards = self._cards(list(changes))
        items = []
        for number, card in cards.items():
            new = dict(changes[number])
            if "key" in card and "priority" in new:
                key = raw(card["key"])
                items += [found._replace(flags=new["priority"]) for found in self._get([key]).values()]
                del new["priority"]
            items.append(Item(self._layout.card_key(number), dump(card | new)))
        self._set(items)

    def close(self) -> None:
        """See `Store.close`."""
        if self._wires:
            try:
                self._set([Item(self._layout.next, b"%d" % self._next)])
            except (OSError, MemcachedError) as exc:
                log.warning("%s", self._translate(exc))  # the mark is ahead of every number that was given
        self._drop()

    # -- the servers

    def _wire(self, key: bytes) -> Wire:
        """gearmand's library finds a key on the same one."""
        return self._wires[one_at_a_time(key) % len(self._wires) if len(self._wires) > 1 else 0]

    def _by_wire(self, keys: Iterable[bytes]) -> dict[Wire, list[bytes]]:
        found: dict[Wire, list[bytes]] = {}
        for key in keys:
            found.setdefault(self._wire(key), []).append(key)
        return found

    def _set(self, items: Sequence[Item]) -> None:
        by_wire: dict[Wire, list[Item]] = {}
        for item in items:
            by_wire.setdefault(self._wire(item.key), []).append(item)
        for wire, some in by_wire.items():
            wire.set_many(some)

    def _delete(self, keys: Sequence[bytes]) -> None:
        for wire, some in self._by_wire(keys).items():
            wire.delete_many(some)

    def _get(self, keys: Iterable[bytes]) -> dict[bytes, Item]:
        found: dict[bytes, Item] = {}
        for wire, some in self._by_wire(keys).items():
            found |= wire.get_many(some)
        return found

    def _cards(self, numbers: Iterable[int]) -> dict[int, dict[str, Any]]:
        """Cards by number, of those that have one."""
        found = self._get(self._layout.card_key(number) for number in numbers)
        return {int(key[len(self._layout.base) :]): json.loads(item.value) for key, item in found.items()}

    def _drop(self) -> None:
        for wire in self._wires:
            wire.close()
        self._wires = []

    def _translate(self, exc: Exception) -> StoreError:
        return StoreUnavailable(str(exc) if isinstance(exc, StoreError) else f"{self}: {exc}.")


def _servers(text: str) -> list[tuple[str, int]]:
    found = []
    for part in text.replace("--SERVER=", " ").replace(",", " ").split():
        host, colon, port = part.rpartition(":")
        if not colon:
            host, port = part, "11211"
        if not port.isdigit() or not 0 < int(port) < 65536 or not host:
            raise ConfigError(f"--libmemcached-servers: {part} is not of the form host:port.")
        found.append((host.strip("[]"), int(port)))
    return found


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])


def _portions(items: Sequence[Any], size: int = 500) -> Iterator[Sequence[Any]]:
    return (items[start : start + size] for start in range(0, len(items), size))
