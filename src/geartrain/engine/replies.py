"""Replies: the packets the engine sends, packed with as few steps as possible.

Owns nothing but their form. `protocol.packets.response` checks what it packs; here the parts are known to be good.
"""

from struct import Struct
from typing import Final

from geartrain.engine.job import Job
from geartrain.protocol.commands import Command
from geartrain.protocol.packets import RESPONSE_MAGIC, pack

__all__ = [
    "ECHO_HEADS",
    "NOOP",
    "NO_JOB",
    "USUAL",
    "assigned",
    "assignment",
    "completed",
    "created",
    "echoed",
    "error",
    "failed",
    "forward",
    "plain",
    "status",
]

_HEADER: Final = Struct(">QI")
_BASE: Final = int.from_bytes(RESPONSE_MAGIC, "big") << 32
_ASSIGN: Final = _BASE + int(Command.JOB_ASSIGN)
_ASSIGN_UNIQ: Final = _BASE + int(Command.JOB_ASSIGN_UNIQ)
_ASSIGN_ALL: Final = _BASE + int(Command.JOB_ASSIGN_ALL)
_GRAB_JOB: Final = int(Command.GRAB_JOB)
_GRAB_JOB_ALL: Final = int(Command.GRAB_JOB_ALL)

NOOP: Final = pack(RESPONSE_MAGIC, Command.NOOP)
NO_JOB: Final = pack(RESPONSE_MAGIC, Command.NO_JOB)


def _head(command: int, size: int) -> bytes:
    return _HEADER.pack(_BASE + command, size)


USUAL: Final = 512
"""Bodies below this size have their headers ready: packing them cost a tenth of a job."""
_CREATED_HEADS: Final = [_head(int(Command.JOB_CREATED), size) for size in range(USUAL)]
_COMPLETE_HEADS: Final = [_head(int(Command.WORK_COMPLETE), size) for size in range(USUAL)]
ECHO_HEADS: Final = [_head(int(Command.ECHO_RES), size) for size in range(USUAL)]
_ASSIGN_HEADS: Final = [_head(int(Command.JOB_ASSIGN), size) for size in range(USUAL)]


def created(handle: bytes) -> bytes:
    """JOB_CREATED."""
    size = len(handle)
    return (_CREATED_HEADS[size] if size < USUAL else _head(int(Command.JOB_CREATED), size)) + handle


def completed(handle: bytes, data: bytes) -> bytes:
    """WORK_COMPLETE for a client."""
    size = len(handle) + 1 + len(data)
    head = _COMPLETE_HEADS[size] if size < USUAL else _head(int(Command.WORK_COMPLETE), size)
    return head + handle + b"\0" + data


def assigned(handle: bytes, name: bytes, workload: bytes) -> bytes:
    """A whole JOB_ASSIGN. The name comes between two NULs."""
    size = len(handle) + len(name) + len(workload)
    head = _ASSIGN_HEADS[size] if size < USUAL else _head(int(Command.JOB_ASSIGN), size)
    return head + handle + name + workload


def echoed(data: bytes) -> bytes:
    """ECHO_RES with much data."""
    return _head(int(Command.ECHO_RES), len(data)) + data


def failed(handle: bytes) -> bytes:
    """WORK_FAIL."""
    return _head(int(Command.WORK_FAIL), len(handle)) + handle


def plain(command: int, body: bytes) -> bytes:
    """Any packet whose body is joined already."""
    return _head(command, len(body)) + body


def forward(command: int, handle: bytes, data: bytes) -> bytes:
    """A worker's packet for a client: a handle and data."""
    return b"".join((_head(command, len(handle) + 1 + len(data)), handle, b"\0", data))


def error(code: bytes, text: bytes) -> bytes:
    return plain(int(Command.ERROR), code + b"\0" + text)


def status(command: int, name: bytes, fields: tuple[int, ...]) -> bytes:
    """STATUS_RES and STATUS_RES_UNIQUE."""
    return plain(command, name + b"\0" + b"\0".join([b"%d" % field for field in fields]))


def assignment(grab: int, job: Job) -> bytes:
    """JOB_ASSIGN in the flavour of a grab command, up to the workload, which follows it.

    gearmand: GRAB_JOB_ALL is answered with JOB_ASSIGN_ALL only if the job has a reducer.
    """
    name = job.function.name
    handle = job.handle
    if grab == _GRAB_JOB:
        return b"%b%b\0%b\0" % (
            _HEADER.pack(_ASSIGN, len(handle) + len(name) + len(job.data) + 2),
            handle,
            name,
        )
    unique = job.unique
    reducer = job.reducer
    if grab == _GRAB_JOB_ALL and reducer:
        size = len(handle) + len(name) + len(unique) + len(reducer) + len(job.data) + 4
        return b"%b%b\0%b\0%b\0%b\0" % (_HEADER.pack(_ASSIGN_ALL, size), handle, name, unique, reducer)
    return b"%b%b\0%b\0%b\0" % (
        _HEADER.pack(_ASSIGN_UNIQ, len(handle) + len(name) + len(unique) + len(job.data) + 3),
        handle,
        name,
        unique,
    )
