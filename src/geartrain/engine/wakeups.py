"""Wakeups: workers that sleep, and who is woken for a job.

Owns falling asleep and waking. One worker is woken for one job; if that one takes another job, leaves or hangs,
somebody else is woken. Which job a worker gets is roster.py's.
"""

from typing import TYPE_CHECKING, Final

from geartrain.engine.replies import NOOP

if TYPE_CHECKING:
    from geartrain.engine.engine import Engine
    from geartrain.engine.function import Function
    from geartrain.engine.peer import Peer

__all__ = ["Wakeups"]

_PATIENCE: Final = 0.5
"""Seconds after which a woken worker that did not ask is not waited for any longer."""


class Wakeups:
    """See the module.

    Args:
        engine: gives out the jobs.

    Attributes:
        again: when others are to be woken, in the engine's seconds; 0 for not at all.
        unsettled: sleeping workers whose abilities changed in this turn; `settle` takes care of them.
    """

    __slots__ = ("_engine", "again", "unsettled")

    def __init__(self, engine: "Engine") -> None:
        self._engine: Engine = engine
        self.again: float = 0.0
        self.unsettled: list[Peer] = []

    def sleep(self, peer: "Peer") -> None:
        """A worker waits to be woken; at once, if there is work."""
        if peer.sleeping:
            return
        peer.woken_for = None
        pool = self._engine.roster.pool_of(peer)
        if pool is None:
            peer.sleeping = True
        elif pool.has_work() and not self._engine.draining:
            self._rouse(peer, None)
        else:
            peer.sleeping = True
            pool.sleepers[peer] = None

    def wake(self, function: "Function") -> None:
        """A job waits: wakes one worker that can do it, if one sleeps."""
        for pool in function.pools:
            if pool.sleepers and not self._engine.draining:
                peer = pool.sleepers.popitem()[0]
                peer.sleeping = False
                self._rouse(peer, function)
                return

    def changed(self, peer: "Peer") -> None:
        """A worker's abilities changed: if it sleeps, it takes its new place at the end of the turn."""
        if peer.sleeping and not peer.unsettled:
            peer.unsettled = True
            self.unsettled.append(peer)

    def settle(self) -> None:
        """Ends a turn: sleeping workers whose abilities changed take their place, and are woken if there is work."""
        for peer in self.unsettled:
            peer.unsettled = False
            if peer.sleeping and not peer.gone:
                peer.sleeping = False
                self.sleep(peer)
        self.unsettled.clear()

    def wake_more(self) -> None:
        """Somebody who was woken did not ask: wakes others for the jobs that still wait."""
        self.again = 0.0
        for pool in list(self._engine.roster.pools.values()):
            jobs = sum(queue.count for ready in pool.ready for queue in ready)
            for _ in range(min(jobs, len(pool.sleepers))):
                peer = pool.sleepers.popitem()[0]
                peer.sleeping = False
                self._rouse(peer, None)

    def _rouse(self, peer: "Peer", function: "Function | None") -> None:
        """Wakes one worker: with a job for ALL_YOURS, with NOOP otherwise."""
        engine = self._engine
        if peer.all_yours:
            job = engine.roster.take(peer)
            if job is not None:
                engine.assign(peer, job)
                return
        peer.woken_for = function
        engine.send(peer, NOOP)
        if self.again == 0.0:
            self.again = engine.now + _PATIENCE
