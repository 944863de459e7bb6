"""The parser: feed bytes in any chunks, get whole packets and text lines.

Owns the buffer of what has not come whole yet. Must not know jobs, sockets or what a command does.

Promises:
- Linear time: no byte is looked at again because a packet came in many pieces.
- Bounded memory: what is kept is what has arrived, never what a header announces; a packet above `max_packet`
  and a text line above `MAX_LINE` end the stream.
- A large workload or result is not copied in the server, a smaller one once.
"""

from struct import Struct
from typing import Final, TypeAlias

from geartrain.protocol.commands import LAYOUTS, MAX_COMMAND, Command
from geartrain.protocol.packets import HEADER_SIZE, REQUEST_MAGIC, RESPONSE_MAGIC

__all__ = ["DEFAULT_MAX_PACKET", "MAX_LINE", "TEXT", "TOO_FEW", "WRONG_MAGIC", "Fault", "Item", "Parser"]

Item: TypeAlias = tuple[int, list[bytes]]
"""A command's number and the parts of its body (the arguments, and the data last), or one of the three below.

Much data, which a server only passes on, may stand in several parts: the pieces in which it came."""

TEXT: Final = MAX_COMMAND + 1
"""A line of the text protocol, without its end: one part."""
WRONG_MAGIC: Final = MAX_COMMAND + 2
"""A whole packet, but with the magic of the other direction: no parts."""
TOO_FEW: Final = MAX_COMMAND + 3
"""A packet with fewer parts than its command has: one part, the command's number in decimal."""

DEFAULT_MAX_PACKET: Final = 256 * 1024 * 1024
MAX_LINE: Final = 16 * 1024

_HEADER: Final = Struct(">QI")
"""Magic and command as one number, then the body's size: one object less per packet than three fields."""
_unpack: Final = _HEADER.unpack_from
_SPLITS: Final = [0] + [max(LAYOUTS[c].parts - 1, 0) for c in sorted(LAYOUTS)]
"""NULs to split a body at. There is one part more, or the packet is too short."""
_FROM_WORKERS: Final = frozenset(
    int(command) for command in (Command.WORK_COMPLETE, Command.WORK_DATA, Command.WORK_WARNING, Command.WORK_EXCEPTION)
)
"""A handle and a worker's data. Perl's Gearman::Worker sends an empty result as the handle alone, without a NUL (and
hangs on gearmand)."""
_PASSED_ON: Final = _FROM_WORKERS | {
    int(command)
    for command in (
        Command.SUBMIT_JOB, Command.SUBMIT_JOB_HIGH, Command.SUBMIT_JOB_LOW,
        Command.SUBMIT_JOB_BG, Command.SUBMIT_JOB_HIGH_BG, Command.SUBMIT_JOB_LOW_BG,
    )
}  # fmt: skip
_BEGUN: Final = (_FROM_WORKERS - {int(Command.WORK_EXCEPTION)}) | {
    int(command) for command in (Command.SUBMIT_JOB, Command.SUBMIT_JOB_HIGH, Command.SUBMIT_JOB_LOW)
}
"""What lives no longer than its peers wait for it, and may be kept by others than the parser."""
_PIECES_FROM: Final = 256 * 1024
"""Bytes of such a packet that are not joined any more,"""
_MOST_PIECES: Final = 32
"""unless they came in more pieces than this."""
_TINY_PIECES: Final = 512
_NO_PARTS: Final[list[bytes]] = []
_EMPTY: Final[list[Item]] = [
    (number, [b""] * parts) if parts < 2 else (TOO_FEW, [b"%d" % number])
    for number, parts in enumerate([0, *(LAYOUTS[c].parts for c in sorted(LAYOUTS))])
]
"""What a packet with an empty body is."""
_ALONE: Final[dict[bytes, Item]] = {
    _HEADER.pack((int.from_bytes(REQUEST_MAGIC, "big") << 32) + number, 0): item
    for number, item in enumerate(_EMPTY)
    if number
}
"""The same by the whole packet. A read ends with one so often (GRAB_JOB) that it is looked up."""
_NONE_ALONE: Final[dict[bytes, Item]] = {}
_CUT_FROM: Final = 2048
"""Bytes of a body from which it pays to look for the NULs first, so that the workload is copied once."""
_EMPTY_CHUNKS: Final[list[bytes]] = []


class Fault:
    """Why a stream cannot be read any further.

    Attributes:
        code: an error code of the protocol, or empty where gearmand closes without a word.
        text: the sentence for the wire and the log.
        handle: the job that a worker's packet speaks of, if it is that which cannot be read.
    """

    __slots__ = ("code", "handle", "text")

    def __init__(self, code: bytes, text: str, handle: bytes = b"") -> None:
        self.code = code
        self.text = text
        self.handle = handle


class Parser:
    """Turns a stream of bytes into packets.

    Args:
        magic: the magic of the packets that are expected: `REQUEST_MAGIC` in the server, `RESPONSE_MAGIC` in
            clients and workers.
        max_packet: the largest body, in bytes.

    Attributes:
        fault: set once the stream cannot be read any further; whatever is fed after that is dropped.
        lines: how many text lines have come.
        missing: how many bytes the packet at hand still lacks, 0 when that is not known: a hint for the size
            of the next read.
    """

    __slots__ = (
        "_alone",
        "_base",
        "_chunks",
        "_joined",
        "_max",
        "_other",
        "_rest",
        "_text",
        "fault",
        "lines",
        "missing",
    )

    def __init__(self, magic: bytes = REQUEST_MAGIC, max_packet: int = DEFAULT_MAX_PACKET) -> None:
        other = RESPONSE_MAGIC if magic == REQUEST_MAGIC else REQUEST_MAGIC
        self._alone: dict[bytes, Item] = _ALONE if magic == REQUEST_MAGIC else _NONE_ALONE
        self._base: int = int.from_bytes(magic, "big") << 32
        self._other: int = int.from_bytes(other, "big") << 32
        self._text: bool = magic == REQUEST_MAGIC
        self._max: int = max_packet
        self._rest: bytes = b""  # less than a header, or the first piece of a packet or line
        self._chunks: list[bytes] = _EMPTY_CHUNKS  # the pieces after it
        self._joined: int = 0  # how many of them are not to be joined again
        self.lines: int = 0
        self.missing: int = 0
        self.fault: Fault | None = None

    def feed(self, data: bytes) -> list[Item]:
        """Takes the next bytes of the stream.

        Returns:
            the packets and lines that are whole now, in order. Look at `fault` afterwards.
        """
        if self._rest:
            if self.missing > len(data):
                self._add(data)
                return []
            if self.missing > 0:
                return self._complete(data)
            data = self._rest + data  # _rest is short here: less than a header, or a line below MAX_LINE
            self._rest = b""
        items: list[Item] = []
        if self.fault is not None:
            return items
        offset = 0
        size = len(data)
        last = size - HEADER_SIZE
        base = self._base
        most = self._max
        key: int
        length: int
        while offset <= last:
            if offset == last:
                item = self._alone.get(data[offset:] if offset else data)
                if item is not None:
                    items.append(item)
                    return items
            key, length = _header(data, offset)
            command = key - base
            if command < 1 or command > MAX_COMMAND:
                offset = self._unusual(data, offset, key, length, items)
                if offset < 0:
                    return items
                continue
            start = offset + HEADER_SIZE
            end = start + length
            if end > size or length > most:
                break
            offset = end
            if not length:
                items.append(_EMPTY[command])
                continue
            splits = _SPLITS[command]
            if not splits:
                items.append((command, [data[start:end]]))
                continue
            parts = data[start:end].split(b"\0", splits) if length < _CUT_FROM else _cut(data, start, end, splits)
            items.append((command, parts) if len(parts) > splits else _short(command, parts))
        if offset < size:
            self._keep(data[offset:] if offset else data, items)
        return items

    def begun(self) -> Item | None:
        """The packet at hand as far as it has come, if its data is only passed on while somebody waits for it, and
        all its arguments are there. The caller may then take the missing bytes himself, and `forget` the packet."""
        first = self._rest
        if self._chunks or not self.missing:
            return None
        key: int
        key, _ = _unpack(first)
        command = key - self._base
        if command not in _BEGUN:
            return None
        parts = _cut(first, HEADER_SIZE, len(first), _SPLITS[command])
        return (command, parts) if len(parts) > _SPLITS[command] else None

    def _add(self, data: bytes) -> None:
        """One more piece of a packet. Tiny ones are joined: each is an object that is larger than what it holds."""
        chunks = self._chunks
        chunks.append(data)
        self.missing -= len(data)
        tail = len(chunks) - self._joined
        if tail >= _TINY_PIECES:
            if sum(map(len, chunks[-tail:])) < _TINY_PIECES * 1024:
                chunks[-tail:] = [b"".join(chunks[-tail:])]
            self._joined = len(chunks)

    def _keep(self, rest: bytes, items: list[Item]) -> None:
        """Keeps the beginning of a packet or line."""
        if rest[0] and self._text:
            offset = self._lines(rest, 0, items)
            if offset < 0:
                return
            rest = rest[offset:]
            if len(rest) >= HEADER_SIZE and not rest[0]:
                items += self.feed(rest)
                return
        elif rest[0]:
            self._refuse(b"", "the bytes are not a Gearman packet")
            return
        elif len(rest) >= HEADER_SIZE:
            key: int
            length: int
            key, length = _unpack(rest)
            if length > self._max:
                handle, nul, _ = rest[HEADER_SIZE:].partition(b"\0")
                self._refuse(
                    b"ARGUMENT_TOO_LARGE",
                    f"A packet of {length} bytes was announced, the limit is {self._max} bytes (--max-packet)",
                    handle if nul and key - self._base in _FROM_WORKERS else b"",
                )
                return
            self.missing = HEADER_SIZE + length - len(rest)
            self._chunks = []
            self._joined = 0
        self._rest = rest

    def _complete(self, data: bytes) -> list[Item]:
        """The packet that came in pieces is whole: its arguments stand in the first piece, most often."""
        first = self._rest
        missing = self.missing
        chunks = self._chunks
        self._rest = b""
        self._chunks = _EMPTY_CHUNKS
        self.missing = 0
        chunks.append(data[:missing] if len(data) > missing else data)
        items: list[Item] = []
        key: int
        length: int
        key, length = _unpack(first)
        command = key - self._base
        if 1 <= command <= MAX_COMMAND:
            splits = _SPLITS[command]
            parts = _cut(first, HEADER_SIZE, len(first), splits)
            if len(parts) > splits:
                chunks.insert(0, parts[-1])
                whole = length < _PIECES_FROM or len(chunks) > _MOST_PIECES or command not in _PASSED_ON
                parts[-1:] = (b"".join(chunks),) if whole or not self._text else chunks
            else:
                chunks.insert(0, first[HEADER_SIZE:])
                parts = b"".join(chunks).split(b"\0", splits)
            items.append((command, parts) if len(parts) > splits else _short(command, parts))
        else:
            items.append((WRONG_MAGIC, _NO_PARTS))
        if len(data) > missing:
            items += self.feed(data[missing:])
        return items

    def _unusual(self, data: bytes, offset: int, key: int, length: int, items: list[Item]) -> int:
        """What does not begin as an expected packet: a text line, the other magic, or garbage.

        Returns:
            where to go on, or -1 where nothing more can be read now.
        """
        if data[offset]:
            if self._text:
                return self._lines(data, offset, items)
            self._refuse(b"", "the bytes are not a Gearman packet")
            return -1
        if 1 <= key - self._other <= MAX_COMMAND:
            end = offset + HEADER_SIZE + length
            if end > len(data):
                self._keep(data[offset:], items)
                return -1
            items.append((WRONG_MAGIC, _NO_PARTS))
            return end
        self._refuse(b"", f"neither a packet of the protocol nor text: {data[offset : offset + 12]!r}")
        return -1

    def _lines(self, data: bytes, offset: int, items: list[Item]) -> int:
        """Takes text lines until a packet begins. Returns where, or -1 where nothing more can be read now."""
        size = len(data)
        while offset < size and data[offset]:
            end = data.find(b"\n", offset)
            if (size if end < 0 else end) - offset > MAX_LINE:
                self._refuse(b"", f"a text line is longer than {MAX_LINE} bytes")
                return -1
            if end < 0:
                self._rest = data[offset:]
                return -1
            line = data[offset:end]
            self.lines += 1
            items.append((TEXT, [line[:-1] if line.endswith(b"\r") else line]))
            offset = end + 1
        return offset

    def _refuse(self, code: bytes, text: str, handle: bytes = b"") -> None:
        self.fault = Fault(code, text, handle)
        self.forget()

    def forget(self) -> None:
        """Drops what has not come whole."""
        self._rest = b""
        self._chunks = _EMPTY_CHUNKS
        self.missing = 0


def _header(data: bytes, at: int) -> tuple[int, int]:
    """A packet's magic and command as one number, and its body's size."""
    high = ((data[at] << 8 | data[at + 1]) << 8 | data[at + 2]) << 8 | data[at + 3]
    low = ((data[at + 4] << 8 | data[at + 5]) << 8 | data[at + 6]) << 8 | data[at + 7]
    return high << 32 | low, ((data[at + 8] << 8 | data[at + 9]) << 8 | data[at + 10]) << 8 | data[at + 11]


globals()["_header"] = _HEADER.unpack_from  # interpreted, C's is faster; the compiled build calls the one above


def _cut(data: bytes, start: int, end: int, splits: int) -> list[bytes]:
    """Splits a large body with one copy."""
    parts: list[bytes] = []
    while len(parts) < splits:
        nul = data.find(b"\0", start, end)
        if nul < 0:
            break
        parts.append(data[start:nul])
        start = nul + 1
    parts.append(data[start:end])
    return parts


def _short(command: int, parts: list[bytes]) -> Item:
    """A packet with fewer parts than its command has."""
    if command in _FROM_WORKERS and parts:
        return (command, [parts[0], b""])
    return (TOO_FEW, [b"%d" % command])
