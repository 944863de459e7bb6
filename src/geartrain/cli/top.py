"""`geartrain top`: what a server does, live in the terminal.

Owns the command line, the rhythm and the keys. Asking is snapshot.py's, the looks are top_view.py's.
"""

import argparse
import contextlib
import os
import select
import signal
import sys
import termios
import time
import tty
from collections.abc import Iterator
from types import FrameType
from typing import Final

from geartrain.cli.connection import add_server_options, servers_of, tls_of
from geartrain.cli.exits import Exit, guarded
from geartrain.cli.parsers import add_command
from geartrain.cli.snapshot import Source, look_at
from geartrain.cli.times import seconds
from geartrain.errors import ConfigError

__all__ = ["HELP", "add_parser", "run"]

HELP: Final = "show functions, jobs and workers of a server, live"

_EPILOG: Final = """\
examples:
  geartrain top
  geartrain top -s queue.example.org --interval 5s
  geartrain top -s east,west                two servers in one table

keys: w r k c n sort by waiting, running, workers, change, name; q or Ctrl-C leaves.
CHANGE/S is by how many jobs a second a function's jobs grow or shrink. Yellow: jobs wait and no worker can do them.
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> argparse.ArgumentParser:
    """Adds the command to `geartrain`."""
    parser = add_command(subparsers, "top", HELP, _EPILOG)
    parser.add_argument(
        "-i", "--interval", type=seconds, default=1.0, metavar="TIME", help="between two looks (default: 1s)"
    )
    add_server_options(parser)
    parser.set_defaults(run=run)
    return parser


@guarded("geartrain top")
def run(args: argparse.Namespace) -> int:
    """Runs the command and returns its exit status."""
    if args.interval <= 0:
        raise ConfigError("--interval: the time between two looks must be more than 0")
    try:
        from rich.console import Console
        from rich.live import Live

        from geartrain.cli.top_view import ORDERS, render
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "rich":
            raise
        raise ConfigError("geartrain top needs the package rich: pip install 'geartrain[top]'") from error
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise ConfigError("geartrain top needs a terminal; geartrain status prints the same once")
    sources = [Source(server, tls_of(args), timeout=max(2.0, args.interval)) for server in servers_of(args)]
    console = Console()
    order = "w"
    with _keys() as keys, Live(console=console, screen=True, auto_refresh=False) as live:
        try:
            while True:
                due = time.monotonic() + args.interval
                snapshot = look_at(sources)
                while True:  # again at each key, and when the window changes its size
                    live.update(render(snapshot, order, console.height, console.width >= 80), refresh=True)
                    key = keys.wait(due - time.monotonic())
                    if key is None:
                        break
                    if key in ("q", "\x03", "\x04"):
                        return Exit.OK
                    order = key if key in ORDERS else order
        except KeyboardInterrupt:
            return Exit.OK
        finally:
            for source in sources:
                source.close()


class _Keys:
    """Single keys, without Enter."""

    def __init__(self, wake: int) -> None:
        self._wake = wake

    def wait(self, timeout: float) -> str | None:
        """The next key, empty for a change of the window's size; None after so many seconds."""
        ready, _, _ = select.select([sys.stdin, self._wake], [], [], max(0.0, timeout))
        if self._wake in ready:
            os.read(self._wake, 64)
            return ""
        if not ready:
            return None
        return os.read(sys.stdin.fileno(), 1).decode("latin-1") or "q"  # the end of the input: the terminal has gone


@contextlib.contextmanager
def _keys() -> Iterator[_Keys]:
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
        yield _Keys(wake_out)
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
        for number, handler in old.items():
            signal.signal(number, handler)
        os.close(wake_out)
        os.close(wake_in)
