"""memcached's text protocol, as much as a queue needs: many writes in one go, many reads in one go, all keys.

Owns one socket. Knows no jobs.
"""

import socket
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple
from urllib.parse import unquote_to_bytes

__all__ = ["Item", "MemcachedError", "Wire", "one_at_a_time"]

_CONNECT_SECONDS: Final = 5.0
_ANSWER_SECONDS: Final = 60.0
_STORED: Final = frozenset({b"STORED\r\n", b"DELETED\r\n", b"NOT_FOUND\r\n"})
_IN_FLIGHT: Final = 1000
"""Requests that are sent before their answers are read: the answers must fit into the buffers of the system."""


class MemcachedError(Exception):
    """The server refused: its line is the text."""


class Item(NamedTuple):
    """A key with its flags and value."""

    key: bytes
    value: bytes
    flags: int = 0


class Wire:
    """A connection to one server.

    Raises OSError where the connection fails, MemcachedError where the server refuses.
    """

    def __init__(self, host: str, port: int) -> None:
        self._socket = socket.create_connection((host, port), _CONNECT_SECONDS)
        self._socket.settimeout(_ANSWER_SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = self._socket.makefile("rb", 1 << 16)

    def close(self) -> None:
        self._file.close()
        self._socket.close()

    def set_many(self, items: Sequence[Item]) -> None:
        """Stores items, in their order."""
        self._each(
            [b"set %b %d 0 %d\r\n%b\r\n" % (item.key, item.flags, len(item.value), item.value) for item in items]
        )

    def delete_many(self, keys: Sequence[bytes]) -> None:
        """Removes keys; one that is not there is no error."""
        self._each([b"delete %b\r\n" % key for key in keys])

    def get_many(self, keys: Sequence[bytes]) -> dict[bytes, Item]:
        """The items of those keys that are there."""
        found: dict[bytes, Item] = {}
        for start in range(0, len(keys), 100):
            self._socket.sendall(b"get %b\r\n" % b" ".join(keys[start : start + 100]))
            while (line := self._line()) != b"END\r\n":
                word, key, flags, size = line.split()[:4]
                if word != b"VALUE":
                    raise MemcachedError(line.decode("utf-8", "replace").strip())
                value = self._read(int(size) + 2)[:-2]
                found[key] = Item(key, value, int(flags))
        return found

    def all_keys(self) -> Iterator[bytes]:
        """All keys. To be read to the end.

        By the hash table, which memcached does since 1.6.9. The older ways miss keys: ``stats cachedump`` names only
        the first two megabytes of each slab class, ``metadump all`` leaves out what moves between lists meanwhile.
        """
        self._socket.sendall(b"lru_crawler metadump hash\r\n")
        while (line := self._line()) != b"END\r\n":
            if line == b"OK\r\n":  # some versions begin with it
                continue
            if not line.startswith(b"key="):
                raise MemcachedError(line.decode("utf-8", "replace").strip())
            yield unquote_to_bytes(line[4 : line.index(b" ")])

    def stats(self, group: bytes = b"") -> dict[bytes, bytes]:
        """The server's statistics or, with the group ``settings``, its settings."""
        self._socket.sendall(b"stats %b\r\n" % group if group else b"stats\r\n")
        found = {}
        while (line := self._line()) != b"END\r\n":
            parts = line.rstrip(b"\r\n").split(b" ", 2)
            if parts[0] != b"STAT":
                raise MemcachedError(line.decode("utf-8", "replace").strip())
            found[parts[1]] = parts[2] if len(parts) > 2 else b""
        return found

    def _each(self, requests: Sequence[bytes]) -> None:
        refused = b""
        for start in range(0, len(requests), _IN_FLIGHT):
            portion = requests[start : start + _IN_FLIGHT]
            self._socket.sendall(b"".join(portion))
            for _ in portion:
                line = self._line()
                if line not in _STORED:
                    refused = refused or line
        if refused:  # only now: the connection stays in step
            raise MemcachedError(refused.decode("utf-8", "replace").strip())

    def _line(self) -> bytes:
        line = self._file.readline()
        if not line.endswith(b"\n"):
            raise ConnectionResetError("the server closed the connection")
        return line

    def _read(self, size: int) -> bytes:
        data: bytes = self._file.read(size)
        if len(data) != size:
            raise ConnectionResetError("the server closed the connection")
        return data


def one_at_a_time(key: Iterable[int]) -> int:
    """The hash (by Bob Jenkins) by which libmemcached chooses one of several servers."""
    value = 0
    for byte in key:
        signed = byte if byte < 128 else byte | 0xFFFFFF00  # C's char, on most machines
        value = (value + signed) & 0xFFFFFFFF
        value = (value + (value << 10)) & 0xFFFFFFFF
        value ^= value >> 6
    value = (value + (value << 3)) & 0xFFFFFFFF
    value ^= value >> 11
    return (value + (value << 15)) & 0xFFFFFFFF
