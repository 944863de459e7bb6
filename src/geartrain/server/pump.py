"""Pump: waits for the watched sockets and calls their owners, round after round.

Owns the innermost loop of the server. It is apart from the selector that asyncio sees (loop.py) so that the optional
compiled build can take it along. Must not know asyncio, jobs or the protocol.
"""

import os
from time import monotonic
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    import select
    from collections.abc import Callable

__all__ = ["Pump", "Watched"]

_OUT: Final = 4  # select.EPOLLOUT
_NOT_OUT: Final = ~4
_SHORT: Final = 0.00005
"""Seconds of a wait that is not worth falling asleep for."""
_SHORT_TURN: Final = 0.0001
"""Seconds of work since the last wait, above which falling asleep costs little beside it."""
_MOST_LUCK: Final = 8
_BAD_LUCK: Final = 4


class Watched(Protocol):
    """A socket's owner."""

    def readable(self) -> None: ...

    def writable(self) -> None: ...

    def broken(self, error: BaseException) -> None:
        """An unexpected exception came out of the other two: a bug. The owner closes."""
        ...


class Pump:
    """See the module.

    Attributes:
        epoll: where the sockets stand.
        owners: the watched sockets' owners, by descriptor. Others in the epoll are foreign.
        turn: called before each wait; returns how many seconds may pass until the next call, None for any time.
        hurry: set it, and `run` returns after this round.
    """

    __slots__ = ("_alone", "_luck", "_woke", "epoll", "hurry", "owners", "turn")

    def __init__(self, epoll: "select.epoll") -> None:
        self.epoll: select.epoll = epoll
        self.owners: dict[int, Watched] = {}
        self.turn: Callable[[], float | None] | None = None
        self.hurry: bool = False
        self._woke: float = 0.0  # when the last wait ended
        self._luck: int = 0  # grows with each short wait
        self._alone: bool = len(os.sched_getaffinity(0)) < 2  # no other core could end a wait meanwhile

    def run(self, timeout: float | None) -> list[tuple[int, int]]:
        """Serves the watched sockets until something else is to be done.

        Args:
            timeout: seconds, None for ever.

        Returns:
            the events of foreign descriptors; maybe none, when the time is over or somebody is in a hurry.
        """
        until: float = -1.0 if timeout is None else monotonic() + timeout
        poll = self.epoll.poll
        owners = self.owners
        foreign: list[tuple[int, int]] = []
        while True:
            self.hurry = False
            turn = self.turn
            wait: float | None = None if turn is None else turn()
            if self.hurry:
                wait = 0.0
            elif until >= 0.0:
                left = until - monotonic()
                if wait is None or left < wait:
                    wait = left
            try:
                events = poll(0.0) if wait is not None and wait <= 0.0 else self._wait(wait)
            except InterruptedError:
                return foreign
            for fd, event in events:
                owner = owners.get(fd)
                if owner is None:
                    foreign.append((fd, event))
                    continue
                try:
                    if event & _NOT_OUT:
                        owner.readable()
                    if event & _OUT:
                        owner.writable()
                except Exception as error:
                    owner.broken(error)
            if foreign or self.hurry or (until >= 0.0 and monotonic() >= until):
                return foreign

    def _wait(self, wait: float | None) -> list[tuple[int, int]]:
        """Waits for events.

        Falling asleep and being woken costs more than most of what a server is woken for, above all in a virtual
        machine. Where the last waits were short, the next one most likely is, and is spent awake, but not after much
        work.
        """
        poll = self.epoll.poll
        now = monotonic()
        until = now + _SHORT
        if self._luck > 0 and now - self._woke < _SHORT_TURN:
            while now < until:
                events = poll(0.0)
                if events:
                    if self._luck < _MOST_LUCK:
                        self._luck += 1
                    self._woke = now
                    return events
                now = monotonic()
            self._luck -= _BAD_LUCK
        events = poll(-1.0 if wait is None else wait)
        self._woke = monotonic()
        if not self._alone and self._luck < _MOST_LUCK and self._woke < until:
            self._luck += 1
        return events
