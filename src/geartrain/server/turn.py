"""Turn: the end of a turn of the loop, at which everything that it produced is sent, stored and timed.

Owns the order of these things. Must not know sockets, asyncio or what the packets mean.
"""

from time import monotonic
from typing import Protocol

from geartrain.engine.engine import Engine

__all__ = ["Kicked", "Turn"]


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

    __slots__ = ("_due", "_engine", "committer")

    def __init__(self, engine: Engine) -> None:
        self._engine: Engine = engine
        self._due: float | None = None
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
        while engine.dirty:  # a peer that is found broken changes others
            dirty = engine.dirty
            engine.dirty = []
            for peer in dirty:
                peer.dirty = False
                peer.link.flush()
        due = self._due = engine.deadline()
        return None if due is None else due - monotonic()
