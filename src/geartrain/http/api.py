"""The API's part for the server, its functions, workers and health.

Owns these rows of the table, and what they answer. Everything that the text protocol can do is here or in jobs.py.
"""

import asyncio
import os
import time
from time import monotonic
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from starlette.responses import JSONResponse, Response

from geartrain.http.access import COOKIE, Need
from geartrain.http.routes import ApiError, Asked, Parameter, Route
from geartrain.http.rows import running_job, sliced, text

if TYPE_CHECKING:
    from geartrain.engine.function import Function
    from geartrain.engine.peer import Peer
    from geartrain.server.server import JobServer

__all__ = ["ROUTES"]

_MOST: Final = 10_000
_PRIORITIES: Final = ("high", "normal", "low")


# ---- server


async def about(asked: Asked) -> dict[str, Any]:
    """What `version`, `getpid` and `verbose` tell, and more."""
    server = asked.server
    config = server.config
    engine = server.engine
    uptime = monotonic() - server.started
    return {
        "version": text(engine.about.version),
        "compat": config.compat,
        "pid": os.getpid(),
        "host": os.uname().nodename,
        "verbose": text(engine.about.verbose),
        "started": time.time() - uptime,
        "uptime": uptime,
        "addresses": server.addresses,
        "http": server.http_addresses,
        "ready": server.ready,
        "draining": engine.draining,
        "replaying": engine.replaying,
        "queue_type": config.queue_type,
        "store_down": server.store_down,
        "jobs": len(engine.jobs),
        "running": engine.running,
        "functions": len(engine.functions),
        "connections": len(engine.peers),
        "job_retries": config.job_retries,
        "exceptions": config.exceptions,
        "max_packet": config.max_packet,
        "tls": config.ssl,
    }


async def shutdown(asked: Asked) -> dict[str, Any]:
    """The text protocol's `shutdown`."""
    engine = asked.server.engine
    if not asked.local and not engine.about.allow_shutdown:
        raise ApiError(
            403, "PERMISSION_DENIED", "Shutdown is accepted from this machine only, or with --allow-shutdown."
        )
    graceful = asked.body.get("graceful", False) is True
    asyncio.get_running_loop().call_soon(engine.about.shutdown, graceful)
    return {"graceful": graceful}


# ---- health


async def live(asked: Asked) -> dict[str, Any]:
    """That this answers is the answer."""
    return {"live": True}


async def ready(asked: Asked) -> JSONResponse:
    """Whether the server takes jobs: all stored ones are loaded, it is not about to stop, and its store works."""
    reasons = unready(asked.server)
    return JSONResponse({"ready": not reasons, "reasons": reasons}, 503 if reasons else 200)


def unready(server: "JobServer") -> list[str]:
    """Why the server takes no jobs; empty when it does."""
    reasons = []
    if server.engine.replaying or not server.ready:
        reasons.append("stored jobs are being loaded" if server.engine.replaying else "the server does not listen")
    if server.engine.draining:
        reasons.append("the server is about to stop")
    if server.store_down:
        reasons.append(f"the store does not take jobs: {server.store_down}")
    return reasons


# ---- functions


_COUNTERS: Final = (
    "cancelled", "completed", "exceptions", "exhausted", "failed", "joined", "refused", "requeued", "started",
    "submitted", "timeouts",
)  # fmt: skip
"""Of `FunctionStats`. By name: compiled classes have no `__slots__` to read them from."""


def shown_function(function: "Function") -> dict[str, Any]:
    """A function's counts, as `status` and `prioritystatus` have them, and its limits."""
    waiting = function.waiting
    oldest = function.oldest() if any(waiting) else None
    return {
        "name": text(function.name),
        "path": f"/_gearman/api/functions/{quote(function.name, safe='')}",
        "total": function.total,
        "running": function.running,
        "waiting": dict(zip(_PRIORITIES, waiting, strict=True)),
        "delayed": function.total - function.running - sum(waiting),
        "workers": function.workers,
        "oldest": None if oldest is None else monotonic() - oldest.submitted,
        "maxqueue": _limits(function),
        "counters": {name: getattr(function.stats, name) for name in _COUNTERS},
    }


def _limits(function: "Function") -> dict[str, int | None]:
    """0 is no limit on the wire; here that is null."""
    limits = function.limits or (0, 0, 0)
    return {name: limit or None for name, limit in zip(_PRIORITIES, limits, strict=True)}


def _function(asked: Asked) -> "Function":
    function = asked.server.engine.functions.get(asked.names[0])
    if function is None:
        raise ApiError(404, "UNKNOWN_FUNCTION", f"There is no function {text(asked.names[0])[:100]!r}.")
    return function


async def functions(asked: Asked) -> dict[str, Any]:
    """All functions, or those whose name contains something."""
    part = asked.query.get("name", "").encode()
    limit = asked.number("limit", _MOST, _MOST)
    offset = asked.number("offset", 0, 1 << 40)
    matching = [f for name, f in asked.server.engine.functions.items() if part in name]
    shown: list[dict[str, Any]] = []
    for some in sliced(matching[offset : offset + limit]):
        shown += map(shown_function, some)
        await asyncio.sleep(0)
    return {"functions": shown, "total": len(matching)}


async def function(asked: Asked) -> dict[str, Any]:
    """One function."""
    return shown_function(_function(asked))


async def create(asked: Asked) -> dict[str, Any]:
    """The text protocol's `create function`."""
    return shown_function(asked.server.engine.function(_new_name(asked)))


def _new_name(asked: Asked) -> bytes:
    name = asked.names[0]
    if not name or b"\0" in name:
        raise ApiError(400, "INVALID_ARGUMENT", "A function's name has one byte at least, and no NUL.")
    return name


async def drop(asked: Asked) -> None:
    """The text protocol's `drop function`."""
    engine = asked.server.engine
    found = _function(asked)
    if found.workers or found.running:
        raise ApiError(409, "FUNCTION_IN_USE", "There are still connected workers or executing clients.")
    engine.drop_function(found)
    asked.server.changed()


async def limits(asked: Asked) -> dict[str, Any]:
    """What gearmand cannot be asked: the limits in force."""
    return _limits(_function(asked))


async def limit(asked: Asked) -> dict[str, Any]:
    """The text protocol's `maxqueue`. The function is made if it is new, so that the limit holds from its first job."""
    body = asked.body
    if unknown := set(body) - {*_PRIORITIES, "all"}:
        raise ApiError(400, "INVALID_ARGUMENT", f"maxqueue has high, normal, low or all, not {min(unknown)[:40]}.")
    values = []
    for name in _PRIORITIES:
        value = body.get(name, body.get("all"))
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 62):
            raise ApiError(400, "INVALID_ARGUMENT", f"{name} is a number of jobs, or null for no limit.")
        values.append(value or 0)
    found = asked.server.engine.function(_new_name(asked))
    found.limits = (values[0], values[1], values[2]) if any(values) else None
    return _limits(found)


# ---- workers


def shown_worker(peer: "Peer") -> dict[str, Any]:
    """A connection, as `workers` lists it, and what it does."""
    now = monotonic()
    return {
        "fd": peer.fd,
        "address": text(peer.address),
        "id": text(peer.client_id),
        "connected": now - peer.connected,
        "sleeping": peer.sleeping,
        "functions": [
            {"name": text(function.name), "timeout": timeout or None}
            for function, timeout in (peer.functions or {}).items()
        ],
        "jobs": [running_job(job, now) for job in (peer.running or {}).values()],
        "waits_for": len(peer.waits or ()),
    }


async def workers(asked: Asked) -> dict[str, Any]:
    """Workers, or all connections."""
    everyone = asked.query.get("all", "") in ("1", "true", "yes")
    wanted = asked.query.get("function", "").encode()
    limit = asked.number("limit", 1000, _MOST)
    peers = [
        peer
        for peer in asked.server.engine.peers
        if (everyone or peer.functions) and (not wanted or any(f.name == wanted for f in peer.functions or ()))
    ]
    shown: list[dict[str, Any]] = []
    for some in sliced(peers[:limit]):
        shown += map(shown_worker, some)
        await asyncio.sleep(0)
    return {"workers": shown, "total": len(peers)}


# ---- session


def _permissions(asked: Asked, fields: dict[bytes, bytes]) -> dict[str, Any]:
    access = asked.access
    return {
        "token": bool(access.token),
        "read": access.forbids(Need.READ, fields, asked.local) is None,
        "change": access.forbids(Need.CHANGE, fields, asked.local) is None,
        "call": access.forbids(Need.CALL, fields, asked.local) is None,
    }


async def session(asked: Asked) -> dict[str, Any]:
    """What a dashboard asks first: what it may do, and whether a token would help."""
    return _permissions(asked, asked.fields)


async def log_in(asked: Asked) -> Response:
    """Takes the token once; the browser shows a session after that, in a cookie that no script can read."""
    token = asked.body.get("token", "")
    if not isinstance(token, str) or not asked.access.is_token(token.strip().encode()):
        raise ApiError(401, "WRONG_TOKEN", "This is not the server's token.")
    value = asked.access.session.decode()
    response = JSONResponse(_permissions(asked, {**asked.fields, b"cookie": f"{COOKIE}={value}".encode()}))
    # Behind a proxy with TLS the cookie must not leave over plain HTTP either.
    secure = asked.fields.get(b"x-forwarded-proto", b"") == b"https"
    response.set_cookie(COOKIE, value, path="/", httponly=True, samesite="strict", secure=secure)
    return response


async def log_out(asked: Asked) -> Response:
    """Takes the session from the browser."""
    response = Response(status_code=204)
    response.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")
    return response


_FUNCTION: Final = {404: "No function has this name."}

ROUTES: Final = (
    Route(method="GET", path="/server", handler=about, answer="Server", help="Version, addresses and state."),
    Route(
        method="POST",
        path="/server/shutdown",
        handler=shutdown,
        body="Shutdown",
        answer="Shutdown",
        status=202,
        help="Stop the server: at once, or gracefully once the running jobs are done.",
    ),
    Route(method="GET", path="/health/live", handler=live, answer="Live", help="Whether the server runs."),
    Route(
        method="GET",
        path="/health/ready",
        handler=ready,
        answer="Ready",
        help="Whether it takes jobs.",
        errors={503: "It does not; the body says why."},
    ),
    Route(
        method="GET",
        path="/functions",
        handler=functions,
        answer="FunctionPage",
        help="Functions with their counts and limits.",
        query=(
            Parameter("name", "Functions whose name contains this."),
            Parameter("limit", f"How many at most, never more than {_MOST}.", "integer"),
            Parameter("offset", "How many to leave out before.", "integer"),
        ),
    ),
    Route(
        method="GET",
        path="/functions/{name}",
        handler=function,
        answer="Function",
        errors=_FUNCTION,
        help="One function.",
    ),
    Route(method="PUT", path="/functions/{name}", handler=create, answer="Function", help="Create a function."),
    Route(
        method="DELETE",
        path="/functions/{name}",
        handler=drop,
        status=204,
        help="Drop a function that has no workers and no running jobs. Waiting jobs are cancelled.",
        errors={**_FUNCTION, 409: "It has workers or running jobs."},
    ),
    Route(
        method="GET",
        path="/functions/{name}/maxqueue",
        handler=limits,
        answer="MaxQueue",
        errors=_FUNCTION,
        help="The function's limits.",
    ),
    Route(
        method="PUT",
        path="/functions/{name}/maxqueue",
        handler=limit,
        body="MaxQueue",
        answer="MaxQueue",
        help="Set how many jobs a function may have before submissions of a priority are refused.",
    ),
    Route(
        method="GET",
        path="/workers",
        handler=workers,
        answer="WorkerPage",
        help="Workers, their functions and the jobs they have.",
        query=(
            Parameter("all", "1 lists clients and other connections too.", values=("0", "1")),
            Parameter("function", "Those that can do this function."),
            Parameter("limit", f"How many at most: 1000 if not given, never more than {_MOST}.", "integer"),
        ),
    ),
    Route(method="GET", path="/session", handler=session, answer="Session", help="What this client may do."),
    Route(
        method="POST",
        path="/session",
        handler=log_in,
        body="LogIn",
        answer="Session",
        errors={401: "The token is wrong."},
        help="Show the token once and get a cookie for it.",
    ),
    Route(method="DELETE", path="/session", handler=log_out, status=204, help="Give the cookie back."),
)
