"""All exceptions of geartrain. A class's docstring is its default message.

    GeartrainError
    ├── ConfigError                 a setting cannot be used; the text says which and what to do
    ├── ProtocolError
    │   ├── LocalProtocolError      we were asked to send something the protocol cannot carry
    │   └── RemoteProtocolError     the other side sent something the protocol does not allow
    ├── ConnectionLost              the connection ended; a submission's fate may be unknown
    │   └── NoServersAvailable      none of the servers could be reached
    ├── RequestTimeout              no answer in the time that was given
    ├── ServerError                 the server answered ERROR: .code and .text
    ├── JobError                    a job did not complete: .handle
    │   ├── JobFailed               the worker sent WORK_FAIL
    │   └── JobException            the worker sent WORK_EXCEPTION: .data
    └── StoreError                  the durable queue
        ├── StoreUnavailable        not now: try the same batch again later
        │   └── StoreEmptied        it is back, without what was stored: write everything again
        ├── StoreRejected           never: this row cannot be stored, another try will not help
        └── StoreLocked             another server has this queue open

Local misuse and remote faults are different classes, so that a caller knows whose fault it was.
Foreign exceptions (OSError, sqlite3.Error ...) are mapped to these at the edge where they arise.
"""

__all__ = [
    "ConfigError",
    "ConnectionLost",
    "GeartrainError",
    "JobError",
    "JobException",
    "JobFailed",
    "LocalProtocolError",
    "NoServersAvailable",
    "ProtocolError",
    "RemoteProtocolError",
    "RequestTimeout",
    "ServerError",
    "StoreEmptied",
    "StoreError",
    "StoreLocked",
    "StoreRejected",
    "StoreUnavailable",
]


class GeartrainError(Exception):
    """Something went wrong in geartrain."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or type(self).__doc__)


class ConfigError(GeartrainError):
    """A setting cannot be used."""


class ProtocolError(GeartrainError):
    """The Gearman protocol was not kept."""


class LocalProtocolError(ProtocolError):
    """This cannot be sent in the Gearman protocol."""


class RemoteProtocolError(ProtocolError):
    """The other side sent bytes that are not the Gearman protocol."""


class ConnectionLost(GeartrainError):
    """The connection to the job server was lost."""


class NoServersAvailable(ConnectionLost):
    """None of the job servers could be reached."""


class RequestTimeout(GeartrainError):
    """No answer came in the time that was given."""


class ServerError(GeartrainError):
    """The job server answered with an error.

    Attributes:
        code: the protocol's error code, for example ``QUEUE_ERROR``.
        text: the server's sentence.
    """

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f"{code}: {text}" if text != code else code)
        self.code = code
        self.text = text


class JobError(GeartrainError):
    """The job did not complete.

    Attributes:
        handle: the job's handle.
    """

    def __init__(self, message: str | None = None, *, handle: bytes = b"") -> None:
        super().__init__(message)
        self.handle = handle


class JobFailed(JobError):
    """The worker reported that the job failed."""


class JobException(JobError):
    """The worker reported an exception for the job.

    Attributes:
        data: what the worker sent with the exception (bytes).
    """

    def __init__(self, data: bytes, *, handle: bytes = b"") -> None:
        super().__init__(data.decode("utf-8", "backslashreplace") or None, handle=handle)
        self.data = data


class StoreError(GeartrainError):
    """The durable queue reported an error."""


class StoreUnavailable(StoreError):
    """The durable queue cannot be reached or written at the moment."""


class StoreEmptied(StoreUnavailable):
    """The durable queue has come back, but without the jobs that were stored in it."""


class StoreRejected(StoreError):
    """The durable queue can never hold this job."""


class StoreLocked(StoreError):
    """Another server has this durable queue open."""
