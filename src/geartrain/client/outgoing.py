"""What a session has to write.

Owns joining: small packets leave together, large ones from where they lie. Must not know sockets, or what packets mean.
"""

from collections import deque
from typing import Final

__all__ = ["WRITE", "Outgoing"]

WRITE: Final = 256 * 1024
"""Small packets are joined up to this many bytes per write."""
_FEW: Final = 4096
"""Pieces whose sizes it pays to add up first: most often all of them go into one write."""


class Outgoing:
    """The side of a session that is written from: by `pending` and `sent`, or by `take`.

    Attributes:
        out: what there is to write, in pieces.
        written: how many bytes were taken to be written, ever.
    """

    __slots__ = ("out", "written")

    def __init__(self) -> None:
        self.out: deque[bytes | memoryview] = deque()
        self.written = 0

    def pending(self) -> bytes | memoryview:
        """The next bytes to write, empty where there are none. The same again until `sent` is called."""
        out = self.out
        if len(out) > 1 and len(out[0]) < WRITE:
            if len(out) <= _FEW and sum(map(len, out)) <= WRITE:
                joined = b"".join(out)
                out.clear()
                out.append(joined)
                return joined
            self._join_some()
        return out[0] if out else b""

    def _join_some(self) -> None:
        out = self.out
        pieces: list[bytes | memoryview] = []
        size = 0
        while out and size + len(out[0]) <= WRITE:
            size += len(out[0])
            pieces.append(out.popleft())
        out.appendleft(b"".join(pieces))

    def sent(self, count: int) -> bytes | memoryview:
        """The system took this many bytes of `pending`. Returns what is pending now."""
        self.written += count
        out = self.out
        first = out.popleft()
        if count < len(first):
            out.appendleft(memoryview(first)[count:])  # no copy: it may be 64 MiB
        return self.pending() if out else b""

    def take(self) -> bytes | memoryview:
        """The next bytes to write, `WRITE` at most, for a transport that keeps what the system does not take.

        They count as written then. There must be some in `out`.
        """
        out = self.out
        data: bytes | memoryview
        if len(out) <= _FEW and sum(map(len, out)) <= WRITE:
            data = b"".join(out)
            out.clear()
        else:
            data = self.pending()
            if len(data) <= WRITE:
                out.popleft()
            else:
                data = memoryview(data)[:WRITE]
                out[0] = memoryview(out[0])[WRITE:]
        self.written += len(data)
        return data
