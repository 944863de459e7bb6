"""A timer that costs an asyncio loop nothing before it is due.

Owns one. asyncio tells the system at each turn when its next timer is due, and the system sets a clock and takes it
back: with one job at a time that is an eighth of a client's CPU. Linux has timers that are files, which a loop watches
as it watches sockets. Must not know what is timed.
"""

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import Callable
from functools import cache
from io import FileIO
from struct import Struct
from typing import Any, Final

__all__ = ["Alarm"]

_ITIMERSPEC: Final = Struct("@4l")  # first the interval, none here


class Alarm:
    """Calls a function once after each `set`. Where there are no such files, asyncio's own timer does it.

    Args:
        loop: whose timer it is.
        call: what to call.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
        self._loop = loop
        self._call = call
        self._file: FileIO | None = None
        self._handle: asyncio.TimerHandle | None = None
        with contextlib.suppress(OSError, AttributeError, ImportError):  # a system, a C library or a Python without
            self._file = FileIO(_create(), "rb")
            loop.add_reader(self._file, self._ring)

    def set(self, seconds: float) -> None:
        """Has the function called after so many seconds, and not at the time that was set before."""
        if self._file is not None:
            _set(self._file.fileno(), seconds)
            return
        if self._handle is not None:
            self._handle.cancel()
        self._handle = self._loop.call_later(seconds, self._call)

    def _ring(self) -> None:
        if self._file is not None and self._file.read(8):
            self._call()

    def close(self) -> None:
        """Calls nothing any more."""
        if self._handle is not None:
            self._handle.cancel()
        if self._file is not None:
            self._loop.remove_reader(self._file)
            self._file.close()
            self._file = None


if sys.version_info >= (3, 13):

    def _create() -> int:
        return os.timerfd_create(time.CLOCK_MONOTONIC, flags=os.TFD_NONBLOCK | os.TFD_CLOEXEC)

    def _set(fd: int, seconds: float) -> None:
        os.timerfd_settime(fd, initial=seconds)

else:

    @cache
    def _libc() -> Any:
        import ctypes  # here, because a Python may come without it

        return ctypes.CDLL(None)

    def _create() -> int:
        fd: int = _libc().timerfd_create(time.CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if fd < 0:
            raise OSError("the system gave no timer")
        return fd

    def _set(fd: int, seconds: float) -> None:
        whole = int(seconds)
        spec = _ITIMERSPEC.pack(0, 0, whole, int((seconds - whole) * 1e9))
        if _libc().timerfd_settime(fd, 0, spec, None) < 0:
            raise OSError("the system set no timer")
