"""The event loop, and how the server's own sockets are watched on it.

Owns the one trick of the shell: the connections of the job server stand in asyncio's own epoll, but are called
straight from its `select`, without a handle, a context and a queue entry for each event; asyncio gets its turn only
when there is something for it, and everything that a turn produced is sent in one go before the loop waits again.
The rest of asyncio (HTTP, signals, threads' calls) runs on the same loop as ever. On another loop (uvloop, a test's
own) the same connections are watched with `add_reader`.

Must not know jobs or the protocol.
"""

import asyncio
import importlib.util
import logging
import select
import selectors
from collections.abc import Callable, Coroutine, Mapping
from contextvars import Context
from typing import Any, Final, Protocol

from geartrain.errors import ConfigError
from geartrain.server.pump import Pump, Watched

__all__ = ["GearLoop", "LoopReactor", "Reactor", "check_loop", "reactor_of", "run"]

logger = logging.getLogger("geartrain.server")

_READS: Final = 64
"""Of a socket that was reset, at once."""


class Reactor(Protocol):
    """Watches sockets for their owners."""

    def watch(self, fd: int, owner: Watched, read: bool, write: bool) -> None:
        """Calls `readable` and `writable` when they are true. Replaces what was asked before."""
        ...

    def unwatch(self, fd: int) -> None:
        """Ends that. May be called twice."""
        ...

    def at_turn(self, callback: Callable[[], float | None] | None) -> None:
        """Has something called once per turn, before the loop waits. None ends it.

        It returns how many seconds may pass until it is called again; None for any time.
        """
        ...


class Poller(selectors.BaseSelector):
    """An epoll selector for asyncio that calls the owners of watched sockets by itself."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._keys: dict[int, selectors.SelectorKey] = {}
        self._pump = Pump(self._epoll)

    # ---- what asyncio calls

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        fd = fileobj if isinstance(fileobj, int) else fileobj.fileno()
        if fd in self._keys:
            raise KeyError(f"{fileobj!r} is registered already")
        key = selectors.SelectorKey(fileobj, fd, events, data)
        self._epoll.register(fd, _mask(bool(events & selectors.EVENT_READ), bool(events & selectors.EVENT_WRITE)))
        self._keys[fd] = key
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        fd = fileobj if isinstance(fileobj, int) else fileobj.fileno()
        key = self._keys.pop(fd)
        try:
            self._epoll.unregister(fd)
        except OSError:
            logger.debug("fd %d was closed before it was unregistered", fd)
        return key

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        fd = fileobj if isinstance(fileobj, int) else fileobj.fileno()
        key = self._keys[fd]
        if events != key.events:
            self._epoll.modify(fd, _mask(bool(events & selectors.EVENT_READ), bool(events & selectors.EVENT_WRITE)))
        key = self._keys[fd] = selectors.SelectorKey(fileobj, fd, events, data)
        return key

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._keys

    def get_key(self, fileobj: Any) -> selectors.SelectorKey:
        return self._keys[fileobj if isinstance(fileobj, int) else fileobj.fileno()]

    def close(self) -> None:
        self._epoll.close()
        self._keys.clear()
        self._pump.owners.clear()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Waits for events, and serves the watched sockets as long as nothing comes for asyncio.

        Returns to asyncio when one of its own files is ready, its next timer is due, or somebody called `return_soon`:
        a turn of its loop costs more than all that the job server does for a packet.
        """
        ready: list[tuple[selectors.SelectorKey, int]] = []
        for fd, event in self._pump.run(timeout):
            key = self._keys.get(fd)
            if key is not None:
                mask = selectors.EVENT_READ if event & ~select.EPOLLOUT else 0
                if event & ~select.EPOLLIN:
                    mask |= selectors.EVENT_WRITE
                ready.append((key, mask & key.events))
        return ready

    def return_soon(self) -> None:
        """Something was scheduled with asyncio meanwhile: it must get its turn."""
        self._pump.hurry = True

    # ---- what the job server calls

    def watch(self, fd: int, owner: Watched, read: bool, write: bool) -> None:
        if fd in self._pump.owners:
            self._epoll.modify(fd, _mask(read, write))
        else:
            self._epoll.register(fd, _mask(read, write))
        self._pump.owners[fd] = owner

    def unwatch(self, fd: int) -> None:
        if self._pump.owners.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def at_turn(self, callback: Callable[[], float | None] | None) -> None:
        self._pump.turn = callback


def _mask(read: bool, write: bool) -> int:
    return (select.EPOLLIN if read else 0) | (select.EPOLLOUT if write else 0)


class GearLoop(asyncio.SelectorEventLoop):
    """asyncio's own loop over a `Poller`."""

    def __init__(self) -> None:
        self.poller = Poller()
        super().__init__(self.poller)

    def call_soon(  # type: ignore[override]  # the stub's type of args has no use here
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        self.poller.return_soon()
        return super().call_soon(callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        self.poller.return_soon()
        return super().call_at(when, callback, *args, context=context)


class LoopReactor:
    """Watches sockets on any asyncio loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._watched: dict[int, tuple[bool, bool]] = {}
        self._owners: dict[int, Watched] = {}
        self._lost = select.poll()
        self._turn: Callable[[], float | None] | None = None
        self._scheduled = False
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, fd: int, owner: Watched, read: bool, write: bool) -> None:
        before = self._watched.get(fd, (False, False))
        self._owners[fd] = owner
        self._lost.register(fd, 0)
        if read:
            self._loop.add_reader(fd, self._call, owner, owner.readable)
        elif before[0]:
            self._loop.remove_reader(fd)
        if write:
            self._loop.add_writer(fd, self._call, owner, owner.writable)
        elif before[1]:
            self._loop.remove_writer(fd)
        self._watched[fd] = (read, write)

    def unwatch(self, fd: int) -> None:
        if self._watched.pop(fd, None) is not None:
            del self._owners[fd]
            self._lost.unregister(fd)
            self._loop.remove_reader(fd)
            self._loop.remove_writer(fd)

    def at_turn(self, callback: Callable[[], float | None] | None) -> None:
        self._turn = callback

    def check(self) -> None:
        """Tells owners whose sockets were reset. uvloop forgets a socket with an error, and says nothing."""
        for fd, _ in self._lost.poll(0):
            for _ in range(_READS):  # what was sent before the reset still counts
                owner = self._owners.get(fd)
                if owner is None:
                    break
                self._call(owner, owner.readable)

    def wake(self) -> None:
        """Has the turn's callback run soon: for changes that did not come from a watched socket."""
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._end_turn)

    def _call(self, owner: Watched, method: Callable[[], None]) -> None:
        try:
            method()
        except Exception as error:
            owner.broken(error)
        self.wake()

    def _end_turn(self) -> None:
        self._scheduled = False
        if self._turn is None:
            return
        wait = self._turn()
        if wait is None:
            return
        when = self._loop.time() + max(wait, 0)
        if self._timer is not None:
            if self._timer.when() <= when and not self._timer.cancelled():
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(when, self._due)

    def _due(self) -> None:
        self._timer = None
        self.wake()


def reactor_of(loop: asyncio.AbstractEventLoop) -> Reactor:
    """The fastest way to watch sockets that a loop offers."""
    return loop.poller if isinstance(loop, GearLoop) else LoopReactor(loop)


def check_loop(loop: str) -> None:
    """Looks whether the loop is there.

    Raises:
        ConfigError: uvloop is asked for and not installed.
    """
    if loop == "uvloop" and importlib.util.find_spec("uvloop") is None:
        raise ConfigError("--loop uvloop needs uvloop: pip install 'geartrain[fast]'")


def run(main: Callable[[], Coroutine[Any, Any, int]], loop: str = "auto") -> int:
    """Runs a coroutine to its end on the loop of that name, and returns what it returns.

    Args:
        main: makes the coroutine.
        loop: ``auto`` and ``asyncio`` (asyncio's own loop with the server's poller), or ``uvloop``.

    Raises:
        ConfigError: uvloop is asked for and not installed.
    """
    # epoll is Linux's; elsewhere asyncio's own selector does, with a call more per packet
    factory: Callable[[], asyncio.AbstractEventLoop] = GearLoop if hasattr(select, "epoll") else asyncio.new_event_loop
    check_loop(loop)
    if loop == "uvloop":
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main())
