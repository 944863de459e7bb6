"""Engine: the job server's policy. Bytes were parsed before it, and are sent after it; it knows no sockets.

Owns the jobs, the functions and the peers, and what happens when one of them comes, changes or goes. Time is an
argument: seconds of any clock that never steps back. Everything to be sent stands in the peers' lists afterwards,
and the peers in `dirty`; everything to be persisted stands in the journal.

Must not know asyncio, sockets, threads or a store.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from geartrain.engine.function import Function
from geartrain.engine.job import (
    DELAYED,
    ENDED,
    FOREGROUND,
    MEMORY,
    QUEUED,
    RUNNING,
    STORED,
    Extra,
    Job,
)
from geartrain.engine.journal import Journal
from geartrain.engine.peer import Link, Peer
from geartrain.engine.replies import (
    NOOP,
    assigned,
    assignment,
    created,
    error,
    failed,
)
from geartrain.engine.roster import Roster
from geartrain.engine.stats import Histogram, ServerStats
from geartrain.engine.timers import Timers
from geartrain.engine.uniques import Uniques
from geartrain.protocol.commands import Command
from geartrain.stores.base import StoredJob

__all__ = ["About", "Engine", "EngineOptions"]

_WAKE_AGAIN = 0.5
"""Seconds after which a woken worker that did not ask is not waited for any longer."""
_GRAB_JOB = int(Command.GRAB_JOB)
_LARGE = 4096
"""Bytes from which a workload is sent from where it lies, rather than copied behind its header."""
MAX_UNIQUE = 64
"""Bytes of a unique: gearmand's GEARMAN_MAX_UNIQUE_SIZE."""


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """What of the configuration concerns the policy.

    Attributes:
        handle_prefix: handles are this and a number, as ``H:host:1``.
        attempts: how often a job is given to a worker before it is given up; 0 for no limit (--job-retries).
        exceptions: forward WORK_EXCEPTION to all clients (--exceptions).
        by_priority: gearmand 2.0's order over all functions of a worker (--compat).
        rotate: rotate between functions (--round-robin; always in 2.0's order).
        wakeup: at most so many workers are woken for one job; 0 for as many as there are jobs (--worker-wakeup).
    """

    handle_prefix: bytes = b"H:geartrain:"
    attempts: int = 0
    exceptions: bool = False
    by_priority: bool = True
    rotate: bool = True
    wakeup: int = 0


class About:
    """What the text protocol tells of the server, and the way to stop it. The shell fills it in.

    Attributes:
        version: as `version` shows it.
        verbose: as `verbose` shows it.
        allow_shutdown: whether `shutdown` is accepted from other machines.
        shutdown: stops the server; True lets the running jobs finish first.
    """

    __slots__ = ("allow_shutdown", "shutdown", "verbose", "version")

    def __init__(self, version: bytes, verbose: bytes, allow_shutdown: bool, shutdown: Callable[[bool], None]) -> None:
        self.version: bytes = version
        self.verbose: bytes = verbose
        self.allow_shutdown: bool = allow_shutdown
        self.shutdown: Callable[[bool], None] = shutdown


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
        unsettled: sleeping workers whose abilities changed in this turn; `settle` takes care of them.
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
        self._ended: set[bytes] | None = None
        self._prefix: bytes = options.handle_prefix
        self._number: int = first_number
        self._attempts: int = options.attempts
        self.unsettled: list[Peer] = []
        self._wake_again: float = 0.0

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
                self.requeue(job)
        if peer.waits:
            waits, peer.waits = peer.waits, None
            for job in waits:
                assert job.clients is not None
                job.clients = [client for client in job.clients if client is not peer] or None
                if job.clients is None and job.durable == FOREGROUND and job.state != RUNNING:
                    self.drop(job)
        if woken_for is not None:
            self._wake(woken_for)

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

    def submit(
        self,
        peer: Peer,
        name: bytes,
        unique: bytes,
        workload: bytes,
        priority: int,
        background: bool,
        extra: Extra | None = None,
    ) -> None:
        """Takes a job, or joins it to the live job of the same function and unique, and answers."""
        if len(unique) > MAX_UNIQUE:
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
        number = self._number
        self._number = number + 1
        handle = b"%b%d" % (self._prefix, number)
        now = self.now
        job = Job(handle, function, unique, workload, priority, FOREGROUND, now)
        self.jobs[handle] = job
        if unique:
            self.uniques.add(job)
        function.total += 1
        function.stats.submitted += 1
        if background:
            self._make_durable(job)
            self._created(peer, job)
        else:
            job.clients = [peer]
            waits = peer.waits
            if waits is None:
                peer.waits = {job}
            else:
                waits.add(job)
            self.send(peer, created(handle))
        if extra is not None:
            job.extra = extra
            if extra.when > 0 and self._delay(job):
                return
        self.roster.enqueue(job)
        self._wake(function)

    def _delay(self, job: Job) -> bool:
        """Puts a job with a time aside until then. Returns False where the time is past."""
        wait = job.when - self.wall_clock()
        if wait <= 0:
            return False
        job.state = DELAYED
        self.timers.add(self.now + wait, job)
        return True

    def _make_durable(self, job: Job) -> None:
        if self.journal is None:
            job.durable = MEMORY
        else:
            self.journal.add(job)

    def _created(self, peer: Peer, job: Job) -> None:
        """JOB_CREATED for a background job: once it is safe."""
        packet = created(job.handle)
        journal = self.journal
        if journal is None or journal.lazy or job.durable == MEMORY or job.durable == STORED:
            self.send(peer, packet)
        else:
            journal.hold(peer, job, packet, self.now)

    def _join(self, peer: Peer, job: Job, background: bool) -> None:
        """One more submission for a live job. Once any of them was in the background, it stays so."""
        job.function.stats.joined += 1
        if background:
            if job.durable == FOREGROUND:
                self._make_durable(job)
            self._created(peer, job)
            return
        if job.clients is None:
            job.clients = [peer]
        else:
            job.clients.append(peer)
        if peer.waits is None:
            peer.waits = set()
        peer.waits.add(job)
        self.send(peer, created(job.handle))

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
        if stats.waited is None:
            stats.waited = Histogram()
        stats.waited.add(now - job.submitted)
        running = peer.running
        if running is None:
            peer.running = {job.handle: job}
        else:
            running[job.handle] = job
        functions = peer.functions
        assert functions is not None
        timeout = functions[function]
        if timeout > 0:
            self.timers.add(now + timeout, job)
        workload = job.workload
        if len(workload) >= _LARGE:
            peer.out.append(assignment(peer.flavour, job))
            peer.out.append(workload)
            peer.large = True
        elif peer.flavour == _GRAB_JOB:
            peer.out.append(assigned(job.handle, function.name, workload))
        else:
            peer.out.append(assignment(peer.flavour, job) + workload)
        if not peer.dirty:
            peer.dirty = True
            self.dirty.append(peer)

    def requeue(self, job: Job) -> None:
        """A worker left or took too long: the job goes to the end of its queue, or is given up."""
        function = job.function
        self._unassign(job)
        job.attempts += 1
        function.stats.requeued += 1
        if self._attempts and job.attempts >= self._attempts:
            function.stats.exhausted += 1
            self.tell(job, failed(job.handle))
            self._end(job)
        elif job.durable == FOREGROUND and job.clients is None:
            self.drop(job)
        else:
            job.state = QUEUED
            job.progress = None
            if job.durable > MEMORY:
                assert self.journal is not None
                self.journal.attempt(job)
            self.roster.enqueue(job)
            self._wake(function)

    def finish(self, job: Job) -> None:
        """A worker ended its job. The caller has told the clients and counted how."""
        stats = job.function.stats
        if stats.ran is None:
            stats.ran = Histogram()
        stats.ran.add(self.now - job.started)
        self._unassign(job)
        self._end(job)

    def drop(self, job: Job) -> None:
        """Ends a job that no worker has, without a word."""
        job.function.stats.cancelled += 1
        self._end(job)

    def cancel(self, job: Job) -> None:
        """Ends a job; its clients get WORK_FAIL.

        A worker that has it is not stopped, but nobody hears of it, joins it or tries it again (gearmand).
        """
        self.tell(job, failed(job.handle))
        if job.state == RUNNING:
            self._abandon(job)
        else:
            self.drop(job)

    def drop_function(self, function: Function) -> None:
        """Forgets a function without workers and running jobs; what waits for it is cancelled."""
        for job in [job for job in self.jobs.values() if job.function is function] if function.total else []:
            self.cancel(job)
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

    def _unassign(self, job: Job) -> None:
        function = job.function
        function.running -= 1
        self.running -= 1
        worker = job.worker
        assert worker is not None
        running = worker.running
        assert running is not None
        del running[job.handle]
        job.worker = None
        functions = worker.functions
        if functions is not None and functions.get(function, 0.0) > 0:
            self.timers.drop()

    def _abandon(self, job: Job) -> None:
        """Makes a running job one that nobody waits for: it leaves every index but those of its worker."""
        self._part(job)
        if job.unique:
            self.uniques.remove(job)
        if job.durable > MEMORY:
            assert self.journal is not None
            self.journal.done(job)
            if self._ended is not None:
                self._ended.add(job.handle)
        job.durable = FOREGROUND

    def _part(self, job: Job) -> None:
        """Its clients wait no more."""
        clients = job.clients
        if clients is not None:
            for peer in clients:
                if peer.waits is not None:
                    peer.waits.discard(job)
            job.clients = None

    def _end(self, job: Job) -> None:
        """Takes a job out of every index."""
        state = job.state
        job.state = ENDED
        if state == QUEUED:
            self.roster.withdraw(job)
        elif state == DELAYED:
            self.timers.drop()
        del self.jobs[job.handle]
        if job.unique:
            self.uniques.remove(job)
        job.function.total -= 1
        if job.clients is not None:
            self._part(job)
        if job.durable > MEMORY:
            assert self.journal is not None
            self.journal.done(job)
            if self._ended is not None:
                self._ended.add(job.handle)

    # ---- workers

    def can_do(self, peer: Peer, name: bytes, timeout: float) -> None:
        """Registers a function; a second time changes its timeout only."""
        if self.roster.add(peer, self.function(name), timeout) and peer.sleeping and not peer.unsettled:
            peer.unsettled = True
            self.unsettled.append(peer)

    def cannot_do(self, peer: Peer, name: bytes) -> None:
        """Takes a function back. A job that the peer has is not taken from it."""
        function = self.functions.get(name)
        if function is not None and self.roster.remove(peer, function) and peer.sleeping and not peer.unsettled:
            peer.unsettled = True
            self.unsettled.append(peer)

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
                self._wake(woken_for)
        self.assign(peer, job)
        return True

    def sleep(self, peer: Peer) -> None:
        """A worker waits to be woken; at once, if there is work."""
        if peer.sleeping:
            return
        peer.woken_for = None
        pool = self.roster.pool_of(peer)
        if pool is None:
            peer.sleeping = True
        elif pool.has_work() and not self.draining:
            self._rouse(peer, None)
        else:
            peer.sleeping = True
            pool.sleepers[peer] = None

    def _rouse(self, peer: Peer, function: Function | None) -> None:
        """Wakes one worker: with a job for ALL_YOURS, with NOOP otherwise."""
        if peer.all_yours:
            job = self.roster.take(peer)
            if job is not None:
                self.assign(peer, job)
                return
        peer.woken_for = function
        self.send(peer, NOOP)
        if self._wake_again == 0.0:
            self._wake_again = self.now + _WAKE_AGAIN

    def _wake(self, function: Function) -> None:
        """A job waits: wakes one worker that can do it, if one sleeps."""
        if self.draining:
            return
        for pool in function.pools:
            if pool.sleepers:
                peer = pool.sleepers.popitem()[0]
                peer.sleeping = False
                self._rouse(peer, function)
                return

    def settle(self) -> None:
        """Ends a turn: sleeping workers whose abilities changed take their place, and are woken if there is work."""
        for peer in self.unsettled:
            peer.unsettled = False
            if peer.sleeping and not peer.gone:
                peer.sleeping = False
                self.sleep(peer)
        self.unsettled.clear()

    # ---- time

    def deadline(self) -> float | None:
        """When `tick` must be called next, None for not at all."""
        if self.unsettled:
            return self.now
        next_timer = self.timers.next()
        if self._wake_again == 0.0:
            return next_timer
        return self._wake_again if next_timer is None else min(next_timer, self._wake_again)

    def tick(self, now: float) -> None:
        """Lets time pass: delayed jobs whose time has come, workers that take too long."""
        self.now = now
        for job in self.timers.due(now):
            if job.state == DELAYED:
                job.state = QUEUED
                job.submitted = now
                self.roster.enqueue(job)
                self._wake(job.function)
            else:
                job.function.stats.timeouts += 1
                self.requeue(job)
        if self._wake_again and now >= self._wake_again:
            self._wake_more()

    def _wake_more(self) -> None:
        """Somebody who was woken did not ask: wakes others for the jobs that still wait."""
        self._wake_again = 0.0
        for pool in list(self.roster.pools.values()):
            jobs = sum(function.waiting[priority] for priority in (0, 1, 2) for function in pool.ready[priority])
            for _ in range(min(jobs, len(pool.sleepers))):
                peer = pool.sleepers.popitem()[0]
                peer.sleeping = False
                self._rouse(peer, None)

    # ---- the durable queue

    @property
    def replaying(self) -> bool:
        """Whether stored jobs are still being loaded."""
        return self._ended is not None

    def begin_replay(self) -> None:
        """Stored jobs will come in by `restore`; what ends meanwhile must not come back by a late row."""
        self._ended = set()

    def end_replay(self) -> None:
        self._ended = None

    def restore(self, records: Iterable[StoredJob], now: float) -> int:
        """Takes jobs from the store. Returns how many; one whose unique is live already is joined to that."""
        self.now = now
        count = 0
        for record in records:
            function = self.function(record.function)
            if record.unique:
                live = self.uniques.find(function, record.unique, record.workload)
                if live is not None:  # submitted again before it was loaded
                    self._merge(live, record)
                    continue
            handle = record.handle
            if not handle:
                handle = b"%b%d" % (self._prefix, self._number)
                self._number += 1
            if handle in self.jobs or (self._ended is not None and handle in self._ended):
                continue
            job = Job(handle, function, record.unique, record.workload, record.priority, STORED, now)
            job.attempts = record.attempts
            self.jobs[handle] = job
            if record.unique:
                self.uniques.add(job)
            function.total += 1
            if not record.handle and self.journal is not None:
                self.journal.add(job)
            count += 1
            if record.when or record.reducer:
                job.extra = Extra(record.reducer, record.when)
                if record.when and self._delay(job):
                    continue
            self.roster.enqueue(job)
            self._wake(function)
        return count

    def _merge(self, live: Job, record: StoredJob) -> None:
        """A stored job whose unique is live already: one job, which is in the store."""
        journal = self.journal
        if journal is None:
            return
        if live.durable == FOREGROUND:
            journal.add(live)
        if record.unique == b"-" and record.number:  # other uniques replace the row; these stand beside it
            journal.remove(record.key)

    def expire(self, before: float, reason: bytes) -> None:
        """Answers QUEUE_ERROR to submissions that have waited for the store since before a time."""
        journal = self.journal
        if journal is None:
            return
        late = journal.expired(before)
        awaited = journal.awaited() if late else set()
        for reply in late:
            job = reply.job
            if job.state == ENDED:  # it ran meanwhile: its JOB_CREATED is true without the store
                continue
            journal.refuse(reply, error(b"QUEUE_ERROR", reason))
            self.stats.errors[b"QUEUE_ERROR"] = self.stats.errors.get(b"QUEUE_ERROR", 0) + 1
            job.function.stats.refused += 1
            if job.clients is None and job.state != RUNNING and job not in awaited:  # others joined it later
                self.drop(job)
        for peer in journal.free([reply.peer for reply in late]):
            if not peer.dirty:
                peer.dirty = True
                self.dirty.append(peer)

    def reject(self, job: Job, reason: bytes) -> None:
        """A job that the store can never hold: its submitters get QUEUE_ERROR, unless it has run already."""
        journal = self.journal
        assert journal is not None
        if job.state == ENDED:
            return
        for reply in journal.replies_of(job):
            journal.refuse(reply, error(b"QUEUE_ERROR", reason))
        job.function.stats.refused += 1
        job.durable = MEMORY  # it is not in the store: nothing is to be removed there
        if job.clients is None and job.state != RUNNING:
            self.drop(job)
