"""Request: one HTTP request, whole.

Owns what its target and headers mean: the path, the function it names, what stays open after it.
Knows neither who may ask nor what is answered.
"""

from functools import lru_cache
from typing import Final
from urllib.parse import unquote_to_bytes, urlsplit

__all__ = ["OURS", "Request"]

OURS: Final = b"_gearman"
"""Everything under this name is the server's own: no function's name is taken away."""
_READS: Final = (b"GET", b"HEAD")
_ROOT: Final = (b"", b"metrics")


class Request:
    """One request.

    Attributes:
        method: in upper case, as it came.
        target: as it came.
        version: ``1.0`` or ``1.1``.
        fields: the headers by their names in lower case. Of one that came twice, the last.
        headers: as they came, in order; none of a call that was read at a glance.
        keep_alive: whether the connection stays open for another.
        body: without its chunks' heads.
        query: of the target, undecoded; None where there is no question mark.
        function: the path without its leading slashes, percent-decoded. Empty for ``/``.
        ours: whether it is for the server itself: the API, the dashboard, the metrics.
        plain: whether it is known to ask for a job's result and nothing else: a POST or PUT of HTTP/1.1 that keeps
            the connection, without a word on priority, background and time, and not from a browser's page.
        checked: whether it was found to be allowed.
    """

    __slots__ = (
        "body",
        "checked",
        "fields",
        "function",
        "headers",
        "keep_alive",
        "method",
        "ours",
        "plain",
        "query",
        "target",
        "version",
    )

    def __init__(
        self,
        method: bytes,
        target: bytes,
        version: str,
        headers: list[tuple[bytes, bytes]],
        fields: dict[bytes, bytes],
        keep_alive: bool,
        body: bytes = b"",
    ) -> None:
        self.method: bytes = method
        self.target: bytes = target
        self.version: str = version
        self.headers: list[tuple[bytes, bytes]] = headers
        self.fields: dict[bytes, bytes] = fields
        self.keep_alive: bool = keep_alive
        self.body: bytes = body
        self.query, self.function, self.ours = _meaning(method, target)
        self.checked: bool = False
        self.plain: bool = False

    @property
    def head_only(self) -> bool:
        return self.method == b"HEAD"

    def accepts(self, kind: bytes) -> bool:
        """Whether the client asked for that media type by its name."""
        return kind in self.fields.get(b"accept", b"").lower()


@lru_cache(256)
def _meaning(method: bytes, target: bytes) -> tuple[bytes | None, bytes, bool]:
    """The query, the function and whether it is ours: the same few, again and again."""
    path, mark, query = (target if target[:1] == b"/" else _origin_form(target)).partition(b"?")
    name = path.lstrip(b"/")
    if b"%" in name:
        name = unquote_to_bytes(name)
    first = name.partition(b"/")[0]
    ours = first == OURS or (name in _ROOT and method in _READS)
    return query if mark else None, name, ours


def _origin_form(target: bytes) -> bytes:
    """Proxies get ``http://host/path``; servers must understand it too (RFC 9112, 3.2.2)."""
    try:
        parts = urlsplit(target)
    except ValueError:
        return b"/"
    path = parts.path or b"/"
    return b"%b?%b" % (path, parts.query) if parts.query else path
