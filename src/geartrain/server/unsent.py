"""Unsent: the output that a socket did not take yet, or that is too large to be joined for one write.

Owns the pieces and their order. When to write, and what it means that much waits, is connection.py's.
"""

from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from geartrain.server.pipes import Outlet, Piped

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

__all__ = ["Unsent", "at_once"]

_PIECES: Final = 64
"""Pieces given to one write."""

_Piece: TypeAlias = "bytes | memoryview | Piped | Outlet"


def at_once(pieces: list[Any]) -> bool:
    """Whether one write may take all of them, as they are."""
    if len(pieces) > _PIECES:
        return False
    for piece in pieces:  # noqa: SIM110 - a generator would cost more than the rest
        if not isinstance(piece, bytes):
            return False
    return True


class Unsent:
    """See the module.

    Attributes:
        size: bytes.
    """

    __slots__ = ("_pieces", "size")

    def __init__(self) -> None:
        self._pieces: deque[_Piece] = deque()
        self.size = 0

    def add(self, pieces: "Collection[Any]") -> None:
        """Appends bytes, and what is kept in pipes."""
        self._pieces.extend(pieces)
        self.size += sum(map(len, pieces))

    def drop(self, count: int) -> None:
        """Takes away that many bytes that are sent, all of them from memory."""
        pieces = self._pieces
        self.size -= count
        if not self.size:
            pieces.clear()
            return
        while count:
            piece = pieces[0]
            if count < len(piece):
                assert isinstance(piece, bytes | memoryview)
                pieces[0] = memoryview(piece)[count:]
                return
            count -= len(piece)
            pieces.popleft()

    def send(self, fd: int, write: "Callable[[list[Any], bool], int]") -> None:
        """Sends all, each piece from where it lies, so that a large workload is not copied.

        Args:
            fd: the socket, for what is kept in pipes.
            write: sends pieces from memory and returns how many bytes; it is told whether what is kept follows
                at once.

        Raises:
            OSError: the socket's, or `write`'s; BlockingIOError when it takes no more. What is sent is gone from here.
        """
        pieces = self._pieces
        while pieces:
            first = pieces[0]
            if not len(first):
                pieces.popleft()
                continue
            if isinstance(first, Piped):
                first = pieces[0] = first.outlet()
            if isinstance(first, Outlet):
                self.size -= first.send(fd)
                continue
            some: list[Any] = []
            kept_follows = False
            for piece in islice(pieces, _PIECES):
                if isinstance(piece, Piped):
                    kept_follows = True
                    break
                some.append(piece)
            self.drop(write(some, kept_follows))
