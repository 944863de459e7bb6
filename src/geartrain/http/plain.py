"""Plain: a call that came whole and asks for nothing unusual, read at a glance.

Nearly all calls are like that, and say mostly the same as the one before: so each line of a head is read once, and
known from then on. What is read here is less than HTTP. Every doubt is left to the parser (reader.py): an unusual
character, a header that comes twice or decides how a request is read, bytes behind the body. Knows no sockets, and
nothing of what is asked.
"""

import re
from functools import lru_cache
from typing import Final

from geartrain.http.request import Request

__all__ = ["plain"]

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
        method, target, sends = _asked(lines.pop(0))
        fields = dict(map(_field, lines))
        if len(fields) != len(lines) or size != int(fields.get(b"content-length", b"0")) or len(fields) > _MAX_FIELDS:
            return None
    except _UnusualError:
        return None
    request = Request(method, target, "1.1", [], fields, True, body, sends)
    return None if request.ours else request


class _UnusualError(Exception):
    """This is for the parser."""


@lru_cache(_LINES)
def _asked(line: bytes) -> tuple[bytes, bytes, bool]:
    match = _REQUEST.fullmatch(line)
    if match is None:
        raise _UnusualError
    return match[1], match[2], match[1] in (b"POST", b"PUT")


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
