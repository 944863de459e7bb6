"""Submissions: from what a user says to one packet.

Owns the choice of the SUBMIT command, the uniques that we make up, and the times. Pure.
"""

import hashlib
import os
import time
from datetime import datetime, timedelta
from enum import IntEnum
from struct import Struct
from typing import Final, NamedTuple, TypeAlias

from geartrain.errors import LocalProtocolError
from geartrain.protocol.commands import Command
from geartrain.protocol.packets import REQUEST_MAGIC

__all__ = ["Name", "Payload", "Priority", "Schedule", "When", "name_bytes", "payload_bytes", "submission"]

Name: TypeAlias = str | bytes
"""A function's name, a unique or a handle: bytes, or text that is sent as UTF-8."""
Payload: TypeAlias = bytes | str | bytearray | memoryview
"""A workload or a result: bytes, or text that is sent as UTF-8."""
When: TypeAlias = datetime | timedelta | float
"""A moment: a datetime (without a zone: local time), a timedelta from now, or seconds since 1970."""

_HEAD: Final = Struct(">4sII")
_WHOLE: Final = 32 * 1024
"""Workloads up to this size are copied into one piece with their header; larger ones stay apart."""
MAX_UNIQUE: Final = 64
MAX_FUNCTION: Final = 512


class Priority(IntEnum):
    """Which jobs of a function come first."""

    HIGH = 0
    NORMAL = 1
    LOW = 2


class Schedule(NamedTuple):
    """When SUBMIT_JOB_SCHED lets a job run: once, at the next moment that matches. None matches always.

    Attributes:
        minute: 0 to 59.
        hour: 0 to 23.
        day_of_month: 1 to 31.
        month: 1 to 12.
        day_of_week: 0 (Monday) to 6.
    """

    minute: int | None = None
    hour: int | None = None
    day_of_month: int | None = None
    month: int | None = None
    day_of_week: int | None = None


_COMMANDS: Final = (  # by priority, and then those of background jobs
    int(Command.SUBMIT_JOB_HIGH),
    int(Command.SUBMIT_JOB),
    int(Command.SUBMIT_JOB_LOW),
    int(Command.SUBMIT_JOB_HIGH_BG),
    int(Command.SUBMIT_JOB_BG),
    int(Command.SUBMIT_JOB_LOW_BG),
)
_PRIORITIES: Final = {"high": Priority.HIGH, "normal": Priority.NORMAL, "low": Priority.LOW}


def name_bytes(name: Name, what: str = "name") -> bytes:
    """A name as bytes.

    Raises:
        LocalProtocolError: it holds a NUL byte, which the protocol uses to divide names.
    """
    data = name.encode() if isinstance(name, str) else bytes(name)
    if b"\0" in data:
        raise LocalProtocolError(f"the {what} must not hold a NUL byte: {data[:80]!r}")
    return data


def payload_bytes(payload: Payload) -> bytes:
    """A workload or result as bytes.

    Raises:
        TypeError: it is neither bytes nor text; what it should become is the caller's choice.
    """
    if type(payload) is bytes:
        return payload
    if isinstance(payload, str):
        return payload.encode()
    if isinstance(payload, (bytes, bytearray, memoryview)):
        return bytes(payload)
    raise TypeError(f"a workload or result is bytes or str, not {type(payload).__name__}; serialise it first")


def function_bytes(function: Name, namespace: bytes = b"") -> bytes:
    """A function's name on the wire.

    Raises:
        LocalProtocolError: it is empty, too long (libgearman: 512 bytes) or holds a NUL byte.
    """
    data = namespace + name_bytes(function, "function name")
    if not data or len(data) > MAX_FUNCTION:
        raise LocalProtocolError(f"a function name has 1 to {MAX_FUNCTION} bytes, not {len(data)}: {data[:80]!r}")
    return data


def priority_of(priority: "Priority | str") -> Priority:
    """The priority from its name, or itself.

    Raises:
        LocalProtocolError: there is no such priority.
    """
    if isinstance(priority, Priority):
        return priority
    try:
        return _PRIORITIES[priority]
    except KeyError:
        raise LocalProtocolError(f"the priority is high, normal or low, not {priority!r}") from None


def unique_for(unique: Name | None, workload: bytes, background: bool) -> bytes:
    """The unique to send.

    None is for background jobs a random one, as libgearman does it: durable queues of gearmand keep one row per
    unique, so that jobs without one would replace each other. ``#`` becomes a hash of the workload (libgearman
    takes murmur3 of 32 bits, which collides; ours has 128).

    Raises:
        LocalProtocolError: it is too long or holds a NUL byte.
    """
    if unique is None:
        return os.urandom(16).hex().encode() if background else b""
    data = name_bytes(unique, "unique")
    if len(data) > MAX_UNIQUE:
        raise LocalProtocolError(f"a unique has at most {MAX_UNIQUE} bytes, not {len(data)}: {data!r}")
    if data == b"#":
        return hashlib.blake2b(workload, digest_size=16).hexdigest().encode()
    return data


def epoch_of(when: When) -> int:
    """A moment in seconds since 1970, rounded up: a job must not run too early."""
    if isinstance(when, timedelta):
        seconds = time.time() + when.total_seconds()
    elif isinstance(when, datetime):
        seconds = when.timestamp()
    else:
        seconds = when
    return max(0, -int(-seconds // 1))


def submission(
    function: bytes,
    unique: bytes,
    workload: bytes,
    priority: Priority = Priority.NORMAL,
    background: bool = False,
    epoch: int | None = None,
    schedule: Schedule | None = None,
    reducer: bytes | None = None,
) -> tuple[bytes, ...]:
    """The packet of a submission, in pieces.

    Raises:
        LocalProtocolError: the protocol has no command for this combination.
    """
    if epoch is None and schedule is None and reducer is None:
        command = _COMMANDS[priority + 3 * background]
        size = len(function) + len(unique) + len(workload) + 2
        if len(workload) <= _WHOLE:
            return (b"%b%b\0%b\0%b" % (_HEAD.pack(REQUEST_MAGIC, command, size), function, unique, workload),)
        start = b"%b\0%b\0" % (function, unique)
    else:
        command, extra = _special(priority, background, epoch, schedule, reducer)
        start = b"\0".join((function, unique, *extra, b""))
    size = len(start) + len(workload)
    if size > 0xFFFFFFFF:
        raise LocalProtocolError(f"a packet holds less than 4 GiB, this one would have {size} bytes")
    head = _HEAD.pack(REQUEST_MAGIC, command, size) + start
    return (head + workload,) if len(workload) <= _WHOLE else (head, workload)


def _special(
    priority: Priority, background: bool, epoch: int | None, schedule: Schedule | None, reducer: bytes | None
) -> tuple[int, tuple[bytes, ...]]:
    if (epoch is not None) + (schedule is not None) + (reducer is not None) > 1:
        raise LocalProtocolError("at, schedule and reducer exclude each other: the protocol has no command for two")
    if priority is not Priority.NORMAL:
        raise LocalProtocolError("a job with at, schedule or reducer has normal priority: the protocol has no other")
    if reducer is not None:
        command = Command.SUBMIT_REDUCE_JOB_BACKGROUND if background else Command.SUBMIT_REDUCE_JOB
        return command, (reducer, b"")  # libgearman sends an empty fourth argument, the aggregate
    if not background:
        raise LocalProtocolError("a job at a time runs in the background; submit it with background=True")
    if epoch is not None:
        return Command.SUBMIT_JOB_EPOCH, (b"%d" % epoch,)
    assert schedule is not None
    return Command.SUBMIT_JOB_SCHED, tuple(b"" if n is None else b"%d" % n for n in schedule)
