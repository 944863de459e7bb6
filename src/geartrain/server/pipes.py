"""Pipes: large data waits in the kernel, instead of being copied into this process and out again.

Owns the pipes, how a large packet is moved from a socket into them, and from them to any number of sockets. Which
packets these are is the parser's; when to read and write, connection.py's.

Linux only (splice, tee). Where a pipe cannot be had, or does not hold enough, the data is copied as any other.
"""

import contextlib
import errno
import fcntl
import os
import resource
import sys
from collections.abc import Callable
from typing import Final, NamedTuple

from geartrain.engine.job import Piece
from geartrain.protocol.parser import Item

__all__ = ["KEEP_FROM", "Intake", "Outlet", "Piped", "Pipes"]

KEEP_FROM: Final = 256 * 1024
"""Missing bytes of a packet from which they are kept: below, the system calls cost as much as the copies."""
_SLOTS: Final = 64
"""Of a pipe. Each takes up to 32 KiB of what came over loopback. The system gives a user 16,384 of them."""
_WORTH: Final = _SLOTS * 4096
"""Bytes that a full pipe must hold: the segments of some networks are so small that it holds next to nothing."""
_MOST_PIPES: Final = 192
"""Three quarters of what a user may have."""
_SHARE: Final = 16
"""For so many descriptors that the process may have there may be one pipe, which takes two."""
_UNABLE: Final = (errno.EINVAL, errno.ENOSYS, errno.EPERM)
"""What systems answer that have these calls but not for sockets, or forbid them."""
_F_SETPIPE_SZ: Final = 1031
_FLAGS: Final = 3  # SPLICE_F_MOVE | SPLICE_F_NONBLOCK

_Splice = Callable[[int, int, int], int]


def _splice(source: int, target: int, count: int) -> int:
    assert sys.platform == "linux"
    return os.splice(source, target, count, flags=_FLAGS)


def _find_tee() -> _Splice | None:
    """The C library's tee(2), which Python does not have."""
    if sys.platform != "linux" or not hasattr(os, "splice"):
        return None
    try:
        import ctypes  # here, because a Python may come without it
    except ImportError:
        return None
    function = getattr(ctypes.CDLL(None, use_errno=True), "tee", None)
    if function is None:
        return None
    function.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_size_t, ctypes.c_uint)
    function.restype = ctypes.c_ssize_t

    def tee(source: int, target: int, count: int) -> int:
        done: int = function(source, target, count, _FLAGS)
        if done < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return done

    return tee


_tee: Final = _find_tee()


class Pipe(NamedTuple):
    source: int
    target: int


class Pipes:
    """All pipes of a server. They are used again, since making one costs more than a read."""

    def __init__(self) -> None:
        most = min(resource.getrlimit(resource.RLIMIT_NOFILE)[0] // _SHARE, _MOST_PIPES)
        self._left = most if _tee is not None else 0
        self._free: list[Pipe] = []
        self._idle = 0  # how many of these nobody needed since `rest`
        self._null = -1
        self._closed = False

    def get(self) -> Pipe | None:
        """An empty pipe; None when there are enough of them."""
        if self._free:
            pipe = self._free.pop()
            self._idle = min(self._idle, len(self._free))
            return pipe
        if self._left <= 0:
            return None
        try:
            if self._null < 0:
                self._null = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
            pipe = Pipe(*os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC))
        except OSError:  # no descriptors: those that are left are for connections
            self.forgo()
            return None
        try:
            fcntl.fcntl(pipe.target, _F_SETPIPE_SZ, _WORTH)
        except OSError:  # the user has as many pages in pipes as the system allows (pipe-user-pages-soft)
            self.forgo()
            self._end(pipe)
            return None
        self._left -= 1
        return pipe

    def put(self, pipe: Pipe, left: int) -> None:
        """Gives a pipe back.

        Args:
            pipe: from `get`.
            left: bytes that are in it still.
        """
        if self._closed:
            self._end(pipe)
            return
        try:
            while left > 0:
                left -= _splice(pipe.source, self._null, left)
        except OSError:  # whatever is in it must not come out again
            self._end(pipe)
            self._left += 1
        else:
            self._free.append(pipe)

    def rest(self) -> None:
        """Ends those that were not needed since the last call: other servers of this user may have use for them."""
        idle = self._free[: self._idle]
        del self._free[: self._idle]
        for pipe in idle:
            self._end(pipe)
        self._left += len(idle)
        self._idle = len(self._free)

    def forgo(self) -> None:
        """Makes no more of them."""
        self._left = 0

    def close(self) -> None:
        """Ends the free ones, and the others as soon as they are given back."""
        self._closed = True
        self.forgo()
        for pipe in self._free:
            self._end(pipe)
        self._free.clear()
        if self._null >= 0:
            os.close(self._null)
            self._null = -1

    def _end(self, pipe: Pipe) -> None:
        os.close(pipe.source)
        os.close(pipe.target)


class Piped:
    """A `Kept` in a pipe. Its pipe is given back with the last reference to it."""

    __slots__ = ("_data", "_pipe", "_pipes", "_size")

    def __init__(self, pipes: Pipes, pipe: Pipe) -> None:
        self._pipes = pipes
        self._pipe: Pipe | None = pipe
        self._size = 0
        self._data = b""

    def __len__(self) -> int:
        return self._size

    def __bytes__(self) -> bytes:
        """The data; from then on it is in memory."""
        pipe = self._pipe
        if pipe is not None:
            self._pipe = None
            chunks = []
            left = self._size
            while left > 0:
                chunk = os.read(pipe.source, left)
                chunks.append(chunk)
                left -= len(chunk)
            self._data = b"".join(chunks)
            self._pipes.put(pipe, 0)
        return self._data

    def __del__(self) -> None:
        if self._pipe is not None:
            self._pipes.put(self._pipe, self._size)

    def fill(self, fd: int, most: int) -> int:
        """Takes bytes from a socket; 0 at its end. Raises OSError; BlockingIOError also when the pipe is full."""
        assert self._pipe is not None
        count = _splice(fd, self._pipe.target, most)
        self._size += count
        return count

    def outlet(self) -> "Outlet | bytes":
        """What can be sent to one socket. The data stays here, too: the worker may vanish with it."""
        pipe = self._pipe
        own = None if pipe is None else self._pipes.get()
        if pipe is None or own is None:
            return bytes(self)
        assert _tee is not None
        count = 0
        with contextlib.suppress(OSError):
            count = _tee(pipe.source, own.target, self._size)
        if count < self._size:
            self._pipes.put(own, count)
            return bytes(self)
        return Outlet(self._pipes, own, count)


class Outlet:
    """Kept data on its way to one socket. Its length is what is left."""

    __slots__ = ("_left", "_pipe", "_pipes")

    def __init__(self, pipes: Pipes, pipe: Pipe, size: int) -> None:
        self._pipes = pipes
        self._pipe = pipe
        self._left = size

    def __len__(self) -> int:
        return self._left

    def __del__(self) -> None:
        self._pipes.put(self._pipe, self._left)

    def send(self, fd: int) -> int:
        """Sends as much as the socket takes. Raises OSError."""
        count = _splice(self._pipe.source, fd, self._left)
        self._left -= count
        return count


class Intake:
    """A packet whose missing rest is being kept.

    Args:
        pipes: where the pipes come from.
        item: the packet, as far as it has come.
        missing: bytes.

    Attributes:
        item: as above.
        missing: bytes that have not come.
        small: whether pipes do not pay here: a full one held little.
    """

    __slots__ = ("_kept", "_pipes", "item", "missing", "small")

    def __init__(self, pipes: Pipes, item: Item, missing: int) -> None:
        self._pipes = pipes
        self._kept: list[Piped] = []
        self.item = item
        self.missing = missing
        self.small = False

    def read(self, fd: int) -> int | None:
        """Takes bytes from a socket that is readable; 0 at its end.

        Returns:
            how many bytes; None when the rest cannot be kept, and what was must be taken back by `taken`.

        Raises:
            OSError: the socket's; BlockingIOError when it is not readable.
        """
        kept = self._kept
        if kept:
            try:
                return self._fill(kept[-1], fd)
            except BlockingIOError:  # there is something to read, but no room for it
                if len(kept[-1]) < _WORTH:
                    self.small = True
                    return None
        pipe = self._pipes.get()
        if pipe is None:
            return None
        kept.append(Piped(self._pipes, pipe))
        try:
            return self._fill(kept[-1], fd)
        except OSError as error:
            if error.errno not in _UNABLE:
                raise
            self._pipes.forgo()
            return None

    def _fill(self, last: Piped, fd: int) -> int:
        count = last.fill(fd, self.missing)
        self.missing -= count
        return count

    def taken(self) -> bytes:
        """All that was kept, as bytes."""
        return b"".join(map(bytes, self._kept))

    def data(self) -> list[Piece]:
        """The packet's whole data: what had come with its arguments, and the rest."""
        return [self.item[1][-1], *self._kept]
