"""What a client waits for: tasks (jobs that it submitted) and replies.

Owns a task's state and what came for it so far. Must not know connections or how somebody waits: the sync and the
asyncio client subclass `BaseTask` for that.
"""

import logging
from collections import deque
from collections.abc import Callable, Iterator
from enum import Enum
from typing import Any, Final, NamedTuple, TypeAlias

from geartrain.errors import JobException, JobFailed

__all__ = ["BaseTask", "Callbacks", "JobStatus", "Pending", "Progress", "TaskState", "describe"]


class TaskState(Enum):
    """How far a task is."""

    WAITING = "waiting"
    """Not yet known to a server: in the client, or sent and not confirmed."""
    CREATED = "created"
    """The server has it and gave it a handle. A background task ends here."""
    COMPLETE = "complete"
    FAILED = "failed"
    """The worker said so (WORK_FAIL), or the job's time or attempts were used up."""
    EXCEPTION = "exception"
    """The worker sent an exception."""
    LOST = "lost"
    """The client knows no more: the connection ended, or the server refused the job. `Task.error` says which."""


class Progress(NamedTuple):
    """How far a running job says it is."""

    numerator: int
    denominator: int

    @property
    def fraction(self) -> float:
        """From 0.0 to 1.0; 0.0 where the job gave no denominator."""
        return min(1.0, self.numerator / self.denominator) if self.denominator > 0 else 0.0


class JobStatus(NamedTuple):
    """What the server knows of a job.

    Attributes:
        known: the server has it, waiting or running. A finished job is not known any more.
        running: a worker has it.
        numerator: how far it is, of `denominator`.
        denominator: 0 until the worker says something.
        client_count: clients that wait for it; 0 where the server was asked by handle, it does not say then.
    """

    known: bool
    running: bool
    numerator: int
    denominator: int
    client_count: int = 0

    @property
    def progress(self) -> Progress:
        """Numerator and denominator in one."""
        return Progress(self.numerator, self.denominator)


class Pending:
    """A request that will have one reply.

    Attributes:
        done: whether the reply, or an error, has come.
        value: the reply.
        error: why there is none.
        key: what the reply must match, where the protocol repeats it.
        order: the request's number on its connection.
    """

    __slots__ = ("done", "error", "key", "order", "value")

    def __init__(self, key: bytes = b"") -> None:
        self.done = False
        self.value: Any = None
        self.error: Exception | None = None
        self.key = key
        self.order = 0

    def finish(self, value: Any, error: Exception | None = None) -> None:
        """The reply, or the error in its place."""
        self.value = value
        self.error = error
        self.done = True


logger = logging.getLogger("geartrain.client")

Callback: TypeAlias = Callable[..., object]


class Callbacks(NamedTuple):
    """Functions to call as a task goes on. Each gets the task first."""

    created: Callback | None = None
    data: Callback | None = None
    warning: Callback | None = None
    status: Callback | None = None
    complete: Callback | None = None
    exception: Callback | None = None
    fail: Callback | None = None


NO_CALLBACKS: Final = Callbacks()


class BaseTask:
    """A job, as the client that submitted it sees it.

    Attributes:
        function: the function's name (bytes, without the client's namespace).
        unique: the unique id that it was submitted with; empty where it has none.
        background: whether nobody waits for a result: the task is done once the server has it.
        handle: the server's name for the job; empty until it has one.
        state: how far it is.
        status: the progress that the worker last reported, or None.
        error: why there is no result, or None.
        done: whether nothing more will come.
    """

    __slots__ = (
        "_chunks",
        "_client",
        "_final",
        "_waiters",
        "_warnings",
        "_watchers",
        "background",
        "callbacks",
        "done",
        "end",
        "error",
        "function",
        "handle",
        "order",
        "packet",
        "state",
        "status",
        "unique",
    )

    def __init__(
        self,
        client: object,
        function: bytes,
        unique: bytes,
        packet: tuple[bytes, ...],
        background: bool,
        callbacks: Callbacks,
    ) -> None:
        self._client = client
        self.function = function
        self.unique = unique
        self.background = background
        self.callbacks = callbacks
        self.order: int  # its number on its connection, given when it is sent
        self.end: int  # and where its packet ends in the connection's stream of bytes
        self.packet: tuple[bytes, ...] = packet  # until the server confirms: an unsent one goes to the next server
        self.handle = b""
        self.state = TaskState.WAITING
        self.status: Progress | None = None
        self._warnings: list[bytes] | None = None  # most jobs have none, and a list each would cost every job
        self.error: Exception | None = None
        self.done = False
        self._chunks: deque[bytes] | None = None
        self._final: bytes | None = None
        self._waiters: Any = None  # the asyncio task's; an __init__ of its own would cost every job a call
        self._watchers: Any = None

    def __repr__(self) -> str:
        name = self.function.decode("utf-8", "backslashreplace")
        handle = self.handle.decode("utf-8", "backslashreplace")
        return f"<{type(self).__name__} {name} {handle or 'without a handle'} {self.state.value}>"

    @property
    def warnings(self) -> list[bytes]:
        """What came in WORK_WARNING, in order."""
        if self._warnings is None:
            self._warnings = []
        return self._warnings

    # What the session calls. Each returns the callback that is due, if any.

    def on_created(self, handle: bytes) -> Callback | None:
        """JOB_CREATED came."""
        self.handle = handle
        self.packet = ()
        self.state = TaskState.CREATED
        if self.background:
            self.done = True
            self.notify()
        elif self._watchers:
            self.notify()
        return self.callbacks.created

    def on_data(self, chunk: bytes) -> Callback | None:
        """WORK_DATA came. With a callback for it the chunk is not kept."""
        callback = self.callbacks.data
        if callback is None:
            if self._chunks is None:
                self._chunks = deque()
            self._chunks.append(chunk)
            self.notify()
        return callback

    def on_warning(self, data: bytes) -> Callback | None:
        """WORK_WARNING came."""
        self.warnings.append(data)
        return self.callbacks.warning

    def on_status(self, numerator: int, denominator: int) -> Callback | None:
        """WORK_STATUS came."""
        self.status = Progress(numerator, denominator)
        return self.callbacks.status

    def on_complete(self, data: bytes) -> Callback | None:
        """WORK_COMPLETE came."""
        self.state = TaskState.COMPLETE
        self._final = data
        self.done = True
        if self._waiters or self._watchers:
            self.notify()
        return self.callbacks.complete

    def on_fail(self, error: Exception) -> Callback | None:
        """There will be no result."""
        if self.done:
            return None
        if isinstance(error, JobException):
            self.state, callback = TaskState.EXCEPTION, self.callbacks.exception or self.callbacks.fail
        else:
            self.state = TaskState.FAILED if isinstance(error, JobFailed) else TaskState.LOST
            callback = self.callbacks.fail
        self.error = error
        self.packet = ()
        self.done = True
        self.notify()
        return callback

    def fail(self, error: Exception) -> None:
        """There will be no result, and no connection whose session could say so: calls the callback itself."""
        callback = self.on_fail(error)
        if callback is not None:
            try:
                callback(self)
            except Exception:
                logger.exception("the callback %r of %r raised an exception", callback, self)

    def notify(self) -> None:
        """Something changed that somebody waits for: the asyncio task wakes them."""

    # For the subclasses.

    def _outcome(self) -> bytes:
        """The result of a task that is done.

        Raises:
            GeartrainError: why there is none.
        """
        if self.error is not None:
            raise self.error
        if self.background:
            return self.handle
        final = self._final or b""
        if self._chunks:
            return b"".join(self._chunks) + final
        return final

    def _take(self) -> Iterator[bytes]:
        """The chunks that came and nobody took yet."""
        chunks = self._chunks
        while chunks:
            yield chunks.popleft()

    def _last(self) -> Iterator[bytes]:
        """What is left of a task that is done: chunks, and the result or the error."""
        yield from self._take()
        if self.error is not None:
            raise self.error
        if self._final and not self.background:
            yield self._final

    @property
    def _news(self) -> bool:
        return self.done or bool(self._chunks)


def describe(task: BaseTask | None) -> str:
    """What somebody waits for, for a message: a task's result or confirmation, or any other reply."""
    if task is None:
        return "a reply"
    awaited = "confirmation" if task.background else "result"
    return f"the {awaited} of the job for {task.function.decode('utf-8', 'backslashreplace')}"
