"""Single keys of a terminal, without Enter.

Owns the terminal's mode while keys are read, and the names of the keys that send more than a character. Knows nothing
of what a key does.
"""

import contextlib
import os
import re
import select
import signal
import sys
import termios
import tty
from collections import deque
from collections.abc import Iterator
from types import FrameType
from typing import Final

__all__ = ["NAMES", "Keys", "keys_of_terminal"]

NAMES: Final = {
    "\x1b[A": "up",
    "\x1b[B": "down",
    "\x1bOA": "up",
    "\x1bOB": "down",
    "\x1b[5~": "page up",
    "\x1b[6~": "page down",
    "\x1b[H": "home",
    "\x1b[F": "end",
    "\x1bOH": "home",
    "\x1bOF": "end",
    "\x1b[1~": "home",
    "\x1b[4~": "end",
}
"""What xterm and its like send, in both of their modes."""
_KEY: Final = re.compile(r"\x1b\[[0-9;]*[A-Za-z~]|\x1bO[A-Za-z]|.", re.DOTALL)
_CUT: Final = re.compile(rb"\x1b(\[[0-9;]*|O)?\Z")
_REST_WAIT: Final = 0.05
"""Seconds in which the rest of a key comes, over a slow line too. After that it was Escape itself."""


class Keys:
    """Single keys, without Enter."""

    def __init__(self, wake: int) -> None:
        self._wake = wake
        self._pressed: deque[str] = deque()

    def wait(self, timeout: float) -> str | None:
        """The next key: a character, or one of `NAMES`; empty for a change of the window's size and for keys that
        have no name here; None after so many seconds."""
        if self._pressed:
            return self._pressed.popleft()
        ready, _, _ = select.select([sys.stdin, self._wake], [], [], max(0.0, timeout))
        if self._wake in ready:
            os.read(self._wake, 64)
            return ""
        if not ready:
            return None
        data = os.read(sys.stdin.fileno(), 256)
        if not data:
            return "q"  # the end of the input: the terminal has gone
        while _CUT.search(data) and select.select([sys.stdin], [], [], _REST_WAIT)[0]:
            rest = os.read(sys.stdin.fileno(), 256)
            if not rest:
                break
            data += rest
        found = _KEY.findall(data.decode("latin-1"))
        self._pressed.extend(key if len(key) == 1 else NAMES.get(key, "") for key in found)
        return self._pressed.popleft()


@contextlib.contextmanager
def keys_of_terminal() -> Iterator[Keys]:
    """The terminal gives keys at once and does not show them; afterwards it is as it was. SIGTERM leaves, too."""
    before = termios.tcgetattr(sys.stdin)
    wake_out, wake_in = os.pipe()

    def resized(number: int, frame: FrameType | None) -> None:
        os.write(wake_in, b"\0")

    def leave(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    handlers = {signal.SIGWINCH: resized, signal.SIGTERM: leave}
    old = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        tty.setcbreak(sys.stdin)
        yield Keys(wake_out)
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
        for number, handler in old.items():
            signal.signal(number, handler)
        os.close(wake_out)
        os.close(wake_in)
