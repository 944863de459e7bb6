"""Any sequence of events on a whole engine: the indices agree, no job is lost, none runs twice without a requeue.

The model knows what each event may do to a job, and looks at every job before and after it. Beside that it counts for
each client the results it is owed, and for each peer the answers. With a durable queue it has a disk as well: what was
acknowledged stands on it, whatever the store does, and in the end it is empty.
"""

import os
from collections import Counter
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from geartrain.engine.job import DELAYED, FOREGROUND, MEMORY, QUEUED, RUNNING, WRITING
from geartrain.engine.options import EngineOptions
from geartrain.engine.recovery import expire, reject, restore
from geartrain.protocol.commands import Command as C
from geartrain.stores.base import Batch, StoredJob
from tests.engine.harness import Talker, World
from tests.engine.invariants import check

if TYPE_CHECKING:
    from geartrain.engine.journal import Write
    from geartrain.engine.peer import Peer

FUNCTIONS = [b"f", b"g", b"h"]
UNIQUES = [b"", b"", b"-", b"u1", b"u2", b"u" * 64, b"u" * 65]
WORKLOADS = [b"", b"w", b"x" * 5000]
FOREGROUND_SUBMITS = [C.SUBMIT_JOB, C.SUBMIT_JOB_HIGH, C.SUBMIT_JOB_LOW]
BACKGROUND_SUBMITS = [C.SUBMIT_JOB_BG, C.SUBMIT_JOB_HIGH_BG, C.SUBMIT_JOB_LOW_BG]
ENDS = {C.WORK_COMPLETE, C.WORK_FAIL, C.WORK_EXCEPTION}
GRABS = [C.GRAB_JOB, C.GRAB_JOB_UNIQ, C.GRAB_JOB_ALL]
ATTEMPTS = 3
LOADED = 500_000
"""Jobs of before the restart have numbers from here on."""

functions = st.sampled_from(FUNCTIONS)
uniques = st.sampled_from(UNIQUES)
workloads = st.sampled_from(WORKLOADS)
numbers = st.integers(0, 1000)


class Seen(NamedTuple):
    """A job as it was between two events."""

    state: int
    worker: "Peer | None"
    attempts: int
    durable: int
    clients: Counter["Peer"]
    function: bytes


class Event(NamedTuple):
    """What happened, for the question what it may do."""

    kind: str
    peer: "Peer | None" = None
    handle: bytes = b""
    function: bytes = b""


def same_row(one: StoredJob, other: StoredJob) -> bool:
    """As the stores keep jobs: those without a unique stand side by side, and others that gearmand could not read."""
    plain = one.unique not in (b"", b"-") and len(one.unique) < 64
    return plain and (one.function, one.unique) == (other.function, other.unique)


class EngineModel(RuleBasedStateMachine):
    options: ClassVar[dict[str, Any]] = {}
    durable = False

    def __init__(self) -> None:
        super().__init__()
        self.world = World(EngineOptions(handle_prefix=b"H:t:", attempts=ATTEMPTS, **self.options), self.durable)
        self.engine = self.world.engine
        self.talkers: list[Talker] = []
        self.owed: Counter[tuple[Talker, bytes]] = Counter()
        self.acknowledged: set[bytes] = set()
        """Background jobs whose JOB_CREATED has reached its client."""
        self.ended: set[bytes] = set()
        self.rejected: set[bytes] = set()
        """What the disk does not take."""
        self.refused: set[bytes] = set()
        """Jobs that were given up because of the store."""
        self.asked: dict[Talker, list[set[C]]] = {}
        """For each peer, in order: which answers its requests may get."""
        self.kinds: dict[Talker, list[bool]] = {}
        """For each peer, in order: whether the submission was in the background."""
        self.writing: Write | None = None
        self.disk: dict[int, StoredJob] = {}
        self.loaded = LOADED
        self.before: dict[bytes, Seen] = {}

    # ---- events

    def talker(self, number: int) -> Talker:
        return self.talkers[number % len(self.talkers)]

    def handle(self, number: int) -> bytes:
        handles = [*self.engine.jobs, *sorted(self.ended)[:2], b"H:nobody:1"]
        return handles[number % len(handles)]

    def has_talkers(self) -> bool:
        return bool(self.talkers)

    @rule()
    @precondition(lambda self: len(self.talkers) < 6)
    def connect(self) -> None:
        talker = self.world.peer()
        self.talkers.append(talker)
        self.asked[talker] = []
        self.kinds[talker] = []

    @rule(number=numbers)
    @precondition(has_talkers)
    def leave(self, number: int) -> None:
        talker = self.talker(number)
        talker.leave()
        self.talkers.remove(talker)
        self.owed = Counter({key: count for key, count in self.owed.items() if key[0] is not talker})
        self.after(Event("leave", talker.peer))

    @rule(number=numbers, function=functions, unique=uniques, workload=workloads, command=st.sampled_from(
        [*FOREGROUND_SUBMITS, *BACKGROUND_SUBMITS, C.SUBMIT_REDUCE_JOB, C.SUBMIT_REDUCE_JOB_BACKGROUND]
    ))  # fmt: skip
    @precondition(has_talkers)
    def submit(self, number: int, function: bytes, unique: bytes, workload: bytes, command: C) -> None:
        talker = self.talker(number)
        self.ask(talker, C.JOB_CREATED, C.ERROR)
        background = command in BACKGROUND_SUBMITS or command is C.SUBMIT_REDUCE_JOB_BACKGROUND
        self.kinds[talker].append(background)
        reduce = (b"sum", b"") if "REDUCE" in command.name else ()
        talker.say(command, function, unique, *reduce, workload)
        self.after(Event("submit", talker.peer, function=function))

    @rule(number=numbers, function=functions, unique=uniques, delay=st.integers(-2, 5))
    @precondition(has_talkers)
    def submit_later(self, number: int, function: bytes, unique: bytes, delay: int) -> None:
        talker = self.talker(number)
        self.ask(talker, C.JOB_CREATED, C.ERROR)
        self.kinds[talker].append(True)
        talker.say(C.SUBMIT_JOB_EPOCH, function, unique, b"%d" % (self.world.wall + delay), b"later")
        self.after(Event("submit", talker.peer, function=function))

    @rule(number=numbers, function=functions, timeout=st.sampled_from([b"", b"0", b"1000", b"3000"]))
    @precondition(has_talkers)
    def can_do(self, number: int, function: bytes, timeout: bytes) -> None:
        talker = self.talker(number)
        if timeout:
            talker.say(C.CAN_DO_TIMEOUT, function, timeout)
        else:
            talker.say(C.CAN_DO, function)
        self.after(Event("can_do", talker.peer))

    @rule(number=numbers, function=functions)
    @precondition(has_talkers)
    def cannot_do(self, number: int, function: bytes) -> None:
        talker = self.talker(number)
        talker.say(C.CANT_DO, function)
        self.after(Event("cannot_do", talker.peer))

    @rule(number=numbers)
    @precondition(has_talkers)
    def reset_abilities(self, number: int) -> None:
        talker = self.talker(number)
        talker.say(C.RESET_ABILITIES)
        self.after(Event("reset", talker.peer))

    @rule(number=numbers, command=st.sampled_from(GRABS))
    @precondition(has_talkers)
    def grab(self, number: int, command: C) -> None:
        talker = self.talker(number)
        self.ask(talker, C.NO_JOB, C.JOB_ASSIGN, C.JOB_ASSIGN_UNIQ, C.JOB_ASSIGN_ALL)
        talker.say(command)
        self.after(Event("grab", talker.peer))

    @rule(number=numbers, all_yours=st.booleans())
    @precondition(has_talkers)
    def sleep(self, number: int, all_yours: bool) -> None:
        talker = self.talker(number)
        if all_yours:
            talker.say(C.ALL_YOURS)
        talker.say(C.PRE_SLEEP)
        self.after(Event("sleep", talker.peer))

    @rule(number=numbers, which=numbers, command=st.sampled_from(sorted(ENDS)), own=st.booleans())
    @precondition(has_talkers)
    def end(self, number: int, which: int, command: C, own: bool) -> None:
        talker = self.talker(number)
        running = list(talker.peer.running or ())
        handle = running[which % len(running)] if own and running else self.handle(which)
        if handle not in running:
            self.ask(talker, C.ERROR)
        data = () if command is C.WORK_FAIL else (b"data",)
        talker.say(command, handle, *data)
        self.after(Event("end", talker.peer, handle))

    @rule(number=numbers, which=numbers, command=st.sampled_from([C.WORK_DATA, C.WORK_WARNING, C.WORK_STATUS]))
    @precondition(has_talkers)
    def progress(self, number: int, which: int, command: C) -> None:
        talker = self.talker(number)
        handle = self.handle(which)
        if handle not in (talker.peer.running or ()):
            self.ask(talker, C.ERROR)
        data = (b"1", b"2") if command is C.WORK_STATUS else (b"data" * 2000,)
        talker.say(command, handle, *data)
        self.after(Event("progress", talker.peer, handle))

    @rule(number=numbers)
    @precondition(has_talkers)
    def ask_for_exceptions(self, number: int) -> None:
        talker = self.talker(number)
        self.ask(talker, C.OPTION_RES)
        talker.say(C.OPTION_REQ, b"exceptions")
        self.after(Event("ask", talker.peer))

    @rule(number=numbers, which=numbers, unique=uniques)
    @precondition(has_talkers)
    def status(self, number: int, which: int, unique: bytes) -> None:
        talker = self.talker(number)
        self.ask(talker, C.STATUS_RES)
        self.ask(talker, C.STATUS_RES_UNIQUE)
        talker.say(C.GET_STATUS, self.handle(which)).say(C.GET_STATUS_UNIQUE, unique)
        self.after(Event("ask", talker.peer))

    @rule(which=numbers)
    def cancel(self, which: int) -> None:
        handle = self.handle(which)
        admin = self.world.peer()
        answer = admin.line(f"cancel job {handle.decode()}")
        assert answer == ("OK\r\n" if handle in self.before else "ERR UNKNOWN_JOB\r\n")
        admin.leave()
        self.after(Event("cancel", handle=handle))

    @rule(function=functions)
    def drop_function(self, function: bytes) -> None:
        admin = self.world.peer()
        answer = admin.line(f"drop function {function.decode()}")
        admin.leave()
        self.after(Event("drop" if answer == "OK\r\n" else "none", function=function))

    @rule(function=functions, limit=st.sampled_from(["", "3", "0", "4 3 2"]))
    def maxqueue(self, function: bytes, limit: str) -> None:
        admin = self.world.peer()
        assert admin.line(f"maxqueue {function.decode()} {limit}") == "OK\r\n"
        admin.leave()

    @rule(seconds=st.sampled_from([0.01, 0.5, 1.0, 5.0]))
    def time_passes(self, seconds: float) -> None:
        self.world.wait(seconds)
        self.after(Event("tick"))

    @rule(which=numbers, priority=st.integers(0, 2))
    @precondition(lambda self: bool(self.engine.jobs))
    def change_priority(self, which: int, priority: int) -> None:
        jobs = list(self.engine.jobs.values())
        job = jobs[which % len(jobs)]
        if job.state != RUNNING:
            self.engine.change_priority(job, priority)
            self.after(Event("priority"))

    @rule()
    @precondition(lambda self: self.durable)
    def write(self) -> None:
        assert self.engine.journal is not None
        if self.writing is None:
            self.writing = self.engine.journal.take()

    def to_disk(self, batch: Batch) -> None:
        for key in batch.dones:
            self.disk.pop(key.number, None)
        for job in batch.adds:
            if job.handle not in self.rejected:
                for number in [number for number, row in self.disk.items() if same_row(row, job)]:
                    del self.disk[number]
                self.disk[job.number] = job

    @rule()
    @precondition(lambda self: self.writing is not None)
    def hang(self) -> None:
        """The batch comes to the disk, and nobody tells us."""
        assert self.writing is not None
        self.to_disk(self.writing.batch)

    @rule()
    @precondition(lambda self: self.writing is not None)
    def fail(self) -> None:
        assert self.engine.journal is not None
        assert self.writing is not None
        batch = self.engine.journal.revise(self.writing)
        if batch.adds and batch.dones:  # the committer makes room first, and may be killed then
            self.to_disk(Batch([], batch.dones))

    @rule(function=functions, unique=st.sampled_from(UNIQUES[:-1]), workload=workloads)
    @precondition(lambda self: self.durable)
    def load(self, function: bytes, unique: bytes, workload: bytes) -> None:
        """A job of before the restart comes from the disk."""
        self.loaded += 1
        handle = b"H:t:%d" % self.loaded
        record = StoredJob(self.loaded, handle, function, unique, workload)
        live = self.engine.uniques.find(self.engine.function(function), unique, workload) if unique else None
        if not any(same_row(row, record) for row in self.disk.values()):
            self.disk[record.number] = record
        elif live is None:
            return
        restore(self.engine, [record], self.world.now)
        self.acknowledged.add(handle if live is None else live.handle)
        if live is not None and handle != live.handle:
            self.ended.add(handle)
        self.after(Event("load"))

    @rule()
    @precondition(lambda self: self.writing is not None)
    def commit(self) -> None:
        assert self.engine.journal is not None
        assert self.writing is not None
        self.to_disk(self.writing.batch)
        self.engine.journal.settle(self.writing)
        self.writing = None
        self.after(Event("commit"))

    @rule(which=numbers)
    @precondition(lambda self: self.writing is not None and self.writing.jobs)
    def reject(self, which: int) -> None:
        """The store can never hold one of the batch's jobs. It says so once."""
        assert self.writing is not None
        jobs = [job for job in self.writing.jobs if job.durable == WRITING and job.number not in self.disk]
        if jobs:
            job = jobs[which % len(jobs)]
            self.rejected.add(job.handle)
            reject(self.engine, job, b"too large")
            self.after(Event("reject", handle=job.handle))

    @rule(patience=st.sampled_from([0.0, 0.5, 5.0]))
    @precondition(lambda self: self.durable)
    def store_is_slow(self, patience: float) -> None:
        expire(self.engine, self.world.now - patience, b"the store does not answer")
        self.after(Event("expire"))

    # ---- what may have happened

    def ask(self, talker: Talker, *answers: C) -> None:
        self.asked[talker].append(set(answers))

    def after(self, event: Event) -> None:
        self.world.turn()
        now = self.look()
        for handle, old in self.before.items():
            new = now.get(handle)
            if new is None:
                self.may_end(handle, old, event)
                self.ended.add(handle)
            else:
                self.may_change(handle, old, new, event)
        for handle in now.keys() - self.before.keys():
            assert event.kind in ("submit", "load"), f"{handle!r} came out of nothing"
            assert handle not in self.ended, "a handle was given twice"
            if now[handle].state == RUNNING:
                self.may_change(handle, now[handle]._replace(state=QUEUED, worker=None), now[handle], event)
        for talker in self.talkers:
            self.hear(talker)
        self.before = now

    def look(self) -> dict[bytes, Seen]:
        return {
            handle: Seen(
                job.state, job.worker, job.attempts, job.durable, Counter(job.clients or ()), job.function.name
            )
            for handle, job in self.engine.jobs.items()
        }

    def may_end(self, handle: bytes, old: Seen, event: Event) -> None:
        running = old.state == RUNNING
        nobody_waits = old.durable == FOREGROUND and not old.clients
        if event.kind == "end":
            assert event.handle == handle
            assert old.worker is event.peer
        elif event.kind == "cancel":
            assert event.handle == handle
            assert not running
        elif event.kind == "drop":
            assert old.function == event.function
            assert not running
        elif event.kind == "leave":
            own = old.durable == FOREGROUND and set(old.clients) <= {event.peer}
            given_up = old.worker is event.peer and old.attempts + 1 >= ATTEMPTS
            assert (own and not running) or given_up or (old.worker is event.peer and (own or nobody_waits))
        elif event.kind == "tick":
            assert running
            assert nobody_waits or old.attempts + 1 >= ATTEMPTS
        elif event.kind in ("reject", "expire"):
            assert old.durable >= MEMORY
            assert not running
            assert not old.clients
            assert handle not in self.acknowledged, "the store's trouble took an acknowledged job"
            self.refused.add(handle)
        else:
            raise AssertionError(f"{handle!r} was lost by {event}: {old}")

    def may_change(self, handle: bytes, old: Seen, new: Seen, event: Event) -> None:
        if old.durable > FOREGROUND and new.durable == FOREGROUND:
            assert event.kind == "cancel", "a background job lost its promise"
            assert event.handle == handle
        requeued = new.attempts - old.attempts
        assert requeued in (0, 1)
        if requeued:
            assert old.state == RUNNING
            assert event.kind == "tick" or (event.kind == "leave" and old.worker is event.peer)
        if old.state == RUNNING and not requeued:
            assert new.worker is old.worker, "a running job changed hands without a requeue"
        if new.state == RUNNING and (old.state != RUNNING or requeued):
            worker = new.worker
            assert worker is not None
            assert handle in (worker.running or ())
            if event.kind != "grab" or worker is not event.peer:
                assert worker.all_yours
                talker = next(talker for talker in self.talkers if talker.peer is worker)
                self.ask(talker, C.JOB_ASSIGN, C.JOB_ASSIGN_UNIQ, C.JOB_ASSIGN_ALL)
        if old.state == DELAYED and new.state != DELAYED:
            assert event.kind == "tick"
            job = self.engine.jobs[handle]
            assert job.when <= self.world.wall + 0.001

    def hear(self, talker: Talker) -> None:
        """Takes what came for a peer: nothing that it did not ask for, everything in its order."""
        asked = self.asked[talker]
        for packet in talker.hear():
            command = packet[0]
            if command is C.NOOP:
                continue
            if command in (C.WORK_DATA, C.WORK_WARNING, C.WORK_STATUS):
                assert self.owed[talker, self.name(packet)], "an update for one who does not wait"
                continue
            if command in ENDS:
                self.owed[talker, self.name(packet)] -= 1
                assert self.owed[talker, self.name(packet)] >= 0, "a result for one who does not wait"
                continue
            assert asked, f"{packet} was not asked for"
            expected = asked.pop(0)
            assert command in expected, f"{packet} instead of {expected}"
            if {C.JOB_CREATED, C.ERROR} == expected:
                background = self.kinds[talker].pop(0)
                if command is C.JOB_CREATED:
                    self.created(talker, self.name(packet), background)

    def name(self, packet: tuple[object, ...]) -> bytes:
        handle = packet[1]
        assert isinstance(handle, bytes)
        return handle

    def created(self, talker: Talker, handle: bytes, background: bool) -> None:
        if background:
            assert handle in self.engine.jobs or handle in self.ended, "acknowledged, and not there"
            assert handle not in self.refused, "acknowledged, though it was given up"
            if handle in self.engine.jobs:
                job = self.engine.jobs[handle]
                known = job.durable in (1, 4) or job.durable == FOREGROUND or handle in self.acknowledged
                assert known, "acknowledged before it was stored"
                if job.durable != FOREGROUND:
                    self.acknowledged.add(handle)
        else:
            self.owed[talker, handle] += 1

    # ---- always

    @invariant()
    def the_indices_agree(self) -> None:
        check(self.engine)

    @invariant()
    def what_was_acknowledged_is_on_the_disk(self) -> None:
        if not self.durable:
            return
        for handle in self.acknowledged & self.engine.jobs.keys():
            job = self.engine.jobs[handle]
            if job.durable > MEMORY:
                rows = [
                    row for row in self.disk.values() if (row.function, row.unique) == (job.function.name, job.unique)
                ]
                assert any(row.number == job.number or row.number > LOADED for row in rows), f"{handle!r} is not stored"

    @invariant()
    def clients_wait_for_what_they_are_owed(self) -> None:
        """Where nothing is held back, the engine's waiting clients are those that were told JOB_CREATED."""
        held = any(talker.peer.held for talker in self.talkers)
        if held:
            return
        for talker in self.talkers:
            assert not self.asked[talker], f"unanswered: {self.asked[talker]}"
            for handle, job in self.engine.jobs.items():
                assert Counter(job.clients or ())[talker.peer] == self.owed[talker, handle]
            for (owner, handle), count in self.owed.items():
                assert owner is not talker or not count or handle in self.engine.jobs, "a result that never came"

    def settle(self) -> None:
        while self.engine.journal is not None and (self.writing is not None or self.engine.journal.pending):
            if self.writing is not None:
                self.commit()
            else:
                self.write()

    def teardown(self) -> None:
        """All workers leave, everything is run by one: nothing is left, and everybody has heard."""
        self.settle()
        self.world.wait(100)
        self.after(Event("tick"))
        worker = self.world.peer()
        for function in FUNCTIONS:
            worker.say(C.CAN_DO, function)
        for talker in list(self.talkers):
            if talker.peer.running:
                for handle in list(talker.peer.running):
                    talker.say(C.WORK_COMPLETE, handle, b"r")
                    self.after(Event("end", talker.peer, handle))
            if talker.peer.all_yours:
                talker.say(C.RESET_ABILITIES)
                self.after(Event("reset", talker.peer))
        self.talkers.append(worker)
        self.asked[worker] = []
        while self.engine.jobs:
            worker.say(C.GRAB_JOB)
            (answer,) = worker.hear()
            assert answer[0] is C.JOB_ASSIGN
            self.before = self.look()
            worker.say(C.WORK_COMPLETE, self.name(answer), b"r")
            self.after(Event("end", worker.peer, self.name(answer)))
        self.settle()
        assert not self.disk, "these would run again after a restart"
        check(self.engine)
        assert not +self.owed, "somebody still waits for a result"
        assert self.acknowledged <= self.ended


class Durable(EngineModel):
    durable = True


class Compat11(EngineModel):
    options: ClassVar[dict[str, Any]] = {"by_priority": False, "rotate": False}


class Compat11RoundRobin(EngineModel):
    options: ClassVar[dict[str, Any]] = {"by_priority": False, "rotate": True}


PROFILE = settings(
    max_examples=int(os.environ.get("GEARTRAIN_EXAMPLES", "60")),
    stateful_step_count=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


@pytest.mark.parametrize("machine", [EngineModel, Durable, Compat11, Compat11RoundRobin])
def test_any_sequence_of_events(machine: type[EngineModel]) -> None:
    from hypothesis.stateful import run_state_machine_as_test

    run_state_machine_as_test(machine, settings=PROFILE)


@pytest.mark.parametrize("writing", [False, True])
def test_a_submission_that_joined_outlives_the_one_that_gave_up(writing: bool) -> None:
    """The store is slow: the first submission's patience ends, the second one's does not."""
    world = World(durable=True)
    first, second = world.peer(), world.peer()
    journal = world.engine.journal
    assert journal is not None
    first.say(C.SUBMIT_JOB_BG, b"f", b"u", b"w")
    write = journal.take() if writing else None
    world.wait(5)
    second.say(C.SUBMIT_JOB_BG, b"f", b"u", b"w")
    expire(world.engine, world.now - 3, b"slow")
    first.hears((C.ERROR, b"QUEUE_ERROR", b"slow"))
    if write is not None:
        journal.settle(write)
    if journal.pending:
        world.commit()
    second.hears((C.JOB_CREATED, b"H:test:1"))
    worker = world.worker(b"f", asleep=False)
    worker.say(C.GRAB_JOB)
    worker.hears((C.JOB_ASSIGN, b"H:test:1", b"f", b"w"))
