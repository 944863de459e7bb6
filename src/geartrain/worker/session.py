"""One connection of a worker, without the connection.

Owns the cycle of grabbing, sleeping and working: what is said to the server, when another job may be asked for,
and which functions it was told of. Bytes in by `receive`, bytes out as `outgoing` has it. Must not know sockets,
threads, asyncio, time, or what a job does.

How the cycle goes:

    AWAKE --GRAB_JOB_ALL--> GRABBING --JOB_ASSIGN--> AWAKE (the slot is the job's now)
                               |
                               +-----NO_JOB, PRE_SLEEP--> ASLEEP --NOOP--> AWAKE

A slot is one job that may run; the sessions of a worker share them. A slot is taken before GRAB_JOB is sent, so
that no answer can bring a job without a place.

Any server answers GRAB_JOB at once. One that does not (it is stopped, or its machine is gone and TCP has not noticed)
would keep the slot from all others: so `look` takes it back, and the session is SILENT until the answer comes. A job
that comes then waits for a slot.

To a server that takes ALL_YOURS the worker says it first of all. Such a server answers PRE_SLEEP with the next job
itself, now or later, so the worker takes a slot, says PRE_SLEEP and waits (OFFERED): WORK_COMPLETE and PRE_SLEEP
in one write are all that a job costs. gearmand answers ALL_YOURS with an ERROR before anything else, and the cycle
above is used; there WORK_COMPLETE and GRAB_JOB leave in one write. With several servers ALL_YOURS is not said: two
of them could fill the one slot.
"""

import logging
from collections import deque
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Final

from geartrain.client.outgoing import Outgoing
from geartrain.errors import RemoteProtocolError
from geartrain.protocol.commands import Command
from geartrain.protocol.packets import LARGEST, RESPONSE_MAGIC, request
from geartrain.protocol.parser import TOO_FEW, Parser
from geartrain.worker.job import Job

__all__ = ["GRABS", "PATIENCE", "Slots", "State", "WorkerSession"]

logger = logging.getLogger("geartrain.worker")

GRABS: Final = (Command.GRAB_JOB_ALL, Command.GRAB_JOB_UNIQ, Command.GRAB_JOB)
"""The ways to ask for a job, best first; a server that does not know one is asked in the next."""

PATIENCE: Final = 1.0
"""Seconds between two looks for answers that are due. A server that works answers within milliseconds."""

_PRE_SLEEP: Final = request(Command.PRE_SLEEP)
_GRAB_PACKETS: Final = {grab: request(grab) for grab in GRABS}


class State(Enum):
    """Where in the cycle a session is."""

    AWAKE = "awake"
    GRABBING = "grabbing"
    ASLEEP = "asleep"
    OFFERED = "offered"
    """As ASLEEP, but with a slot that the server may fill at any moment."""
    SILENT = "silent"
    """As GRABBING, but the answer is overdue, and the slot was given back."""


_AWAKE: Final = State.AWAKE  # a name is looked up faster than an enum's member, and every job takes several
_GRABBING: Final = State.GRABBING
_ASLEEP: Final = State.ASLEEP
_OFFERED: Final = State.OFFERED
_SILENT: Final = State.SILENT


class Slots:
    """Places for jobs.

    Attributes:
        free: how many more jobs may come. Below zero when a server sent one late or unasked; that one waits.
        closed: set to take no more jobs at all.
        taken: how many times one was taken to ask for a job.
    """

    __slots__ = ("closed", "free", "taken")

    def __init__(self, count: int) -> None:
        self.free = count
        self.closed = False
        self.taken = 0


class WorkerSession(Outgoing):
    """The state of one connection.

    Args:
        name: the server's name, for messages.
        slots: shared by all sessions of the worker.
        functions: what the worker can do: the name on the wire, and the time limit in milliseconds, 0 for none.
        client_id: what the server shows for this worker, or empty.
        all_yours: whether to say ALL_YOURS.
        job_type: what tasks receive.

    Attributes:
        owner: what the shell keeps for it.
        jobs: the jobs that run. Not by handle: one whose time was up may come again, to the worker that still runs it.
        answered: whether the server has sent anything yet.
        asked: when it last asked for a job, in the count of `Slots.taken`.
    """

    __slots__ = (
        "_all_yours",
        "_asked_all_yours",
        "_ended",
        "_functions",
        "_grab",
        "_grabbed",
        "_job",
        "_leaving",
        "_parser",
        "_seen",
        "_slots",
        "_told",
        "answered",
        "asked",
        "assigned",
        "jobs",
        "name",
        "owner",
        "state",
    )

    def __init__(
        self,
        name: str,
        slots: Slots,
        functions: Mapping[bytes, int],
        *,
        client_id: bytes = b"",
        all_yours: bool = False,
        job_type: type[Job] = Job,
    ) -> None:
        super().__init__()
        self.name = name
        self.owner: object = None
        self.jobs: set[Job] = set()
        self.state = _AWAKE
        self._ended = False
        self.answered = False
        self.asked = 0
        self._seen = (0, 0)  # how far the answer to a grab was when somebody last looked
        self._told = False
        self.assigned: deque[Job] = deque()
        self._slots = slots
        self._functions: dict[bytes, int] = {}
        self._leaving: set[bytes] = set()
        self._parser = Parser(RESPONSE_MAGIC, LARGEST)  # the limit is the server's: it adds names to a body
        self._job = job_type
        self._grab = 0
        self._grabbed = False  # ALL_YOURS gives jobs in the form of the last grab, so one grab must come first
        self._all_yours = all_yours
        self._asked_all_yours = all_yours  # until the first answer: it would be the ERROR
        if all_yours:
            self.out.append(request(Command.ALL_YOURS))
        if client_id:
            self.out.append(request(Command.SET_CLIENT_ID, client_id))
        for function, timeout in functions.items():
            self.can_do(function, timeout)

    # What the worker says.

    def can_do(self, function: bytes, timeout: int = 0) -> None:
        """Tells the server of a function; once: gearmand counts a worker twice that says it twice."""
        self._leaving.discard(function)
        if self._functions.get(function) == timeout:
            return
        if function in self._functions:
            if any(job.wire == function for job in self.jobs):
                self._functions[function] = timeout  # CANT_DO would give the running job away
                return
            self.out.append(request(Command.CANT_DO, function))
        self._functions[function] = timeout
        if timeout:
            self.out.append(request(Command.CAN_DO_TIMEOUT, function, b"%d" % timeout))
        else:
            self.out.append(request(Command.CAN_DO, function))
        if self.state is _ASLEEP:
            self.state = _AWAKE  # gearmand does not wake a sleeper for jobs that wait for its new function

    def cant_do(self, function: bytes) -> None:
        """Takes a function back; while a job of it runs, not before that ends, for gearmand would requeue it."""
        self._leaving.add(function)
        self._leave()

    def _leave(self) -> None:
        for function in list(self._leaving):
            if not any(job.wire == function for job in self.jobs):
                self._leaving.discard(function)
                if self._functions.pop(function, None) is not None:
                    self.out.append(request(Command.CANT_DO, function))

    def set_id(self, client_id: bytes) -> None:
        """Gives the server another name for this worker."""
        self.out.append(request(Command.SET_CLIENT_ID, client_id))

    def pump(self) -> None:
        """Asks for a job where a slot is free. Call it after every change, before writing."""
        slots = self._slots
        if self.state is not _AWAKE or slots.free <= 0 or slots.closed or self._ended or not self._functions:
            return
        slots.free -= 1
        slots.taken = self.asked = slots.taken + 1
        if self._all_yours and self._grabbed:
            self.out.append(_PRE_SLEEP)
            self.state = _OFFERED
        else:
            self.out.append(_GRAB_PACKETS[GRABS[self._grab]])
            self.state = _GRABBING

    def say(self, packet: bytes) -> None:
        """Queues a packet about a job."""
        self.out.append(packet)

    def release(self, job: Job, packet: bytes | None = None) -> None:
        """A job's task is over, with a packet that says how where it has not said so itself; its slot is free."""
        if packet is not None and not job.lost:
            self.out.append(packet)
        if job in self.jobs:
            self.jobs.remove(job)
            self._slots.free += 1
            if self._leaving:
                self._leave()

    # Bytes in.

    def receive(self, data: bytes) -> None:
        """Takes bytes from the server. New jobs stand in `assigned` afterwards; then call `pump`.

        Raises:
            RemoteProtocolError: they are not the protocol; the connection is of no more use.
        """
        parser = self._parser
        for command, parts in parser.feed(data):
            _HANDLERS[command](self, parts)
            self.answered = True
        if parser.fault is not None:
            raise RemoteProtocolError(f"{self.name}: {parser.fault.text}")

    def _on_strange(self, parts: list[bytes]) -> None:
        raise RemoteProtocolError(f"{self.name} sent what no worker can use")

    def _on_assign(self, parts: list[bytes]) -> None:
        self._assign(self._job(parts[0], parts[1], b"", b"", parts[2], self))

    def _on_assign_unique(self, parts: list[bytes]) -> None:
        self._assign(self._job(parts[0], parts[1], parts[2], b"", parts[3], self))

    def _on_assign_all(self, parts: list[bytes]) -> None:
        self._assign(self._job(parts[0], parts[1], parts[2], parts[3], parts[4], self))

    def _assign(self, job: Job) -> None:
        self._asked_all_yours = False
        if self.state is _GRABBING or self.state is _OFFERED:
            self._grabbed = True
            self.state = _AWAKE
        else:
            self._slots.free -= 1  # late or unasked: it waits for a slot, and is not lost
            if self.state is _SILENT:
                self.state = _AWAKE
        self.jobs.add(job)
        self.assigned.append(job)

    def _on_no_job(self, parts: list[bytes]) -> None:
        self._asked_all_yours = False
        if self.state is not _GRABBING:
            if self.state is _SILENT:
                self._answered_late()
            return
        self._grabbed = True
        if self._slots.closed:
            self.state = _AWAKE
            self._slots.free += 1
            return
        self.out.append(_PRE_SLEEP)
        if self._all_yours:
            self.state = _OFFERED
        else:
            self.state = _ASLEEP
            self._slots.free += 1

    def _answered_late(self) -> None:
        """NO_JOB came for a slot that was given back: to sleep needs none, to be offered jobs does."""
        if self._all_yours or self._slots.closed:
            self.state = _AWAKE
        else:
            self.out.append(_PRE_SLEEP)
            self.state = _ASLEEP

    def _on_noop(self, parts: list[bytes]) -> None:
        if self.state is _OFFERED:  # this server wakes after all: the slot is ours already
            self.out.append(_GRAB_PACKETS[GRABS[self._grab]])
            self.state = _GRABBING
        elif self.state is _ASLEEP:
            self.state = _AWAKE

    def _on_echo(self, parts: list[bytes]) -> None:
        pass

    def _on_error(self, parts: list[bytes]) -> None:
        code, text = parts[0].decode("utf-8", "backslashreplace"), parts[1].decode("utf-8", "backslashreplace")
        if self._asked_all_yours:
            self._asked_all_yours = False
            if self._all_yours and code in _NOT_OFFERED:
                self._all_yours = False
                return
        asked = self.state is _GRABBING or self.state is _SILENT
        if asked and code in _NOT_OFFERED and self._grab + 1 < len(GRABS):
            self._grab += 1
            self.out.append(_GRAB_PACKETS[GRABS[self._grab]])
            return
        logger.warning("%s reported: %s: %s", self.name, code, text)

    @property
    def expecting(self) -> bool:
        """Whether the server may send a job at any moment."""
        return self.state is _GRABBING or self.state is _OFFERED

    def look(self) -> bool:
        """Gives back the slot of a grab of whose answer nothing has come since the last look.

        Call it every `PATIENCE` seconds, after all that came was taken in.

        Returns:
            whether a slot was given back.
        """
        if self.state is not _GRABBING:
            if self.state is not _SILENT:
                self._told = False
            return False
        seen = self.asked, self._parser.missing
        if seen != self._seen:
            self._seen = seen
            return False
        self.state = _SILENT
        self._slots.free += 1
        if not self._told:  # once, and not for every job of a server that is always slow
            self._told = True
            logger.warning(
                "%s has not answered for %g s or more; other servers' jobs go on in the meantime", self.name, PATIENCE
            )
        return True

    # The end.

    @property
    def awaiting(self) -> bool:
        """Whether the answer to a grab is still due; to leave without it would throw a job back."""
        return self.state is _GRABBING

    def lost(self) -> None:
        """The connection ended. The server gives the jobs to other workers; their tasks here may see it."""
        if self.state is _GRABBING or self.state is _OFFERED:
            self._slots.free += 1
        self.state = _AWAKE
        self._ended = True  # a dead session must take no slot
        for job in self.jobs:
            job.lost = True
        assigned = list(self.assigned)
        self.assigned.clear()
        for job in assigned:  # nobody has begun with these, and nobody will
            if job in self.jobs:
                self.jobs.remove(job)
                self._slots.free += 1
        self.out.clear()


_NOT_OFFERED: Final = frozenset({"INVALID_COMMAND", "UNKNOWN_COMMAND", "unknown_command", "bad_command"})

_TABLE: Final[dict[int, Callable[[WorkerSession, list[bytes]], None]]] = {
    int(Command.NOOP): WorkerSession._on_noop,
    int(Command.NO_JOB): WorkerSession._on_no_job,
    int(Command.JOB_ASSIGN): WorkerSession._on_assign,
    int(Command.JOB_ASSIGN_UNIQ): WorkerSession._on_assign_unique,
    int(Command.JOB_ASSIGN_ALL): WorkerSession._on_assign_all,
    int(Command.ECHO_RES): WorkerSession._on_echo,
    int(Command.ERROR): WorkerSession._on_error,
}
_HANDLERS: Final = [_TABLE.get(number, WorkerSession._on_strange) for number in range(TOO_FEW + 1)]
