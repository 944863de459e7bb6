"""Job: one piece of work, from its submission to its end.

Owns the record and its states. What happens to a job is in engine.py.
"""

from enum import IntEnum
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

if TYPE_CHECKING:
    from geartrain.engine.function import Function
    from geartrain.engine.peer import Peer

__all__ = ["Durability", "Job", "JobState", "Kept", "Piece", "Pieces", "Priority"]


class Priority(IntEnum):
    """As on gearmand's queues and in its tables."""

    HIGH = 0
    NORMAL = 1
    LOW = 2


class JobState(IntEnum):
    DELAYED = 0
    """Waits for its time (SUBMIT_JOB_EPOCH, SUBMIT_JOB_SCHED)."""
    QUEUED = 1
    """Waits for a worker."""
    RUNNING = 2
    """A worker has it."""
    ENDED = 3
    """Completed, failed, cancelled or dropped: in no index any more."""


class Durability(IntEnum):
    """How far a job has come on its way to the store. Everything but FOREGROUND is a background job."""

    FOREGROUND = 0
    """Lives as long as a client waits for it."""
    MEMORY = 1
    """A background job of a server without a store, or of one that stores its queue at shutdown only."""
    PENDING = 2
    """Its add is in the journal and not yet handed to the committer."""
    WRITING = 3
    """The committer is writing it."""
    STORED = 4
    """Committed."""


# bound to names of the module, because an attribute of an IntEnum costs a look-up on each use
DELAYED: Final = 0
QUEUED: Final = 1
RUNNING: Final = 2
ENDED: Final = 3
FOREGROUND: Final = 0
MEMORY: Final = 1
PENDING: Final = 2
WRITING: Final = 3
STORED: Final = 4


class Kept(Protocol):
    """Data that the shell keeps elsewhere than in this process's memory. What is to be sent may contain it."""

    def __len__(self) -> int: ...

    def __bytes__(self) -> bytes:
        """Fetches it."""
        ...


Piece: TypeAlias = "bytes | Kept"


class Pieces:
    """A large workload or result as it came. It is joined only for those who need it in one piece."""

    __slots__ = ("parts",)

    def __init__(self, parts: list[Piece]) -> None:
        self.parts: list[Piece] = parts

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def whole(self) -> bytes:
        return joined(self.parts)


def joined(pieces: list[Piece]) -> bytes:
    """Pieces as bytes."""
    return b"".join([bytes(piece) for piece in pieces])


class Job:
    """One job. A queue of a million of them must stay small, so rare things stand together in `extra`.

    Attributes:
        handle: what names it on the wire; ends in its number.
        function: what it is a job for.
        unique: the client's unique: empty, ``-`` (the workload is the key) or a key for coalescing.
        data: the workload, maybe in pieces.
        priority: a `Priority`.
        state: a `JobState`.
        durable: a `Durability`.
        clients: the foreground clients that wait for it, once for each submission; None for none.
        worker: who has it while RUNNING.
        submitted: when it came, in the engine's seconds.
        started: when the worker got it, in the engine's seconds; 0 before.
        attempts: how often a worker had it and did not finish it.
        progress: numerator and denominator of the last WORK_STATUS, None before.
        extra: the reducer and the time of a delayed job, None for most.
        before, after: its neighbours while it is QUEUED (queue.py).
    """

    __slots__ = (
        "after",
        "attempts",
        "before",
        "clients",
        "data",
        "durable",
        "extra",
        "function",
        "handle",
        "priority",
        "progress",
        "started",
        "state",
        "submitted",
        "unique",
        "worker",
    )

    def __init__(
        self,
        handle: bytes,
        function: "Function",
        unique: bytes,
        data: bytes | Pieces,
        priority: int,
        durable: int,
        submitted: float,
    ) -> None:
        self.handle: bytes = handle
        self.function: Function = function
        self.unique: bytes = unique
        self.data: bytes | Pieces = data
        self.priority: int = priority
        self.durable: int = durable
        self.submitted: float = submitted
        self.state: int = QUEUED
        self.clients: list[Peer] | None = None
        self.worker: Peer | None = None
        self.started: float = 0.0
        self.attempts: int = 0
        self.progress: tuple[int, int] | None = None
        self.extra: Extra | None = None
        self.before: Job | None = None
        self.after: Job | None = None

    @property
    def workload(self) -> bytes:
        """The data for the worker, in one piece from now on."""
        if isinstance(self.data, Pieces):
            self.data = self.data.whole()
        return self.data

    @property
    def number(self) -> int:
        """The number at the end of the handle."""
        return int(self.handle[self.handle.rfind(b":") + 1 :])

    @property
    def background(self) -> bool:
        return self.durable != FOREGROUND

    @property
    def reducer(self) -> bytes:
        return b"" if self.extra is None else self.extra.reducer

    @property
    def when(self) -> int:
        """Seconds since 1970 before which it must not run; 0 for at once."""
        return 0 if self.extra is None else self.extra.when


class Extra:
    """What only few jobs have."""

    __slots__ = ("reducer", "when")

    def __init__(self, reducer: bytes = b"", when: int = 0) -> None:
        self.reducer: bytes = reducer
        self.when: int = when
