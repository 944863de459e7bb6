"""Replies: the packets the engine sends, packed with as few steps as possible.

Owns nothing but their form. `protocol.packets.response` checks what it packs; here the parts are known to be good.
"""

from struct import Struct
from typing import Final

from geartrain.engine.job import Job
from geartrain.protocol.commands import Command
from geartrain.protocol.packets import RESPONSE_MAGIC, pack

__all__ = ["NOOP", "NO_JOB", "assignment", "error", "forward", "handle_packet", "plain", "status"]

_HEADER: Final = Struct(">QI")
_BASE: Final = int.from_bytes(RESPONSE_MAGIC, "big") << 32
_ASSIGN: Final = _BASE + int(Command.JOB_ASSIGN)
_ASSIGN_UNIQ: Final = _BASE + int(Command.JOB_ASSIGN_UNIQ)
_ASSIGN_ALL: Final = _BASE + int(Command.JOB_ASSIGN_ALL)
_GRAB_JOB: Final = int(Command.GRAB_JOB)
_GRAB_JOB_ALL: Final = int(Command.GRAB_JOB_ALL)

NOOP: Final = pack(RESPONSE_MAGIC, Command.NOOP)
NO_JOB: Final = pack(RESPONSE_MAGIC, Command.NO_JOB)


def handle_packet(command: int, handle: bytes) -> bytes:
    """JOB_CREATED or WORK_FAIL."""
    return _HEADER.pack(_BASE + command, len(handle)) + handle


def plain(command: int, body: bytes) -> bytes:
    """Any packet whose body is joined already."""
    return _HEADER.pack(_BASE + command, len(body)) + body


def forward(command: int, handle: bytes, data: bytes) -> bytes:
    """A worker's packet for a client: a handle and data."""
    return b"%b%b\0%b" % (_HEADER.pack(_BASE + command, len(handle) + 1 + len(data)), handle, data)


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
            _HEADER.pack(_ASSIGN, len(handle) + len(name) + len(job.workload) + 2),
            handle,
            name,
        )
    unique = job.unique
    reducer = job.reducer
    if grab == _GRAB_JOB_ALL and reducer:
        size = len(handle) + len(name) + len(unique) + len(reducer) + len(job.workload) + 4
        return b"%b%b\0%b\0%b\0%b\0" % (_HEADER.pack(_ASSIGN_ALL, size), handle, name, unique, reducer)
    return b"%b%b\0%b\0%b\0" % (
        _HEADER.pack(_ASSIGN_UNIQ, len(handle) + len(name) + len(unique) + len(job.workload) + 3),
        handle,
        name,
        unique,
    )
