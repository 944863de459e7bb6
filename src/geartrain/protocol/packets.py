"""Packets: bytes that go out.

Owns the header's form and the packing of arguments. Must not know jobs or sockets.
"""

from struct import Struct
from typing import Final

from geartrain.errors import LocalProtocolError, RemoteProtocolError
from geartrain.protocol.commands import LAYOUTS, Command

__all__ = [
    "HEADER",
    "HEADER_SIZE",
    "LARGEST",
    "REQUEST_MAGIC",
    "RESPONSE_MAGIC",
    "pack",
    "request",
    "response",
    "split",
]

HEADER: Final = Struct(">4sII")
"""magic, command number, size of the body in bytes; all numbers big-endian."""
HEADER_SIZE: Final = 12
LARGEST: Final = (1 << 32) - 1
"""Bytes that a body can have."""
REQUEST_MAGIC: Final = b"\0REQ"
RESPONSE_MAGIC: Final = b"\0RES"


def pack(magic: bytes, command: int, body: bytes = b"") -> bytes:
    """One packet with a body that is already joined."""
    return HEADER.pack(magic, command, len(body)) + body


def request(command: Command, *parts: bytes) -> bytes:
    """A packet from a client or worker.

    Args:
        command: the packet type.
        parts: its arguments, and its data last if the command has data.

    Raises:
        LocalProtocolError: the number of parts is wrong, or an argument holds a NUL byte.
    """
    return _checked(REQUEST_MAGIC, command, parts)


def response(command: Command, *parts: bytes) -> bytes:
    """A packet from the server. Arguments and errors as in `request`."""
    return _checked(RESPONSE_MAGIC, command, parts)


def _checked(magic: bytes, command: Command, parts: tuple[bytes, ...]) -> bytes:
    layout = LAYOUTS[command]
    if len(parts) != layout.parts:
        raise LocalProtocolError(f"{command.name} has {layout.parts} parts, not {len(parts)}")
    for name, part in zip(layout.arguments, parts, strict=False):
        if b"\0" in part:
            raise LocalProtocolError(f"the {name} of {command.name} must not hold a NUL byte: {part[:80]!r}")
    return pack(magic, command, b"\0".join(parts))


def split(command: Command, body: bytes) -> list[bytes]:
    """Divides a body into its parts, as `LAYOUTS` says: the arguments, and the data last.

    A single argument may carry a trailing NUL, as gearmand sends it in some WORK_FAIL; it is taken off.

    Raises:
        RemoteProtocolError: the body has too few parts.
    """
    layout = LAYOUTS[command]
    count = layout.parts
    if not count:
        return []
    parts = body.split(b"\0", count - 1)
    if len(parts) < count:
        raise RemoteProtocolError(f"{command.name} has {count} parts, but {len(parts)} came")
    if not layout.data and parts[-1].endswith(b"\0"):
        parts[-1] = parts[-1][:-1]
    return parts
