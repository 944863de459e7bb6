"""How a worker is told to stop.

Owns the flag, the signals and the time that running jobs get. Must not know jobs or connections.
"""

import contextlib
import logging
import os
import select
import signal
import threading
from collections.abc import Callable, Iterator
from time import monotonic
from types import FrameType
from typing import Final

__all__ = ["SIGNALS", "LeaveNow", "Stopping"]

logger = logging.getLogger("geartrain.worker")

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
_DUE: Final = 0.5
"""Seconds after which a signal's handler is not waited for: its thread may be in a call of C for long, and from Python
3.13 on a process that was forked by a thread runs handlers only when a signal breaks off a call of the system."""


class LeaveNow(BaseException):
    """Ends a task whose time to stop is used up. No Exception, so that a task's own handlers let it through."""


class Stopping:
    """A worker's wish to stop.

    Args:
        timeout: seconds that running jobs get; None for no limit.

    Attributes:
        asked: whether it was asked for.
        late: whether the time is used up.
    """

    def __init__(self, timeout: float | None) -> None:
        self.timeout = timeout
        self.asked = False
        self.late = False
        self._since: float | None = None
        self._signalled = False
        self._wake: Callable[[], None] | None = None
        self._pipe: tuple[int, int] | None = None

    def ask(self) -> None:
        """Asks to stop. Takes no lock: a signal's handler may call it at any moment."""
        self.asked = True
        if self._since is None:
            self._since = monotonic()
        if self._pipe is not None:
            with contextlib.suppress(OSError):
                os.write(self._pipe[1], b"\0")
        if self._wake is not None:
            self._wake()

    def reset(self) -> None:
        """Ready to run again."""
        self.asked = self.late = self._signalled = False
        self._since = None

    def remaining(self) -> float | None:
        """Seconds until the time is used up; None where there is no such moment."""
        if self._since is None or self.timeout is None:
            return None
        remaining = self._since + self.timeout - monotonic()
        if remaining <= 0:
            self.late = True
        return max(0.0, remaining)

    def overdue(self, grace: float) -> bool:
        """Whether the time was used up so many seconds ago."""
        return (
            self._since is not None and self.timeout is not None and (monotonic() > self._since + self.timeout + grace)
        )

    def on_ask(self, wake: Callable[[], None] | None) -> None:
        """What to call when somebody asks."""
        self._wake = wake
        if wake is not None and self.asked:
            wake()

    @contextlib.contextmanager
    def watched(self, wake: Callable[[], None], handle_signals: bool) -> Iterator[None]:
        """Signals ask to stop while this lasts, and somebody looks at the clock even while a task runs.

        Args:
            wake: ends the worker's waiting.
            handle_signals: whether to take SIGTERM and SIGINT; only in the main thread, the others cannot.
        """
        main = threading.current_thread() is threading.main_thread() and handle_signals
        before = {number: signal.signal(number, self._on_signal) for number in SIGNALS} if main else {}
        self._pipe = os.pipe()
        os.set_blocking(self._pipe[1], False)
        # Python runs a signal's handler between two steps of the main thread. One that comes after the last step and
        # before the system call that waits would be seen when that ends: so the watcher gets a byte, and wakes it.
        wakeup = signal.set_wakeup_fd(self._pipe[1], warn_on_full_buffer=False) if main else -1
        watcher = threading.Thread(target=self._watch, args=(self._pipe[0], main), name="geartrain stop", daemon=True)
        watcher.start()
        self.on_ask(wake)
        if self.asked:
            self.ask()
        try:
            yield
        finally:
            self._wake = None
            if main:
                signal.set_wakeup_fd(wakeup)
            pipe, self._pipe = self._pipe, None
            os.close(pipe[1])
            watcher.join()
            os.close(pipe[0])
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.late or (self._signalled and number == signal.SIGINT):  # a second Ctrl-C means now
            self.late = True
            raise LeaveNow
        self._signalled = True
        self.ask()

    def _watch(self, pipe: int, main: bool) -> None:
        """Waits for the wish, then for its time. A thread of its own, for the worker's may be in a task."""
        poll = select.poll()
        poll.register(pipe, select.POLLIN)
        while not self.asked:
            told = os.read(pipe, 64)
            if not told:
                return
            self._wake_worker()  # a signal's handler is due there, unless it has just run
            if any(number in told for number in SIGNALS) and not self.asked and not poll.poll(_DUE * 1000):
                self.ask()
        logger.info("stopping; running jobs get %s", "all the time" if self.timeout is None else f"{self.timeout:g} s")
        deadline = None if self.timeout is None else monotonic() + self.timeout
        while deadline is None or monotonic() < deadline:
            if poll.poll(None if deadline is None else (deadline - monotonic()) * 1000):
                if not os.read(pipe, 64):
                    return
                self._wake_worker()
        self.late = True
        self._wake_worker()
        if main:  # the worker's thread may be in a task: this ends it, through _on_signal
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)

    def _wake_worker(self) -> None:
        wake = self._wake
        if wake is not None:
            wake()
