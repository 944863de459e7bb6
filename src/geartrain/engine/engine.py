"""Engine: the job server's policy. Bytes were parsed before it, and are sent after it; it knows no sockets.

Owns the jobs, the functions and the peers, and what happens when one of them comes, changes or goes. Time is an
argument: seconds of any clock that never steps back. Everything to be sent stands in the peers' lists afterwards,
and the peers in `dirty`; everything to be persisted stands in the journal.

Must not know asyncio, sockets, threads or a store.
"""

from collections.abc import Callable
from typing import Final

from geartrain.engine.ending import cancel, drop, requeue
from geartrain.engine.function import Function
from geartrain.engine.job import (
    DELAYED,
    FOREGROUND,
    MEMORY,
    QUEUED,
    RUNNING,
    STORED,
    Extra,
    Job,
    Pieces,
)
from geartrain.engine.journal import Journal
from geartrain.engine.options import About, EngineOptions
from geartrain.engine.peer import Link, Peer
from geartrain.engine.replies import (
    assigned,
    assignment,
    created,
    error,
)
from geartrain.engine.roster import Roster
from geartrain.engine.stats import ServerStats
from geartrain.engine.timers import Timers
from geartrain.engine.uniques import Uniques
from geartrain.engine.wakeups import Wakeups
from geartrain.protocol.commands import Command

__all__ = ["Engine"]

_GRAB_JOB: Final = int(Command.GRAB_JOB)
_LARGE: Final = 4096
"""Bytes from which a workload is sent from where it lies, rather than copied behind its header."""
MAX_UNIQUE: Final = 64
"""Bytes of a unique: gearmand's GEARMAN_MAX_UNIQUE_SIZE."""


class Engine:
    """The job server without its sockets.

    Args:
        options: the policy's part of the configuration.
        journal: where background jobs are recorded for the store; None keeps them in memory only.
        wall_clock: seconds since 1970, asked for when a delayed job comes.
        about: what the text protocol tells of the server.
        first_number: the number of the first handle.

    Attributes:
        dirty: peers with something to send or to close; the shell empties it after each turn.
        jobs: every live job by handle.
        functions: every function by name. They stay until they are dropped, as in gearmand.
        peers: every connection.
        now: the time of the turn, in seconds.
        running: how many jobs workers have.
        draining: whether jobs are given out no more, because the server is about to stop.
        ended: handles of stored jobs that ended while stored jobs were still being loaded; None at other times.
        wakeups: who sleeps, and is woken for what.
    """

    def __init__(
        self,
        options: EngineOptions,
        journal: Journal | None,
        wall_clock: Callable[[], float],
        about: About,
        first_number: int = 1,
    ) -> None:
        self.options: EngineOptions = options
        self.journal: Journal | None = journal
        self.wall_clock: Callable[[], float] = wall_clock
        self.about: About = about
        self.dirty: list[Peer] = []
        self.jobs: dict[bytes, Job] = {}
        self.functions: dict[bytes, Function] = {}
        self.peers: dict[Peer, None] = {}
        self.uniques: Uniques = Uniques()
        self.roster: Roster = Roster(options.by_priority, options.rotate)
        self.timers: Timers = Timers()
        self.stats: ServerStats = ServerStats()
        self.now: float = 0.0
        self.draining: bool = False
        self.running: int = 0
        self.ended: set[bytes] | None = None
        self._prefix: bytes = options.handle_prefix
        self._number: int = first_number
        self.wakeups: Wakeups = Wakeups(self)

    # ---- peers

    def connect(self, link: Link, address: bytes, fd: int, trusted: bool, now: float) -> Peer:
        """A connection came."""
        peer = Peer(link, address, fd, trusted, now)
        self.peers[peer] = None
        self.stats.connections += 1
        return peer

    def leave(self, peer: Peer, now: float) -> None:
        """A connection went: its running jobs go to other workers, its own foreground jobs end with it."""
        if peer.gone:
            return
        self.now = now
        peer.gone = True
        self.peers.pop(peer, None)
        woken_for = peer.woken_for
        peer.sleeping = False
        peer.woken_for = None
        self.roster.clear(peer)
        if peer.running:
            for job in list(peer.running.values()):
                requeue(self, job)
        if peer.waits:
            waits, peer.waits = peer.waits, None
            for job in waits:
                assert job.clients is not None
                job.clients = [client for client in job.clients if client is not peer] or None
                if job.clients is None and job.durable == FOREGROUND and job.state != RUNNING:
                    drop(self, job)
        if woken_for is not None:
            self.wakeups.wake(woken_for)

    def send(self, peer: Peer, packet: bytes) -> None:
        """Appends to what a peer will get."""
        peer.out.append(packet)
        if not peer.dirty:
            peer.dirty = True
            self.dirty.append(peer)

    def refuse(self, peer: Peer, code: bytes, text: bytes) -> None:
        """Sends an ERROR."""
        errors = self.stats.errors
        errors[code] = errors.get(code, 0) + 1
        self.send(peer, error(code, text))

    def close(self, peer: Peer) -> None:
        """Has a connection closed once everything for it is sent."""
        peer.closing = True
        if not peer.dirty:
            peer.dirty = True
            self.dirty.append(peer)

    # ---- a job's way

    def function(self, name: bytes) -> Function:
        """The function of that name; it is made when it is new."""
        function = self.functions.get(name)
        if function is None:
            function = self.functions[name] = Function(name)
        return function

    @property
    def next_number(self) -> int:
        """The number of the next handle."""
        return self._number

    def new_handle(self) -> bytes:
        """A handle that was never used."""
        number = self._number
        self._number = number + 1
        return b"%b%d" % (self._prefix, number)

    def submit(
        self,
        peer: Peer,
        name: bytes,
        unique: bytes,
        workload: bytes | Pieces,
        priority: int,
        background: bool,
        extra: Extra | None = None,
    ) -> None:
        """Takes a job, or joins it to the live job of the same function and unique, and answers."""
        if unique and len(unique) > MAX_UNIQUE:
            self.refuse(peer, b"ARGUMENT_TOO_LARGE", b"Unique value too large")
            return
        function = self.functions.get(name)
        if function is None:
            function = self.functions[name] = Function(name)
        if unique:
            job = self.uniques.find(function, unique, workload)
            if job is not None:
                self._join(peer, job, background)
                return
        limits = function.limits
        if limits is not None and 0 < limits[priority] <= function.total:
            function.stats.refused += 1
            self.refuse(peer, b"QUEUE_ERROR", b"Job queue is full")
            return
        handle = self.new_handle()
        job = Job(handle, function, unique, workload, priority, FOREGROUND, self.now)
        self.jobs[handle] = job
        if unique:
            self.uniques.add(job)
        function.total += 1
        function.stats.submitted += 1
        journal = self.journal if background else None
        if journal is not None:
            journal.add(job)
        elif background:
            job.durable = MEMORY
        else:
            job.clients = [peer]
            waits = peer.waits
            if waits is None:
                peer.waits = {job}
            else:
                waits.add(job)
        if journal is None or journal.lazy:
            peer.out.append(created(handle))
            if not peer.dirty:
                peer.dirty = True
                self.dirty.append(peer)
        else:
            journal.hold(peer, job, created(handle), self.now)
        if extra is not None:
            job.extra = extra
            if extra.when > 0 and self.delay(job):
                return
        self.roster.enqueue(job)
        self.wakeups.wake(function)

    def delay(self, job: Job) -> bool:
        """Puts a job with a time aside until then. Returns False where the time is past."""
        wait = job.when - self.wall_clock()
        if wait <= 0:
            return False
        job.state = DELAYED
        self.timers.add(self.now + wait, job)
        return True

    def _join(self, peer: Peer, job: Job, background: bool) -> None:
        """One more submission for a live job. Once any of them was in the background, it stays so."""
        job.function.stats.joined += 1
        packet = created(job.handle)
        if background:
            journal = self.journal
            if journal is None:
                job.durable = MEMORY
            elif job.durable == FOREGROUND:
                journal.add(job)
            if journal is None or journal.lazy or job.durable == MEMORY or job.durable == STORED:
                self.send(peer, packet)
            else:
                journal.hold(peer, job, packet, self.now)
            return
        if job.clients is None:
            job.clients = [peer]
        else:
            job.clients.append(peer)
        if peer.waits is None:
            peer.waits = set()
        peer.waits.add(job)
        self.send(peer, packet)

    def assign(self, peer: Peer, job: Job) -> None:
        """Gives a job to a worker."""
        function = job.function
        now = self.now
        job.state = RUNNING
        job.worker = peer
        job.started = now
        function.running += 1
        self.running += 1
        stats = function.stats
        stats.started += 1
        (stats.waited or stats.first_waited()).add(now - job.submitted)
        running = peer.running
        if running is None:
            peer.running = {job.handle: job}
        else:
            running[job.handle] = job
        if peer.timed:
            assert peer.functions is not None
            timeout = peer.functions[function]
            if timeout > 0:
                self.timers.add(now + timeout, job)
        workload = job.data
        if isinstance(workload, Pieces) or len(workload) >= _LARGE:
            peer.out.append(assignment(peer.flavour, job))
            peer.out += workload.parts if isinstance(workload, Pieces) else [workload]
            peer.large = True
        elif peer.flavour == _GRAB_JOB:
            peer.out.append(assigned(job.handle, function.enclosed, workload))
        else:
            peer.out.append(assignment(peer.flavour, job) + workload)
        if not peer.dirty:
            peer.dirty = True
            self.dirty.append(peer)

    def drop_function(self, function: Function) -> None:
        """Forgets a function without workers and running jobs; what waits for it is cancelled."""
        for job in [job for job in self.jobs.values() if job.function is function] if function.total else []:
            cancel(self, job)
        del self.functions[function.name]

    def change_priority(self, job: Job, priority: int) -> None:
        """Gives a job that is not running another priority."""
        if job.priority == priority:
            return
        if job.state == QUEUED:
            self.roster.move(job, priority)
        else:
            job.priority = priority
        if job.durable > MEMORY:
            assert self.journal is not None
            self.journal.priority(job)

    def tell(self, job: Job, packet: bytes) -> None:
        """Sends a packet to all clients of a job."""
        clients = job.clients
        if clients is not None:
            for peer in clients:
                peer.out.append(packet)
                if not peer.dirty:
                    peer.dirty = True
                    self.dirty.append(peer)

    # ---- workers

    def can_do(self, peer: Peer, name: bytes, timeout: float) -> None:
        """Registers a function; a second time changes its timeout only."""
        if self.roster.add(peer, self.function(name), timeout):
            self.wakeups.changed(peer)

    def cannot_do(self, peer: Peer, name: bytes) -> None:
        """Takes a function back. A job that the peer has is not taken from it."""
        function = self.functions.get(name)
        if function is not None and self.roster.remove(peer, function):
            self.wakeups.changed(peer)

    def grab(self, peer: Peer) -> bool:
        """Gives the next job to a worker that asks. Returns False if there is none."""
        if peer.sleeping:
            peer.sleeping = False
            if peer.pool is not None:
                peer.pool.sleepers.pop(peer, None)
        job = None if self.draining else self.roster.take(peer)
        woken_for = peer.woken_for
        if job is None:
            peer.woken_for = None
            return False
        if woken_for is not None:
            peer.woken_for = None
            if woken_for is not job.function:  # it was woken for another job, which still waits
                self.wakeups.wake(woken_for)
        self.assign(peer, job)
        return True

    # ---- time

    def deadline(self) -> float | None:
        """When `tick` must be called next, None for not at all."""
        if self.wakeups.unsettled:
            return self.now
        timer = self.timers.next()
        again = self.wakeups.again
        if again == 0.0:
            return timer
        return again if timer is None else min(timer, again)

    def tick(self, now: float) -> None:
        """Lets time pass: delayed jobs whose time has come, workers that take too long."""
        self.now = now
        for job in self.timers.due(now):
            if job.state == DELAYED:
                job.state = QUEUED
                job.submitted = now
                self.roster.enqueue(job)
                self.wakeups.wake(job.function)
            else:
                job.function.stats.timeouts += 1
                requeue(self, job)
        if self.wakeups.again and now >= self.wakeups.again:
            self.wakeups.wake_more()

    # ---- the durable queue

    @property
    def replaying(self) -> bool:
        """Whether stored jobs are still being loaded."""
        return self.ended is not None

    def begin_replay(self) -> None:
        """Stored jobs will come in (recovery.py); what ends meanwhile must not come back by a late row."""
        self.ended = set()

    def end_replay(self) -> None:
        self.ended = None
