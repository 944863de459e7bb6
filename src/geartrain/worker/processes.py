"""Several worker processes.

Owns forking them, starting them again when they die, passing on the wish to stop, and their end when this process is
gone. Must not know what they do.
"""

import contextlib
import logging
import os
import select
import signal
import sys
import threading
from collections.abc import Callable
from time import monotonic
from typing import Final, NoReturn

from geartrain.worker.lifeline import Lifeline
from geartrain.worker.stopping import SIGNALS, Stopping

__all__ = ["supervise"]

logger = logging.getLogger("geartrain.worker")

_PAUSE: Final = 1.0
"""Seconds between two starts of a process that dies at once."""
_LOOK: Final = 1.0
"""Seconds between two looks at the children where no signal tells of their ends: outside the main thread."""
_GRACE: Final = 5.0
"""Seconds beyond the stop timeout before a process is killed."""


def supervise(run: Callable[[], None], count: int, stopping: Stopping) -> None:
    """Keeps `count` processes running until the wish to stop, and then until they have ended.

    Args:
        run: what each does, until it gets SIGTERM.
        count: how many.
        stopping: the wish to stop, and the time that is given for it.
    """
    family = _Family(run, stopping)
    try:
        family.watch(count)
    finally:
        family.end()
        stopping.reset()


class _Family:
    """The processes. This one has no threads, so that forking is safe."""

    def __init__(self, run: Callable[[], None], stopping: Stopping) -> None:
        self._run = run
        self._stopping = stopping
        self._wake_in, self._wake_out = os.pipe()
        os.set_blocking(self._wake_out, False)
        self._lifeline = Lifeline()
        self._children: dict[int, float] = {}  # by their numbers: when they were started
        self._due: list[float] = []  # when to start those that are missing
        self._before: dict[signal.Signals, object] = {}
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._on_signal) for number in SIGNALS}
            self._before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, _wake_up)
            # For a signal that comes just before the wait: its handler runs when something ends that.
            self._wakeup_before = signal.set_wakeup_fd(self._wake_out, warn_on_full_buffer=False)
        stopping.on_ask(self._wake)

    def _on_signal(self, number: int, frame: object) -> None:
        self._stopping.ask()

    def _wake(self) -> None:
        with contextlib.suppress(OSError):
            os.write(self._wake_out, b"\0")

    def watch(self, count: int) -> None:
        """Goes on until all have ended."""
        self._due = [0.0] * count
        told = False
        while self._children or not self._stopping.asked:
            now = monotonic()
            if self._stopping.asked:
                self._due.clear()
                if not told:
                    told = True
                    self._signal(signal.SIGTERM)
                remaining = self._stopping.remaining()
                timeout = None if remaining is None else remaining + _GRACE
                if self._stopping.overdue(_GRACE):
                    return
            else:
                for at in [at for at in self._due if at <= now]:
                    self._due.remove(at)
                    self._start()
                timeout = max(0.0, min(self._due) - now) if self._due else None
            self._wait(timeout)
            self._bury()

    def _start(self) -> None:
        pid = os.fork()
        if pid == 0:
            self._live()
        self._children[pid] = monotonic()

    def _live(self) -> NoReturn:
        """The child's whole life."""
        code = 1
        try:
            for number in self._before:
                signal.signal(number, signal.SIG_DFL)
            if self._before:
                signal.set_wakeup_fd(-1)
            self._stopping.on_ask(None)
            self._lifeline.watch(self._orphaned)
            self._run()
            code = 0
        except Exception:
            logger.exception("the worker process %d ends", os.getpid())
        finally:
            with contextlib.suppress(OSError, ValueError):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)  # not into the parent's code that comes after the fork

    def _orphaned(self) -> None:
        """A child that nobody watches, and nobody would stop, ends: who starts the parent again has all anew."""
        logger.error("the process that started the worker process %d is gone; it stops, too", os.getpid())
        self._stopping.ask()

    def _wait(self, timeout: float | None) -> None:
        if not self._before:  # no signal tells of a child's end here
            timeout = _LOOK if timeout is None else min(timeout, _LOOK)
        poll = select.poll()
        poll.register(self._wake_in, select.POLLIN)
        if poll.poll(None if timeout is None else timeout * 1000):
            os.read(self._wake_in, 4096)

    def _bury(self) -> None:
        """Takes note of children that have ended. Asked of the system: a pipe may be held open by what they started."""
        for pid, since in list(self._children.items()):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if not ended:
                continue
            del self._children[pid]
            if not self._stopping.asked:
                cause = _cause(os.waitstatus_to_exitcode(status))
                logger.error("the worker process %d ended (%s); starting another", pid, cause)
                self._due.append(max(monotonic(), since + _PAUSE))

    def _signal(self, number: signal.Signals) -> None:
        for pid in self._children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def end(self) -> None:
        """Kills those that are left, and puts everything back."""
        self._signal(signal.SIGKILL)
        for pid in self._children:
            logger.error("the worker process %d did not stop in time and was killed", pid)
            os.waitpid(pid, 0)
        self._children.clear()
        self._stopping.on_ask(None)
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        if self._before:
            signal.set_wakeup_fd(self._wakeup_before)
        self._lifeline.close()
        os.close(self._wake_in)
        os.close(self._wake_out)


def _wake_up(number: int, frame: object) -> None:
    """That there is a handler has the system tell of the signal by the wake-up pipe."""


def _cause(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"
