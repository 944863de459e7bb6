"""Roster: which workers can do what, who sleeps, and which job comes next.

Owns the pools. A pool is the workers that can do exactly the same functions: they share one list of functions
with waiting jobs and one stack of sleepers, so that a grab, a sleep and a wake-up cost the same for one function
and for a hundred thousand. A worker's pool is looked up when it grabs or sleeps for the first time after its
abilities changed, not on each CAN_DO.
"""

from collections import OrderedDict, deque
from typing import Final

from geartrain.engine.function import Function
from geartrain.engine.job import Job
from geartrain.engine.peer import Peer
from geartrain.engine.queue import Queue

__all__ = ["Pool", "Roster"]

_PRIORITIES: Final = [0, 1, 2]


class Pool:
    """Workers with the same functions.

    Attributes:
        functions: what they can do.
        members: how many workers.
        sleepers: who sleeps; the last to fall asleep is woken first, its caches are warm.
        ready: by priority, the queues with a waiting job, in the order of rotation. One whose last job went to
            another pool, or was cancelled, stands there still: it goes when its turn comes.
        listed: by priority, what stands in `ready`.
    """

    __slots__ = ("functions", "listed", "members", "ready", "sleepers")

    def __init__(self, functions: frozenset[Function]) -> None:
        self.functions: frozenset[Function] = functions
        self.members: int = 0
        self.sleepers: dict[Peer, None] = {}
        self.ready: list[deque[Queue]] = [deque(), deque(), deque()]
        self.listed: list[set[Queue]] = [set(), set(), set()]

    def add(self, queue: Queue, priority: int) -> None:
        """A function has got a waiting job: it has its turn after all others."""
        listed = self.listed[priority]
        if queue not in listed:
            listed.add(queue)
            self.ready[priority].append(queue)

    def has_work(self) -> bool:
        for priority in _PRIORITIES:
            ready = self.ready[priority]
            while ready:
                if ready[0].count:
                    return True
                self.listed[priority].discard(ready.popleft())
        return False


class Roster:
    """All pools.

    Args:
        by_priority: True for gearmand 2.0's order: the highest priority over all functions of a worker, with
            rotation between functions. False for 1.1's: the function registered last comes first.
        rotate: with 1.1's order, rotate between functions (--round-robin).
    """

    __slots__ = ("_by_priority", "_rotate", "pools")

    def __init__(self, by_priority: bool = True, rotate: bool = True) -> None:
        self._by_priority = by_priority
        self._rotate = rotate
        self.pools: dict[frozenset[Function], Pool] = {}

    # ---- who can do what

    def add(self, peer: Peer, function: Function, timeout: float) -> bool:
        """Registers a function. Returns whether the peer's abilities changed."""
        functions = peer.functions
        if functions is None:
            functions = peer.functions = {} if self._by_priority else OrderedDict()
        known = function in functions
        functions[function] = timeout
        if timeout > 0:
            peer.timed = True
        if known:
            return False
        function.workers += 1
        self._unpool(peer)
        return True

    def remove(self, peer: Peer, function: Function) -> bool:
        """Takes a function back. Returns whether the peer had it."""
        functions = peer.functions
        if functions is None or function not in functions:
            return False
        self._unpool(peer)
        del functions[function]
        function.workers -= 1
        return True

    def clear(self, peer: Peer) -> None:
        """Takes all functions back."""
        if peer.functions is not None:
            self._unpool(peer)
            for function in peer.functions:
                function.workers -= 1
            peer.functions = None
            peer.timed = False

    def pool_of(self, peer: Peer) -> Pool | None:
        """The peer's pool, None for a peer that can do nothing."""
        if peer.pool is None and peer.functions:
            key = frozenset(peer.functions)
            pool = self.pools.get(key)
            if pool is None:
                pool = self.pools[key] = Pool(key)
                for function in peer.functions:
                    function.pools.append(pool)
                    for priority in _PRIORITIES:
                        if function.queues[priority].count:
                            pool.add(function.queues[priority], priority)
            pool.members += 1
            peer.pool = pool
        return peer.pool

    def _unpool(self, peer: Peer) -> None:
        pool = peer.pool
        if pool is None:
            return
        peer.pool = None
        pool.sleepers.pop(peer, None)
        pool.members -= 1
        if not pool.members:
            del self.pools[pool.functions]
            for function in pool.functions:
                function.pools.remove(pool)

    # ---- which job comes next

    def enqueue(self, job: Job) -> None:
        """Makes a job wait for a worker."""
        function = job.function
        priority = job.priority
        queue = function.queues[priority]
        queue.push(job)
        if queue.count == 1:
            for pool in function.pools:
                pool.add(queue, priority)

    def withdraw(self, job: Job) -> None:
        """A waiting job has ended: it waits no more."""
        job.function.queues[job.priority].remove(job)

    def move(self, job: Job, priority: int) -> None:
        """Gives a waiting job another priority: it goes to the end of that queue."""
        self.withdraw(job)
        job.priority = priority
        self.enqueue(job)

    def take(self, peer: Peer) -> Job | None:
        """The next job for a worker, None for none."""
        pool = peer.pool
        if pool is None:
            pool = self.pool_of(peer)
            if pool is None:
                return None
        if not self._by_priority:
            return self._take_in_order(peer)
        for priority in _PRIORITIES:
            ready = pool.ready[priority]
            while ready:
                queue = ready[0]
                waiting = queue.count
                if waiting > 1:
                    if len(ready) > 1:
                        ready.rotate(-1)
                    return queue.pop()
                ready.popleft()
                pool.listed[priority].discard(queue)
                if waiting:
                    return queue.pop()
        return None

    def _take_in_order(self, peer: Peer) -> Job | None:
        """gearmand 1.1: the last registered function that has a job; its highest priority."""
        functions = peer.functions
        assert functions is not None
        for function in reversed(functions):
            for priority in _PRIORITIES:
                queue = function.queues[priority]
                if queue.count:
                    job = queue.pop()
                    if self._rotate:
                        assert isinstance(functions, OrderedDict)
                        functions.move_to_end(function, last=False)
                    return job
        return None
