"""Routes: how the API is described, and how a request finds its handler.

Owns the form of a row of the API's table, the matching of paths, and what JSON goes in and out. The rows are in
api.py and jobs.py; openapi.py makes the document of them. Names in paths are bytes, percent-encoded: any function's
name can stand there.
"""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from urllib.parse import parse_qs, unquote_to_bytes

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from geartrain.http.access import Access

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from geartrain.server.server import JobServer

__all__ = ["Answer", "ApiError", "Asked", "Parameter", "Route", "Router"]

Answer: TypeAlias = "Mapping[str, Any] | Sequence[Any] | Response | None"
"""What a handler returns: data for JSON, a whole response, or None for 204."""
Handler: TypeAlias = "Callable[[Asked], Awaitable[Answer]]"


class ApiError(Exception):
    """An answer other than success."""

    def __init__(self, status: int, code: str, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.code = code
        self.text = text


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a query."""

    name: str
    help: str
    kind: str = "string"
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One row of the API.

    Attributes:
        method: of HTTP.
        path: below the API's root; ``{name}`` stands for one percent-encoded segment.
        handler: what answers.
        help: one sentence.
        query: what the query may hold.
        body: the name of the body's schema; empty for none.
        answer: the name of the answer's schema; empty for 204.
        many: whether the answer is a list of these.
        status: of a success.
        errors: other statuses, with when they come.
    """

    method: str
    path: str
    handler: Handler
    help: str
    query: tuple[Parameter, ...] = ()
    body: str = ""
    answer: str = ""
    many: bool = False
    status: int = 200
    errors: Mapping[int, str] = field(default_factory=dict)


@dataclass(slots=True)
class Asked:
    """One request to the API.

    Attributes:
        server: the job server.
        access: the rules.
        names: what stands in the path, in order.
        query: the last value of each parameter.
        body: the JSON object that came; empty for none.
        fields: the headers by their names in lower case.
        local: whether it came over an address that other machines cannot reach.
    """

    server: "JobServer"
    access: Access
    names: list[bytes]
    query: dict[str, str]
    body: dict[str, Any]
    fields: dict[bytes, bytes]
    local: bool

    def number(self, name: str, default: int, most: int) -> int:
        """A number of the query.

        Raises:
            ApiError: it is none, or below 0.
        """
        text = self.query.get(name, "")
        if not text:
            return default
        if not (text.isascii() and text.isdigit()):
            raise ApiError(400, "INVALID_ARGUMENT", f"{name} is a whole number, not {text[:40]!r}.")
        return min(int(text[:18]), most)


class Router:
    """The API as an ASGI application.

    Args:
        server: the job server.
        access: the rules.
        root: what all paths begin with.
        routes: the table.
    """

    def __init__(self, server: "JobServer", access: Access, root: str, routes: Sequence[Route]) -> None:
        self._server = server
        self._access = access
        self._root = root.encode()
        self._table: dict[tuple[str, ...], dict[str, Route]] = {}
        for route in routes:
            self._table.setdefault(tuple(route.path.strip("/").split("/")), {})[route.method] = route

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        fields = dict(scope["headers"])
        response = await self._answer(scope, receive, fields)
        origin = fields.get(b"origin")
        if origin is not None and self._access.allows_origin(origin):
            response.headers["Access-Control-Allow-Origin"] = origin.decode("latin-1")
            response.headers["Vary"] = "Origin"
        response.headers.setdefault("Cache-Control", "no-store")
        response.headers["X-Content-Type-Options"] = "nosniff"
        await response(scope, receive, send)

    async def _answer(self, scope: "Scope", receive: "Receive", fields: dict[bytes, bytes]) -> Response:
        try:
            found, names = self._find(scope["raw_path"])
            method = scope["method"]
            if method == "OPTIONS":
                return _preflight(found)
            route = found.get("GET" if method == "HEAD" else method)
            if route is None:
                raise ApiError(405, "METHOD_NOT_ALLOWED", f"This path answers {', '.join(found)}.")
            query = {name: values[-1] for name, values in parse_qs(scope["query_string"].decode("latin-1")).items()}
            body = await _read_body(Request(scope, receive), fields) if route.body else {}
            asked = Asked(self._server, self._access, names, query, body, fields, scope["state"]["local"])
            answer = await route.handler(asked)
        except ApiError as error:
            return JSONResponse({"error": {"code": error.code, "message": error.text}}, error.status)
        if isinstance(answer, Response):
            return answer
        return Response(status_code=204) if answer is None else _Json(answer, route.status)

    def _find(self, raw_path: bytes) -> tuple[dict[str, Route], list[bytes]]:
        path = raw_path.removeprefix(self._root)
        segments = [unquote_to_bytes(segment) for segment in path.strip(b"/").split(b"/")]
        for pattern, found in self._table.items():
            if len(pattern) == len(segments):
                names = []
                for part, segment in zip(pattern, segments, strict=True):
                    if part.startswith("{"):
                        names.append(segment)
                    elif part.encode() != segment:
                        break
                else:
                    return found, names
        raise ApiError(404, "NOT_FOUND", "There is no such path. /_gearman/api/openapi.json lists them.")


class _Json(JSONResponse):
    def render(self, content: Any) -> bytes:
        # Escapes what is not ASCII: names with stray surrogates can be written too.
        return json.dumps(content, separators=(",", ":"), default=str).encode()


_JSON: Final = b"application/json"


async def _read_body(request: Request, fields: Mapping[bytes, bytes]) -> dict[str, Any]:
    data = await request.body()
    if not data:
        return {}
    if fields.get(b"content-type", b"").partition(b";")[0].strip().lower() != _JSON:
        # A form of another site can send text, but not JSON: this is a rule against such forms as well.
        raise ApiError(415, "NOT_JSON", "Send the body as Content-Type: application/json.")
    try:
        body = json.loads(data)
    except ValueError as error:
        raise ApiError(400, "INVALID_JSON", f"The body is not JSON: {error}.") from error
    if not isinstance(body, dict):
        raise ApiError(400, "INVALID_JSON", "The body must be a JSON object.")
    return body


def _preflight(found: Mapping[str, Route]) -> Response:
    methods = ", ".join(found)
    return Response(
        status_code=204,
        headers={
            "Allow": methods,
            "Access-Control-Allow-Methods": methods,
            "Access-Control-Allow-Headers": "Authorization, Content-Type",
            "Access-Control-Max-Age": "600",
        },
    )
