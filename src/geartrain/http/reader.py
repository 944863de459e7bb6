"""Reader: bytes to whole HTTP requests.

Owns the parser (httptools, which calls the ``on_`` methods), the limits in size and number, and what makes a stream
unreadable. Knows no sockets, and nothing of what is asked.
"""

from typing import TYPE_CHECKING, Final

import httptools

from geartrain.http.request import Request

if TYPE_CHECKING:
    from collections.abc import Callable

    from geartrain.http.access import Refusal

__all__ = ["MAX_FIELDS", "MAX_HEAD", "MAX_PIPELINED", "Reader"]

MAX_HEAD: Final = 32 * 1024
"""Bytes of a request's line and headers."""
MAX_FIELDS: Final = 100
MAX_PIPELINED: Final = 32
"""Requests that may wait behind the one that is answered."""
_OFFER: Final = (b"upgrade", b"connection")


class Reader:
    """The requests of one connection.

    Args:
        max_body: bytes of a body.
        early: asked when a head is whole and a body follows: why the request is refused without its body, None if not.

    Attributes:
        requests: whole ones that nobody has taken.
        fault: status, code and sentence for what could not be read. It belongs behind the requests.
        final: nothing more is read.
        begun: a request has begun and is not whole.
        in_body: its head is whole.
        missing: bytes of the body that are to come, 0 where that is not known.
        taken: bytes of the head, or of the body, that have come.
    """

    __slots__ = (
        "_body",
        "_early",
        "_fields",
        "_headers",
        "_max_body",
        "_parser",
        "_request",
        "_target",
        "begun",
        "fault",
        "final",
        "in_body",
        "missing",
        "requests",
        "taken",
    )

    def __init__(self, max_body: int, early: "Callable[[Request], Refusal | None]") -> None:
        self._max_body = max_body
        self._early = early
        self._parser: httptools.HttpRequestParser | None = httptools.HttpRequestParser(self)
        self._target = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._fields: dict[bytes, bytes] = {}
        self._request: Request | None = None
        self._body: list[bytes] | None = None
        self.requests: list[Request] = []
        self.fault: tuple[int, str, str] | None = None
        self.final = False
        self.begun = False
        self.in_body = False
        self.missing = 0
        self.taken = 0

    def feed(self, data: bytes) -> None:
        """Takes the next bytes. Look at `requests` and `fault` afterwards."""
        if self.final:
            return
        if not self.in_body:
            self.taken += len(data)
        self.begun = True
        self._parse(data)
        if not self.in_body and self.begun and self.taken > MAX_HEAD:
            self._head_too_large()

    def close(self) -> None:
        """Reads no more."""
        self.final = True
        self.begun = self.in_body = False
        self.missing = 0
        self._body = None
        self.requests.clear()

    def forget(self) -> None:
        """Lets go of the parser and the connection: they refer to this as well, and the server collects no cycles."""
        self._parser = None
        self._early = _nothing

    def refuse(self, status: int, code: str, text: str) -> None:
        """Reads no more. What is refused comes to light as the `fault`."""
        self.final = True
        self.in_body = self.begun = False
        self.missing = 0
        self._body = None
        self.fault = (status, code, text)

    @property
    def refused(self) -> Request:
        """The request that the fault is about, as far as it was read."""
        return self._request or Request(b"GET", b"/", "1.1", [], {}, False)

    def _parse(self, data: bytes) -> None:
        parser = self._parser
        assert parser is not None
        try:
            parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._decline(data[upgrade.args[0] :])
        except httptools.HttpParserCallbackError as broken:
            raise RuntimeError("a fault while reading a request") from broken
        except httptools.HttpParserError as broken:
            if self.requests and not self.requests[-1].keep_alive:
                self.final = True  # bytes after the last request: nobody waits for their answer
            elif not self.final:
                self.refuse(400, "BAD_REQUEST", f"This is not an HTTP request: {broken}.")

    def _decline(self, rest: bytes) -> None:
        """The client offers to speak another protocol after this request. We go on with HTTP/1.1, as is our right."""
        if self.final or not self.requests:
            return
        request = self.requests[-1]
        if request.method == b"CONNECT":
            request.keep_alive = False
            self.final = True
            return
        # The parser has left the body to the other protocol: it reads the request anew, without the offer.
        del self.requests[-1]
        lines = [b"%b %b HTTP/1.1\r\n" % (request.method, request.target)]
        lines += [b"%b: %b\r\n" % pair for pair in request.headers if pair[0].lower() not in _OFFER]
        if b"close" in request.fields.get(b"connection", b"").lower():
            lines.append(b"Connection: close\r\n")
        self._parser = httptools.HttpRequestParser(self)
        self._parse(b"".join([*lines, b"\r\n", rest]))

    # ---- what the parser calls

    def on_message_begin(self) -> None:
        if not self.final:
            self._target = b""
            self._headers = []
            self._fields = {}
            self._request = None
            self.begun = True

    def on_url(self, target: bytes) -> None:
        self._target += target

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.in_body:  # what comes behind a body in chunks is no header of the request
            value = value.rstrip(b" \t")  # the parser leaves them; they are no part of it (RFC 9110, 5.5)
            self._headers.append((name, value))
            self._fields[name.lower()] = value

    def on_headers_complete(self) -> None:
        parser = self._parser
        if self.final or parser is None:
            return
        self.in_body = True
        version = parser.get_http_version()
        headers = self._headers
        fields = self._fields
        request = Request(parser.get_method(), self._target, version, headers, fields, parser.should_keep_alive())
        self._request = request
        if self.taken > MAX_HEAD and len(self._target) + sum(len(n) + len(v) for n, v in headers) > MAX_HEAD:
            self._head_too_large()
        elif len(headers) > MAX_FIELDS:
            self.refuse(431, "HEADERS_TOO_LARGE", f"There are more than {MAX_FIELDS} headers.")
        elif version != "1.1" and version != "1.0":
            self.refuse(505, "HTTP_VERSION", "HTTP/1.0 and HTTP/1.1 are spoken here.")
        elif len(fields) < len(headers) and sum(name.lower() == b"host" for name, _ in headers) > 1:
            self.refuse(400, "BAD_REQUEST", "A request has one Host header.")
        elif b"content-length" in fields or b"transfer-encoding" in fields:
            self.taken = 0
            self.missing = int(fields.get(b"content-length", b"0"))
            if self.missing > self._max_body:
                self._body_too_large()
            elif (refusal := self._early(request)) is not None:
                self.refuse(*refusal)

    def on_body(self, data: bytes) -> None:
        if self.final:
            return
        size = len(data)
        self.taken += size
        self.missing -= size
        if self._body is None:
            self._body = [data]
        else:
            self._body.append(data)
        if self.taken > self._max_body:
            self._body_too_large()

    def on_message_complete(self) -> None:
        request = self._request
        if self.final or request is None:
            return
        self.in_body = self.begun = False
        self.taken = self.missing = 0
        body = self._body
        if body is not None:
            request.body = body[0] if len(body) == 1 else b"".join(body)
            self._body = None
        self.requests.append(request)
        if len(self.requests) > MAX_PIPELINED:
            self.refuse(503, "TOO_MANY_REQUESTS", f"At most {MAX_PIPELINED} requests may wait for answers.")

    def _head_too_large(self) -> None:
        self.refuse(431, "HEADERS_TOO_LARGE", f"The headers have more than {MAX_HEAD} bytes.")

    def _body_too_large(self) -> None:
        text = f"The body is larger than {self._max_body} bytes (--max-packet)."
        self.refuse(413, "ARGUMENT_TOO_LARGE", text)


def _nothing(request: Request) -> None:
    """What a forgotten reader asks early."""
