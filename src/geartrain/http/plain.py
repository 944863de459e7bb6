"""Plain: a call that came whole and asks for nothing unusual, read at a glance.

Nearly all calls are like that, and say mostly the same as the one before. So each line of a head is read once and
known from then on (`plain`), and so is a whole head but for its unique and its length (`again`). What is read here is
less than HTTP. Every doubt is left to the parser (reader.py): an unusual character, a header that comes twice or
decides how a request is read, bytes behind the body. Knows no sockets.
"""

import re
from functools import lru_cache
from itertools import cycle
from typing import Final

from geartrain.http.request import Request

__all__ = ["again", "plain"]

_MAX_HEAD: Final = 4 * 1024
_MAX_FIELDS: Final = 50
_LINES: Final = 512
"""Lines that are known at a time: with `_MAX_HEAD` a bound for the memory that they take."""
_REQUEST: Final = re.compile(rb"(POST|PUT|GET|HEAD) (/[\w.~%!$&'()*+,;=:@/?-]*) HTTP/1\.1")
_FIELD: Final = re.compile(rb"([\w-]++):([ -~]*+)")
_NEVER: Final = re.compile(rb"(?!)")
_DECISIVE: Final = {
    b"content-length": re.compile(rb"\d{1,9}"),
    b"connection": re.compile(rb"(?i:keep-alive)"),
    b"proxy-connection": _NEVER,
    b"transfer-encoding": _NEVER,
    b"upgrade": _NEVER,
    b"expect": _NEVER,
}
"""Headers that decide how a request is read, and what is plain in them."""
_SENDS: Final = (b"POST", b"PUT")
_WISHES: Final = frozenset((b"origin", b"x-gearman-background", b"x-gearman-priority", b"x-gearman-timeout"))
_HEADS: Final = 256
"""Heads that are known at a time."""
_VARYING: Final = re.compile(rb"(\r\n(?:X-Gearman-Unique|x-gearman-unique|Content-Length|content-length): )([!-~]+)")
_known: dict[tuple[bytes, ...], tuple[Request, int, int]] = {}
"""Heads without the two values: what they mean, and at which place unique (-1 for none) and length stand."""
_lessons: Final = cycle((True, False, False, False, False, False, False, False))
"""Not each head is learnt: those that never come again should not cost much."""


def again(data: bytes, max_body: int) -> tuple[Request, bytes, bytes] | None:
    """Reads a call whose head has been here before.

    Args:
        data: all that has come since the last request.
        max_body: bytes of a body.

    Returns:
        the head, which is `plain`, and shared by all calls that have it; the unique, empty for none; and the body. None
        for whatever has not been read by `plain` before.
    """
    head, end, body = data.partition(b"\r\n\r\n")
    if not end or len(head) > _MAX_HEAD:
        return None
    parts = _VARYING.split(head)
    values = parts[2::3]
    del parts[2::3]
    known = _known.get(tuple(parts))
    if known is None:
        return None
    request, unique, length = known
    size = len(body)
    if values[length] != b"%d" % size or size > max_body:
        return None
    return request, values[unique] if unique >= 0 else b"", body


def plain(data: bytes, max_body: int) -> Request | None:
    """Reads a request.

    Args:
        data: all that has come since the last request.
        max_body: bytes of a body.

    Returns:
        the request, without `headers`; None if it is not plainly one whole call.
    """
    head, end, body = data.partition(b"\r\n\r\n")
    size = len(body)
    if not end or len(head) > _MAX_HEAD or size > max_body:
        return None
    lines = head.split(b"\r\n")
    try:
        method, target = _asked(lines.pop(0))
        fields = dict(map(_field, lines))
        if len(fields) != len(lines) or size != int(fields.get(b"content-length", b"0")) or len(fields) > _MAX_FIELDS:
            return None
    except _UnusualError:
        return None
    request = Request(method, target, "1.1", [], fields, True, body)
    name = request.function
    if request.ours:
        return None
    if method in _SENDS and name and b"\0" not in name and _WISHES.isdisjoint(fields):
        request.plain = True
        if next(_lessons):
            _learn(head, request)
    return request


def _learn(head: bytes, request: Request) -> None:
    """Makes a plain head known to `again`, if its two values are where they are looked for there."""
    fields = request.fields
    parts = _VARYING.split(head)
    names = [name.strip(b"\r\n: ").lower() for name in parts[1::3]]
    if b"content-length" not in names or (b"x-gearman-unique" in fields) != (b"x-gearman-unique" in names):
        return
    if any(fields[name] != value for name, value in zip(names, parts[2::3], strict=True)):
        return
    del parts[2::3]
    shared = Request(request.method, request.target, "1.1", [], fields, True)
    shared.plain = True
    unique = names.index(b"x-gearman-unique") if b"x-gearman-unique" in names else -1
    if len(_known) >= _HEADS:
        _known.clear()
    _known[tuple(parts)] = shared, unique, names.index(b"content-length")


class _UnusualError(Exception):
    """This is for the parser."""


@lru_cache(_LINES)
def _asked(line: bytes) -> tuple[bytes, bytes]:
    match = _REQUEST.fullmatch(line)
    if match is None:
        raise _UnusualError
    return match[1], match[2]


@lru_cache(_LINES)
def _field(line: bytes) -> tuple[bytes, bytes]:
    match = _FIELD.fullmatch(line)
    if match is None:
        raise _UnusualError
    name = match[1].lower()
    value = match[2].strip()
    wanted = _DECISIVE.get(name)
    if wanted is not None and wanted.fullmatch(value) is None:
        raise _UnusualError
    return name, value
