"""What the tools print: colours, tables, a progress bar.

Owns when colour may be used and how text is laid out. Knows no servers and no jobs.
"""

import os
import sys
from collections.abc import Iterable, Sequence
from typing import BinaryIO, Final, TextIO

from geartrain.errors import GeartrainError

__all__ = ["Output", "OutputFailed", "ProgressBar", "Style", "counted", "reader_left", "say", "table"]

_CODES: Final = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}


class Style:
    """Colours text for one stream, or leaves it alone.

    Colour is used on a terminal only, and never where NO_COLOR is set (https://no-color.org) or TERM is ``dumb``.
    """

    def __init__(self, stream: TextIO) -> None:
        self.enabled = stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"

    def __call__(self, text: str, *names: str) -> str:
        """The text in the named styles: bold, dim, red, green, yellow, cyan."""
        if not self.enabled or not names:
            return text
        return f"\x1b[{';'.join(_CODES[name] for name in names)}m{text}\x1b[0m"


def counted(number: int, noun: str) -> str:
    """``1 worker``, ``2 workers``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def say(message: str, *, program: str, style: str = "red") -> None:
    """Writes a message to standard error, led by the program's name."""
    print(f"{Style(sys.stderr)(program, style)}: {message}", file=sys.stderr, flush=True)


def reader_left() -> int:
    """Ends the output quietly where whoever read it has gone, as `| head` does.

    Returns:
        The exit status of a program that died of SIGPIPE.
    """
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())  # what is still in the buffer goes there at exit
    os.close(null)
    return 128 + 13


def table(headings: Sequence[str], rows: Iterable[Sequence[object]], style: Style, *, warn: Iterable[int] = ()) -> str:
    """A plain table, numbers to the right.

    Args:
        headings: the columns' names.
        rows: the cells; ints are set to the right.
        style: how to colour it.
        warn: the numbers of the rows that want attention, counted from 0.

    Returns:
        The lines, joined, with a line end after the last.
    """
    rows = list(rows)
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(headings, *cells, strict=True)]
    right = [bool(rows) and all(isinstance(row[i], int) for row in rows) for i in range(len(headings))]
    alarming = set(warn)

    def line(row: Sequence[str]) -> str:
        padded = (cell.rjust(w) if r else cell.ljust(w) for cell, w, r in zip(row, widths, right, strict=True))
        return "  ".join(padded).rstrip()

    lines = [style(line(headings), "bold")]
    lines += [style(line(row), "yellow") if number in alarming else line(row) for number, row in enumerate(cells)]
    return "".join(f"{text}\n" for text in lines)


class OutputFailed(GeartrainError):
    """The output cannot be written."""


class Output:
    """Writes for callbacks. A callback's exception ends in the client's log, so this keeps it for who waits."""

    def __init__(self) -> None:
        self._problem: OSError | None = None

    def write(self, stream: BinaryIO, data: bytes) -> None:
        """Writes at once. After a failure, nothing more."""
        if self._problem is None:
            try:
                stream.write(data)
                stream.flush()
            except OSError as error:
                self._problem = error

    def check(self) -> None:
        """Call this where an exception is heard.

        Raises:
            BrokenPipeError: whoever read the output has gone.
            OutputFailed: it could not be written for another reason.
        """
        if isinstance(self._problem, BrokenPipeError):
            raise self._problem
        if self._problem is not None:
            raise OutputFailed(f"the output cannot be written: {self._problem.strerror}") from self._problem


class ProgressBar:
    """A job's progress on one line of a terminal; on anything else, nothing at all."""

    WIDTH: Final = 30

    def __init__(self, stream: TextIO, label: str) -> None:
        self._stream = stream
        self._label = label
        self._shown = False
        self.enabled = stream.isatty() and os.environ.get("TERM") != "dumb"
        self._style = Style(stream)

    def update(self, numerator: int, denominator: int) -> None:
        """Draws ``numerator`` of ``denominator``. A denominator of 0 says nothing of the whole: shown as a count."""
        if not self.enabled:
            return
        if denominator > 0:
            share = min(max(numerator / denominator, 0.0), 1.0)
            done = round(share * self.WIDTH)
            bar = self._style("━" * done, "green") + self._style("━" * (self.WIDTH - done), "dim")
            text = f"{self._label} {bar} {share:4.0%}  {numerator}/{denominator}"
        else:
            text = f"{self._label} {numerator}"
        self._stream.write(f"\r\x1b[2K{text}")
        self._stream.flush()
        self._shown = True

    def clear(self) -> None:
        """Takes the bar away, so that other output starts on a clean line."""
        if self._shown:
            self._stream.write("\r\x1b[2K")
            self._stream.flush()
            self._shown = False
