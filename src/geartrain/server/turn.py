"""Turn: the end of a turn of the loop, at which everything that it produced is sent, stored and timed.

Owns the order of these things. Must not know sockets, asyncio or what the packets mean.
"""

from time import monotonic
from typing import TYPE_CHECKING, Final, Protocol

from geartrain.engine.engine import Engine

if TYPE_CHECKING:
    from geartrain.engine.peer import Peer

__all__ = ["Kicked", "Turn"]

_BUSY: Final = 4
"""Workers served in a turn from which results to clients may wait for those of the next turn."""
_ENOUGH: Final = 48
"""Workers served since the first result was kept, after which they are sent in any case."""
_IN_FLIGHT: Final = 4
"""Jobs that a client must wait for still, or its results are sent at once."""


class Kicked(Protocol):
    """Whoever writes the journal."""

    def kick(self) -> None: ...


class Turn:
    """See the module.

    Args:
        engine: whose turns they are.

    Attributes:
        committer: is told of each turn's end; None without a durable queue.
    """

    __slots__ = ("_due", "_engine", "_served", "committer")

    def __init__(self, engine: Engine) -> None:
        self._engine: Engine = engine
        self._due: float | None = None
        self._served: int = 0  # workers since the first result was kept; 0 while none is
        self.committer: Kicked | None = None

    def end(self) -> float | None:
        """Ends a turn.

        Returns:
            seconds until something is due; None for nothing.
        """
        engine = self._engine
        due = self._due
        if due is not None:
            now = monotonic()
            if now >= due:
                engine.tick(now)
        if engine.wakeups.unsettled:
            engine.wakeups.settle()
        if self.committer is not None:
            self.committer.kick()
        if engine.dirty:
            self._send(engine)
        due = self._due = engine.deadline()
        if self._served:
            return 0.0  # results are kept for a turn that is there already, never for one that may come
        return None if due is None else due - monotonic()

    def _send(self, engine: Engine) -> None:
        """Sends to workers at once. On a busy server, results of a client that waits for more of them are gathered.

        A worker that waits is lost time. A client that has many jobs in the queue gains nothing from a result that
        comes a moment earlier, but each write costs both sides as much as a job.
        """
        while engine.dirty:  # a peer that is found broken changes others
            dirty = engine.dirty
            engine.dirty = []
            kept: list[Peer] = []
            served = 0
            for peer in dirty:
                waits = peer.waits
                if peer.functions is not None:
                    served += 1
                elif waits is not None and len(waits) >= _IN_FLIGHT and not peer.large and not peer.closing:
                    kept.append(peer)
                    continue
                peer.dirty = False
                try:
                    peer.link.flush()
                except Exception as error:
                    peer.link.broken(error)
            self._served += served
            if kept and served >= _BUSY and self._served < _ENOUGH and len(engine.jobs) - engine.running > served:
                engine.dirty += kept
                return
            self._served = 0
            for peer in kept:
                peer.dirty = False
                try:
                    peer.link.flush()
                except Exception as error:
                    peer.link.broken(error)
