"""Gateway: an HTTP request that calls a function.

Owns what the headers ask for, and how the engine's replies become an answer: at once, in chunks as data comes, or as
server-sent events. Knows no sockets: the connection takes the bytes. The engine sees a client like any other on the
Gearman port, so that limits, coalescing, held acknowledgements and errors are the same there and here.

Source: gearmand's HTTP plugin on the wire (libgearman-server/plugins/protocol/http); what differs on purpose stands
in docs/differences.md.
"""

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote_to_bytes

from geartrain.http.responses import LAST_CHUNK, chunk, error, head, readable
from geartrain.protocol.commands import Command

if TYPE_CHECKING:
    from geartrain.http.connection import HttpConnection
    from geartrain.http.request import Request

__all__ = ["Exchange", "call", "call_again", "cors", "workload"]

METHODS: Final = (b"POST", b"GET", b"PUT", b"HEAD")
_ALLOW: Final = b"Allow: GET, HEAD, POST, PUT\r\n"
_SANDBOX: Final = b"Content-Security-Policy: sandbox\r\n"
"""A result that a browser shows as a page must not run as one of ours: GET can be a link made by anybody."""
_NO_UNIQUE: Final = b"-"
"""gearmand's: the workload is the key."""
_NORMAL: Final = 1
_PRIORITIES: Final = {b"high": 0, b"low": 2}
_ERRORS: Final[dict[bytes, int]] = {
    b"QUEUE_ERROR": 503,
    b"ARGUMENT_TOO_LARGE": 400,
    b"INVALID_ARGUMENT": 400,
}
"""The engine's errors as a status; 500 for others."""
_LARGE: Final = 4096
_SIMPLE: Final = (
    b"HTTP/1.1 200 OK\r\nX-Gearman-Job-Handle: %b\r\nX-Gearman-Command: WORK_COMPLETE\r\n"
    b"Content-Length: %d\r\nServer: %b\r\n\r\n%b"
)
_PREFLIGHT: Final = (
    b"Access-Control-Allow-Methods: GET, HEAD, POST, PUT\r\n"
    b"Access-Control-Allow-Headers: Authorization, Content-Type, X-Gearman-Unique, X-Gearman-Background, "
    b"X-Gearman-Priority, X-Gearman-Timeout\r\n"
    b"Access-Control-Max-Age: 600\r\n"
)


class Exchange:
    """One call, from its submission to the end of its answer.

    Attributes:
        request: what was asked.
        background: whether JOB_CREATED is the answer.
        simple: whether the answer will be one piece with gearmand's headers and no others.
        timeout: seconds to wait for the result; 0 for no limit.
        events: whether the answer is a stream of events.
        handle: the job's; empty before JOB_CREATED.
        streaming: whether the answer's head has been sent.
        pieces: data that came before the end, where it cannot be streamed.
        cors: headers for pages of other sites.
    """

    __slots__ = (
        "background",
        "cors",
        "events",
        "handle",
        "pieces",
        "request",
        "simple",
        "size",
        "streaming",
        "timeout",
    )

    def __init__(self, request: "Request", background: bool, timeout: float, cors: bytes) -> None:
        self.request: Request = request
        self.background: bool = background
        self.timeout: float = timeout
        self.events: bool = (
            b"accept" in request.fields
            and not background
            and not request.head_only
            and request.accepts(b"text/event-stream")
        )
        self.simple: bool = request.plain and not self.events
        self.handle: bytes = b""
        self.streaming: bool = False
        self.pieces: list[bytes] | None = None
        self.size: int = 0
        self.cors: bytes = cors

    @property
    def buffered(self) -> bool:
        """HTTP/1.0 has no chunks, and HEAD no body: what comes early is kept to the end."""
        return self.request.version == "1.0" or self.request.head_only


def workload(request: "Request") -> bytes:
    """The data for the worker: the body, or with GET and HEAD the query's ``workload``, or else the whole raw query."""
    if request.method == b"POST" or request.method == b"PUT":
        return request.body
    query = request.query
    if query is None:
        return b""
    for pair in query.split(b"&"):
        name, mark, value = pair.partition(b"=")
        if mark and name == b"workload":
            return unquote_to_bytes(value.replace(b"+", b" "))
    return query


def cors(request: "Request", connection: "HttpConnection") -> bytes:
    """What a browser must be told, so that a page of a trusted other site may read the answer. Empty for all others."""
    origin = request.fields.get(b"origin")
    if origin is None or not connection.access.allows_origin(origin):
        return b""
    return (
        b"Access-Control-Allow-Origin: %b\r\nVary: Origin\r\n"
        b"Access-Control-Expose-Headers: X-Gearman-Job-Handle, X-Gearman-Command\r\n" % origin
    )


def call(connection: "HttpConnection", request: "Request") -> None:
    """Submits the job that a request asks for, or answers why not."""
    fields = request.fields
    name = request.function
    allowed = cors(request, connection) if b"origin" in fields else b""
    if request.method not in METHODS:
        if request.method == b"OPTIONS" and allowed:
            start = head(request, 204, allowed + _PREFLIGHT, connection.server_name, request.keep_alive)
            connection.answer(start, 204)
            return
        text = f"{request.method.decode()} calls no function: use POST, PUT or GET."
        connection.refuse(request, 405, "METHOD_NOT_ALLOWED", text, fields=_ALLOW)
        return
    if not name:
        connection.refuse(request, 404, "NO_FUNCTION", "The path names the function, as /reverse.")
        return
    if b"\0" in name:
        connection.refuse(request, 400, "INVALID_ARGUMENT", "A function's name cannot hold a NUL byte.")
        return
    if connection.engine.draining:
        connection.refuse(request, 503, "SHUTDOWN", "The server is about to stop.", keep_alive=False)
        return
    background = b"x-gearman-background" in fields and fields[b"x-gearman-background"].lower() == b"true"
    timeout = _seconds(fields[b"x-gearman-timeout"]) if b"x-gearman-timeout" in fields else 0.0
    if timeout is None:
        connection.refuse(request, 400, "INVALID_ARGUMENT", "X-Gearman-Timeout is a number of seconds.")
        return
    priority = _NORMAL
    if b"x-gearman-priority" in fields:
        priority = _PRIORITIES.get(fields[b"x-gearman-priority"].lower(), _NORMAL)
    exchange = Exchange(request, background, timeout, allowed)
    unique = fields.get(b"x-gearman-unique", _NO_UNIQUE)
    connection.submit(exchange, unique, workload(request), priority)


def call_again(connection: "HttpConnection", request: "Request", unique: bytes, body: bytes) -> None:
    """Submits the job of a plain request that others share: its unique and its body are given apart."""
    connection.submit(Exchange(request, False, 0.0, b""), unique or _NO_UNIQUE, body, _NORMAL)


def _seconds(text: bytes) -> float | None:
    try:
        seconds = float(text)
    except ValueError:
        return None
    return seconds if 0 <= seconds < 1e9 else None


# ---- the engine's replies


def created(connection: "HttpConnection", exchange: Exchange, parts: list[bytes]) -> None:
    exchange.handle = handle = parts[0]
    if exchange.background:
        connection.answer(_whole(connection, exchange, b"JOB_CREATED", 0), 200)
    elif exchange.events:
        _stream(connection, exchange, b"Content-Type: text/event-stream\r\nCache-Control: no-store\r\n")
        _event(connection, exchange, "created", {"handle": handle.decode("utf-8", "backslashreplace")})


def complete(connection: "HttpConnection", exchange: Exchange, parts: list[bytes]) -> None:
    result(connection, exchange, parts[1])


def result(connection: "HttpConnection", exchange: Exchange, data: bytes) -> None:
    """The job's result, all of it or the last piece."""
    size = len(data)
    if exchange.simple and size < _LARGE:
        connection.answer(_SIMPLE % (exchange.handle, size, connection.server_name, data), 200)
    elif exchange.events:
        _event(connection, exchange, "complete", readable("data", data))
        _end(connection, exchange)
    elif exchange.streaming:
        connection.send(chunk(data))
        _end(connection, exchange)
    else:
        pieces = exchange.pieces
        if pieces is not None:
            pieces.append(data)
            data = b"".join(pieces)
        start = _whole(connection, exchange, b"WORK_COMPLETE", len(data))
        if exchange.request.head_only:
            connection.answer(start, 200)
        elif len(data) < _LARGE:
            connection.answer(start + data, 200)
        else:
            connection.send(start)  # sent from where it lies: not copied behind its head
            connection.answer(data, 200)


def data_came(connection: "HttpConnection", exchange: Exchange, parts: list[bytes]) -> None:
    data = parts[1]
    if exchange.events:
        _event(connection, exchange, "data", readable("data", data))
    elif exchange.buffered:
        if exchange.pieces is None:
            exchange.pieces = []
        exchange.pieces.append(data)
        exchange.size += len(data)
        if exchange.size > connection.max_output:
            text = "The result is too large to be kept until its end (--max-output): use HTTP/1.1."
            connection.abandon()
            _failed(connection, exchange, 502, "RESULT_TOO_LARGE", text)
    else:
        if not exchange.streaming:
            _stream(connection, exchange, b"")
        connection.send(chunk(data))


def warning(connection: "HttpConnection", exchange: Exchange, parts: list[bytes]) -> None:
    if exchange.events:
        _event(connection, exchange, "warning", readable("data", parts[1]))


def status(connection: "HttpConnection", exchange: Exchange, parts: list[bytes]) -> None:
    if exchange.events:
        numerator, denominator = (part.decode("utf-8", "backslashreplace") for part in parts[1:3])
        _event(connection, exchange, "status", {"numerator": _number(numerator), "denominator": _number(denominator)})


def failed(connection: "HttpConnection", exchange: Exchange, parts: list[bytes]) -> None:
    if exchange.events:
        _event(connection, exchange, "fail", {})
        _end(connection, exchange)
    else:
        text = "The job failed, or was cancelled."
        _failed(connection, exchange, 502, "WORK_FAIL", text, command=b"WORK_FAIL")


def exception(connection: "HttpConnection", exchange: Exchange, parts: list[bytes]) -> None:
    if exchange.events:
        _event(connection, exchange, "exception", readable("data", parts[1]))
        _end(connection, exchange)
    else:
        text = "The worker reported an exception."
        _failed(connection, exchange, 500, "WORK_EXCEPTION", text, command=b"WORK_EXCEPTION", data=parts[1])


def refused(connection: "HttpConnection", exchange: Exchange, parts: list[bytes]) -> None:
    code, text = parts
    fields = b"Retry-After: 1\r\n" if code == b"QUEUE_ERROR" else b""
    _failed(
        connection, exchange, _ERRORS.get(code, 500), code.decode(), text.decode("utf-8", "backslashreplace"),
        command=b"ERROR", fields=fields,
    )  # fmt: skip


def timed_out(connection: "HttpConnection", exchange: Exchange) -> None:
    """X-Gearman-Timeout is over."""
    if exchange.events and exchange.streaming:
        _event(connection, exchange, "timeout", {"seconds": exchange.timeout})
        _end(connection, exchange)
    else:
        text = f"The job did not end within {exchange.timeout:g} seconds (X-Gearman-Timeout)."
        _failed(connection, exchange, 504, "TIMEOUT", text)


REPLIES: Final[dict[int, Callable[["HttpConnection", Exchange, list[bytes]], None]]] = {
    Command.JOB_CREATED: created,
    Command.WORK_COMPLETE: complete,
    Command.WORK_DATA: data_came,
    Command.WORK_WARNING: warning,
    Command.WORK_STATUS: status,
    Command.WORK_FAIL: failed,
    Command.WORK_EXCEPTION: exception,
    Command.ERROR: refused,
}
"""What each packet to a client means here."""


def _whole(connection: "HttpConnection", exchange: Exchange, command: bytes, size: int) -> bytes:
    """The head of a result, in gearmand's order of headers."""
    request = exchange.request
    extra = exchange.cors
    if request.method == b"GET" or request.method == b"HEAD":
        extra += _SANDBOX
    fields = b"X-Gearman-Job-Handle: %b\r\nX-Gearman-Command: %b\r\nContent-Length: %d\r\n%b" % (
        exchange.handle,
        command,
        size,
        extra,
    )
    return head(request, 200, fields, connection.server_name, request.keep_alive)


def _stream(connection: "HttpConnection", exchange: Exchange, fields: bytes) -> None:
    """Begins an answer whose length is not known: in chunks, or to the connection's end for HTTP/1.0."""
    request = exchange.request
    exchange.streaming = True
    exchange.simple = False
    if request.version == "1.0":
        request.keep_alive = False
    else:
        fields += b"Transfer-Encoding: chunked\r\n"
    if request.method == b"GET":
        fields += _SANDBOX
    named = b"X-Gearman-Job-Handle: %b\r\nX-Gearman-Command: WORK_DATA\r\n" % exchange.handle
    connection.send(head(request, 200, named + fields + exchange.cors, connection.server_name, request.keep_alive))


def _event(connection: "HttpConnection", exchange: Exchange, name: str, data: dict[str, Any]) -> None:
    event = f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()
    connection.send(event if exchange.request.version == "1.0" else chunk(event))


def _end(connection: "HttpConnection", exchange: Exchange) -> None:
    request = exchange.request
    connection.answer(b"" if request.version == "1.0" else LAST_CHUNK, 200)


def _failed(
    connection: "HttpConnection", exchange: Exchange, status: int, code: str, text: str,
    *, command: bytes = b"", data: bytes | None = None, fields: bytes = b"",
) -> None:  # fmt: skip
    request = exchange.request
    if exchange.streaming:  # the status is sent: only an answer without its end says that something is missing
        connection.cut()
        return
    answer = error(
        request, status, code, text, connection.server_name, handle=exchange.handle, command=command, data=data,
        fields=fields + exchange.cors, keep_alive=request.keep_alive,
    )  # fmt: skip
    connection.answer(answer, status)


def _number(text: str) -> int | str:
    return int(text) if text.isdigit() and len(text) < 20 else text


def pulse(connection: "HttpConnection", exchange: Exchange) -> None:
    """A comment in a stream of events: nothing has happened, and the connection lives."""
    connection.send(b":\n\n" if exchange.request.version == "1.0" else chunk(b":\n\n"))
