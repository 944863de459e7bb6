"""Start a program again whenever a Python file changes, for development.

Owns the child process and the watch over the files. Knows nothing of what the child does.
"""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Final

from geartrain.cli.terminal import say
from geartrain.worker.lifeline import Lifeline

__all__ = ["run_with_reload"]

_INTERVAL: Final = 0.3
"""Seconds between two looks at the files."""
_SKIPPED: Final = frozenset({"__pycache__", "node_modules", "venv"})

Snapshot = dict[str, tuple[int, int]]


def run_with_reload(run: Callable[[], int], folder: Path, program: str) -> int:
    """Runs a function in a child process; after each change of a .py file in a fresh one.

    A child that ends by itself (a mistake in the code, say) is started again with the next change. SIGTERM and
    Ctrl-C are passed on to the child, and end this too. A child whose parent is gone (its terminal was closed, say)
    gets SIGTERM.

    Args:
        run: what the child does; its result is the child's exit status.
        folder: where to look for files, with the folders in it, but for hidden ones.
        program: whose messages these are.

    Returns:
        The last child's exit status.
    """
    children = _Children()
    before = {number: signal.signal(number, children.pass_on) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        while True:
            seen = _snapshot(folder)
            children.start(run, before)
            changed = None
            while (status := children.ended()) is None:
                time.sleep(_INTERVAL)
                if changed is None and not children.stopping:
                    changed = _difference(seen, _snapshot(folder))
                    if changed is not None:
                        say(f"{changed} changed, starting again", program=program, style="cyan")
                        children.kill(signal.SIGTERM)  # it finishes what it does
            if changed is None and not children.stopping:
                say(f"ended with exit status {status}; waiting for a change", program=program, style="yellow")
                while not children.stopping and _difference(seen, _snapshot(folder)) is None:
                    time.sleep(_INTERVAL)
            if children.stopping:
                return status
    finally:
        children.close()
        for number, handler in before.items():
            signal.signal(number, handler)


class _Children:
    """One child at a time.

    Attributes:
        stopping: whether a signal came that ends everything.
    """

    def __init__(self) -> None:
        self.stopping = False
        self._pid = 0
        self._lifeline = Lifeline()

    def start(self, run: Callable[[], int], handlers: Mapping[signal.Signals, object]) -> None:
        self._pid = _start(run, handlers, self._lifeline)

    def ended(self) -> int | None:
        """The child's exit status; None while it runs."""
        pid, status = os.waitpid(self._pid, os.WNOHANG)
        if not pid:
            return None
        self._pid = 0
        return os.waitstatus_to_exitcode(status)

    def kill(self, number: int) -> None:
        if self._pid:
            os.kill(self._pid, number)

    def close(self) -> None:
        """There will be no more."""
        self._lifeline.close()

    def pass_on(self, number: int, frame: FrameType | None) -> None:
        """Handles a signal of ours."""
        self.stopping = True
        self.kill(number)


def _start(run: Callable[[], int], handlers: Mapping[signal.Signals, object], lifeline: Lifeline) -> int:
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        # A group of its own: Ctrl-C reaches the parent alone, which passes it on once.
        os.setpgid(0, 0)
        for number, handler in handlers.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        lifeline.watch(lambda: os.kill(os.getpid(), signal.SIGTERM))
        status = run()
    except SystemExit as leaving:
        status = leaving.code if isinstance(leaving.code, int) else 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _snapshot(folder: Path) -> Snapshot:
    return {path: (status.st_mtime_ns, status.st_size) for path, status in _files(folder)}


def _files(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    for root, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".") and name not in _SKIPPED]
        for name in files:
            if name.endswith(".py"):
                path = os.path.join(root, name)
                try:
                    yield os.path.relpath(path, folder), os.stat(path)
                except FileNotFoundError:
                    continue  # editors replace files; the next look finds the new one


def _difference(before: Snapshot, now: Snapshot) -> str | None:
    return next((path for path in {*before, *now} if before.get(path) != now.get(path)), None)
