"""A program on a terminal, as its user sees it.

Owns a pseudo terminal: its size, its keys, and what was written to it.
"""

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import termios
import threading
from collections.abc import Mapping, Sequence

from .programs import PATIENCE, environment, wait_until

_ESCAPES = re.compile(r"\x1b(\[[0-9;?]*[A-Za-z]|\][^\x07]*\x07|[()][A-Z0-9])")


def _take_terminal() -> None:
    """Makes standard input the terminal that controls this process, so that Ctrl-C is a signal."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def _without_size(variables: Mapping[str, str]) -> dict[str, str]:
    """The terminal says how large it is. These two would say otherwise, and pytest's workers have them."""
    return {name: value for name, value in variables.items() if name not in ("COLUMNS", "LINES")}


class Terminal:
    """A program whose standard input, output and error are one terminal."""

    def __init__(
        self, argv: Sequence[str], *, env: Mapping[str, str] | None = None, lines: int = 24, columns: int = 100
    ) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.settings = termios.tcgetattr(slave)
        self._slave = slave
        self.process = subprocess.Popen(
            argv,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=_without_size(environment({"TERM": "xterm-256color", **(env or {})})),
            start_new_session=True,
            preexec_fn=_take_terminal,
        )
        self._written = bytearray()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while True:
            try:
                chunk = os.read(self._master, 65536)
            except OSError:  # Linux says so when the other side is closed
                return
            if not chunk:
                return
            self._written += chunk

    @property
    def raw(self) -> str:
        """Everything that was written, escape sequences and all."""
        return bytes(self._written).decode(errors="replace")

    @property
    def text(self) -> str:
        """Everything that was written, without escape sequences."""
        return _ESCAPES.sub("", self.raw)

    def wait_for(self, text: str) -> None:
        """Returns when the text has been written."""
        try:
            wait_until(lambda: text in self.text, f"{text!r} on the terminal")
        except AssertionError as error:
            raise AssertionError(f"{error}; there is {self.text[-2000:]!r}") from None

    def forget(self) -> None:
        """What was written so far does not count any more."""
        self._written.clear()

    def press(self, keys: str) -> None:
        """Types."""
        os.write(self._master, keys.encode())

    def resize(self, lines: int, columns: int) -> None:
        """Changes the window's size."""
        fcntl.ioctl(self._slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.process.send_signal(signal.SIGWINCH)

    def wait(self) -> int:
        """Waits for the program's end and returns its exit status."""
        return self.process.wait(PATIENCE)

    def restored(self) -> bool:
        """Whether the terminal is set as it was before."""
        return termios.tcgetattr(self._slave)[:4] == self.settings[:4]

    def kill(self) -> None:
        """Ends the program, whatever it does."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        os.close(self._slave)
        self._reader.join(PATIENCE)
        os.close(self._master)
