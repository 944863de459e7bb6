"""Responses: the bytes of HTTP answers that need no Starlette.

Owns the status lines, what an error looks like (a sentence, or JSON from the API and for those who ask), and chunks.
"""

import json
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from geartrain.http.request import OURS

if TYPE_CHECKING:
    from geartrain.http.request import Request

__all__ = ["CONTINUE", "LAST_CHUNK", "chunk", "error", "head", "readable", "status_line"]

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
LAST_CHUNK: Final = b"0\r\n\r\n"
_API: Final = OURS + b"/api/"
_LINES: Final[dict[int, bytes]] = {s.value: f" {s.value} {s.phrase}\r\n".encode() for s in HTTPStatus}


def status_line(version: str, status: int) -> bytes:
    """As gearmand: an HTTP/1.0 request is answered as HTTP/1.0."""
    return (b"HTTP/1.0" if version == "1.0" else b"HTTP/1.1") + _LINES[status]


def head(request: "Request", status: int, fields: bytes, server: bytes, keep_alive: bool) -> bytes:
    """A whole head.

    Args:
        request: what is answered.
        status: of HTTP.
        fields: headers, each with its line end.
        server: the Server header's value.
        keep_alive: whether another request may follow.
    """
    connection = b""
    if not keep_alive:
        connection = b"Connection: close\r\n" if request.version != "1.0" else b""
    elif request.version == "1.0":
        connection = b"Connection: keep-alive\r\n"
    return b"%b%bServer: %b\r\n%b\r\n" % (status_line(request.version, status), fields, server, connection)


def chunk(data: bytes) -> bytes:
    """A piece of a body whose length is not known (RFC 9112, 7.1). Nothing for no data: that would end the body."""
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


def readable(name: str, data: bytes) -> dict[str, str]:
    """Bytes in JSON: as text where they are UTF-8, or else in base64 under the name with ``_base64``."""
    try:
        return {name: data.decode()}
    except UnicodeDecodeError:
        from base64 import b64encode

        return {f"{name}_base64": b64encode(data).decode()}


def error(
    request: "Request",
    status: int,
    code: str,
    text: str,
    server: bytes,
    *,
    handle: bytes = b"",
    command: bytes = b"",
    data: bytes | None = None,
    fields: bytes = b"",
    keep_alive: bool = True,
) -> bytes:
    """An error's whole answer: JSON from the API and where Accept asks for it, plain text otherwise.

    Args:
        request: what is answered.
        status: of HTTP.
        code: for programs: the protocol's word where it has one.
        text: the sentence for people.
        server: the Server header's value.
        handle: of the job, if there is one.
        command: for X-Gearman-Command.
        data: what the worker sent with the error: then this is the plain body.
        fields: further headers.
        keep_alive: whether another request may follow.
    """
    shown = handle.decode("utf-8", "backslashreplace")
    if request.accepts(b"application/json") or request.function.startswith(_API):
        content: dict[str, Any] = {"code": code, "message": text}
        if handle:
            content["handle"] = shown
        if data is not None:
            content |= readable("data", data)
        body = json.dumps({"error": content}).encode() + b"\n"
        kind = b"application/json"
    else:
        body = (text + "\n").encode() if data is None else data
        kind = b"text/plain; charset=utf-8"
    if handle:
        fields = b"X-Gearman-Job-Handle: %b\r\n" % handle + fields
    if command:
        fields = b"X-Gearman-Command: %b\r\n" % command + fields
    if status == HTTPStatus.UNAUTHORIZED:
        fields += b'WWW-Authenticate: Bearer realm="geartrain"\r\n'
    fields += b"Content-Type: %b\r\nContent-Length: %d\r\n" % (kind, len(body))
    fields += b"X-Content-Type-Options: nosniff\r\n"
    start = head(request, status, fields, server, keep_alive)
    return start if request.head_only else start + body
