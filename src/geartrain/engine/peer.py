"""Peer: one connection as the engine sees it: a worker, a client, or both.

Owns what is to be sent to it, in order. Knows no socket: the shell that made it takes the bytes.
"""

from collections import deque
from typing import TYPE_CHECKING, Protocol

from geartrain.engine.job import Piece, joined

if TYPE_CHECKING:
    from geartrain.engine.function import Function
    from geartrain.engine.job import Job
    from geartrain.engine.roster import Pool

__all__ = ["Link", "Peer"]


class Link(Protocol):
    """The shell's end of a peer. The engine calls nothing of it; it hands the peer back in `Engine.dirty`."""

    def flush(self) -> None:
        """Sends what stands in the peer's `ready`, and closes where the peer is `closing`."""
        ...

    def broken(self, error: BaseException) -> None:
        """An unexpected exception came out of `flush`: a bug. It ends this connection, and no other."""
        ...


class Peer:
    """One connection.

    The replies to one peer are one queue. A reply that must wait for the store (JOB_CREATED of a background job)
    holds back all that comes after it, so that the order of replies is the order of requests: `out` is then the
    list behind the last held reply, and `ready` what may be sent already. Without held replies both are one list.

    Attributes:
        link: the shell's end.
        address: for people, as ``127.0.0.1``.
        fd: the number that `workers` shows.
        trusted: whether it may shut the server down (loopback and unix sockets).
        out: where replies are appended.
        ready: what the shell may send now.
        held: serial of the batch that must be committed first, and the list behind it.
        large: whether a piece of what is to be sent may be too large to be copied for that, or a `Kept`. Where it is
            not, all of them are bytes.
        dirty: whether it stands in `Engine.dirty`.
        closing: the shell closes it once everything is sent.
        client_id: SET_CLIENT_ID's, ``-`` before.
        functions: what it can do, with the timeout in seconds (0 for none), in the order of registration.
        timed: whether any of these has, or had, a timeout.
        pool: the pool it belongs to, None while its abilities have changed since.
        sleeping: between PRE_SLEEP and its wake-up.
        woken_for: the function whose job it was woken for and has not asked for yet.
        all_yours: it sent ALL_YOURS: assign to it without a wake-up.
        flavour: its last grab command.
        exceptions: it asked for WORK_EXCEPTION.
        waits: foreground jobs whose results it waits for.
        running: jobs it works on, by handle.
        connected: when it came, in the engine's seconds.
    """

    __slots__ = (
        "address",
        "all_yours",
        "client_id",
        "closing",
        "connected",
        "dirty",
        "exceptions",
        "fd",
        "flavour",
        "functions",
        "gone",
        "held",
        "large",
        "link",
        "out",
        "pool",
        "ready",
        "running",
        "sleeping",
        "timed",
        "trusted",
        "unsettled",
        "waits",
        "woken_for",
    )

    def __init__(self, link: Link, address: bytes, fd: int, trusted: bool, now: float) -> None:
        self.link: Link = link
        self.address: bytes = address
        self.fd: int = fd
        self.trusted: bool = trusted
        self.connected: float = now
        self.ready: list[Piece] = []
        self.out: list[Piece] = self.ready
        self.held: deque[tuple[int, list[Piece]]] | None = None
        self.dirty: bool = False
        self.closing: bool = False
        self.gone: bool = False
        self.large: bool = False
        self.client_id: bytes = b"-"
        self.functions: dict[Function, float] | None = None  # clients have none: keep a connection small
        self.timed: bool = False
        self.pool: Pool | None = None
        self.sleeping: bool = False
        self.unsettled: bool = False
        self.woken_for: Function | None = None
        self.all_yours: bool = False
        self.flavour: int = 9  # GRAB_JOB
        self.exceptions: bool = False
        self.waits: set[Job] | None = None
        self.running: dict[bytes, Job] | None = None

    def take(self) -> bytes:
        """All that may be sent, in one piece; for links that read it themselves."""
        data = joined(self.ready)
        self.ready.clear()
        return data

    def hold(self, serial: int) -> list[Piece]:
        """Holds all further replies until the batch of that serial is settled. Returns the list they go to."""
        held = self.held
        if held is None:
            held = self.held = deque()
        if not held or held[-1][0] != serial:
            self.out = []
            held.append((serial, self.out))
        return self.out

    def release(self, serial: int) -> bool:
        """Lets go of what waited for batches up to that serial. Returns whether there is something to send."""
        held = self.held
        if held is None:
            return False
        freed = False
        while held and held[0][0] <= serial:
            self.ready.extend(held.popleft()[1])
            freed = True
        if not held:
            self.held = None
            self.out = self.ready
        return freed
