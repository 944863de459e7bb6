"""What a task function receives.

Owns one job on its worker: the packets that report on it, and that it ends once. Must not know connections: it is
given a function that sends.
"""

from enum import Enum
from typing import TYPE_CHECKING, Final

from geartrain.client.request import Payload, payload_bytes
from geartrain.errors import LocalProtocolError
from geartrain.protocol.commands import Command
from geartrain.protocol.packets import HEADER, REQUEST_MAGIC

if TYPE_CHECKING:
    from collections.abc import Callable

    from geartrain.worker.session import WorkerSession

__all__ = ["Job", "JobEnd"]

_pack: Final = HEADER.pack
_DATA: Final = int(Command.WORK_DATA)
_WARNING: Final = int(Command.WORK_WARNING)
_STATUS: Final = int(Command.WORK_STATUS)
_COMPLETE: Final = int(Command.WORK_COMPLETE)
_FAIL: Final = int(Command.WORK_FAIL)
_EXCEPTION: Final = int(Command.WORK_EXCEPTION)


class JobEnd(Enum):
    """How a job ended."""

    COMPLETE = "complete"
    FAIL = "fail"
    EXCEPTION = "exception"


class Job:
    """A job that this worker has.

    Attributes:
        handle: the server's name for it.
        function: the function's name (bytes, without the worker's namespace).
        unique: the unique it was submitted with; empty where it has none.
        reducer: the function that the client named to reduce the results; empty where it named none.
        workload: what the client sent, as bytes.
        end: how it ended; None while it goes on.
        session: the connection that it came by.
        lost: set when the connection to its server ended. The server gives the job to another worker then, and
            whatever is sent for it here goes nowhere: a long task may look at this and stop.
    """

    __slots__ = (
        "end",
        "function",
        "handle",
        "lost",
        "pieces",
        "reducer",
        "send",
        "session",
        "unique",
        "wire",
        "workload",
    )

    def __init__(
        self,
        handle: bytes,
        function: bytes,
        unique: bytes,
        reducer: bytes,
        workload: bytes,
        session: "WorkerSession",
    ) -> None:
        self.handle = handle
        self.function = self.wire = function  # wire: with the namespace, as the server knows it
        self.unique = unique
        self.reducer = reducer
        self.workload = workload
        self.session = session
        self.end: JobEnd | None = None
        self.lost = False
        self.pieces: Callable[[bytes], None] | None = None  # takes send_data's where they go to a reducer
        self.send: Callable[[Job, bytes], None] | None = None

    def __repr__(self) -> str:
        return f"<Job {self.handle.decode('latin-1')} {self.function.decode('utf-8', 'backslashreplace')}>"

    def send_data(self, data: Payload) -> None:
        """Sends a piece of the result to the clients that wait; to the reducer, in a task with `aggregate`."""
        if self.pieces is None:
            self._report(_DATA, payload_bytes(data))
        else:
            self.pieces(payload_bytes(data))

    def send_status(self, numerator: int, denominator: int) -> None:
        """Says how far the job is. The server remembers it for who asks later."""
        self._report(_STATUS, b"%d\0%d" % (numerator, denominator))

    def send_warning(self, data: Payload) -> None:
        """Sends a warning to the clients that wait. The job goes on."""
        self._report(_WARNING, payload_bytes(data))

    def complete(self, result: Payload | None = None) -> None:
        """Ends the job with a result, at once: what the task function returns later does not count."""
        self._report(_COMPLETE, b"" if result is None else payload_bytes(result), JobEnd.COMPLETE)

    def fail(self) -> None:
        """Ends the job as failed, at once."""
        self._report(_FAIL, None, JobEnd.FAIL)

    def exception(self, data: Payload) -> None:
        """Ends the job with an exception, at once. Clients that did not ask for exceptions see it fail."""
        self._report(_EXCEPTION, payload_bytes(data), JobEnd.EXCEPTION)

    def _report(self, command: int, data: bytes | None, end: JobEnd | None = None) -> None:
        if self.end is not None:
            raise LocalProtocolError(f"the job {self.handle.decode('latin-1')} has ended already ({self.end.value})")
        if end is not None:
            self.end = end
        if self.send is not None and not self.lost:
            self.send(self, self.packet(command, data))

    def packet(self, command: int, data: bytes | None) -> bytes:
        """A packet that speaks of this job."""
        handle = self.handle
        if data is None:
            return _pack(REQUEST_MAGIC, command, len(handle)) + handle
        return b"%b%b\0%b" % (_pack(REQUEST_MAGIC, command, len(handle) + 1 + len(data)), handle, data)
