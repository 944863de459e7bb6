"""The application behind `/_gearman`, `/` and `/metrics`: Starlette's routes.

Owns what stands where. Who may was asked before (access.py); what is answered is the parts' own.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from starlette.applications import Starlette
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

import geartrain
from geartrain.http import api, jobs
from geartrain.http.events import Events
from geartrain.http.history import STEPS, History
from geartrain.http.metrics import Metrics
from geartrain.http.openapi import document
from geartrain.http.routes import Answer, ApiError, Asked, Parameter, Router
from geartrain.http.routes import Route as ApiRoute
from geartrain.http.snapshot import Looks, snapshot

if TYPE_CHECKING:
    from starlette.requests import Request

    from geartrain.http.access import Access
    from geartrain.server.server import JobServer

__all__ = ["API", "Parts"]

API: Final = "/_gearman/api"
_STATIC: Final = Path(__file__).parent / "static"
_ORIGIN: Final = re.compile(r"https?://[a-zA-Z0-9.:\[\]-]+")
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src {}; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'"
)
"""For the dashboard: nothing from elsewhere, nothing inline, and no way from a string to markup or code. It may read
the servers whose pages may read this one (--http-origins): those that are shown on one page name one another."""
_HEADERS: Final = {
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Parts:
    """The application and what runs beside it.

    Attributes:
        app: for ASGI.
        metrics: what /metrics shows.
        history: what the charts begin with.
        events: what the dashboard is told each second.
    """

    def __init__(self, server: "JobServer", access: "Access") -> None:
        self.metrics = Metrics(server)
        self.history = History(server)
        looks = Looks(server)
        self.events = Events(looks, self.history)
        router = Router(server, access, API, _table(self.history, looks, self.events))
        routes: list[BaseRoute] = [
            Route("/", _to_dashboard),
            Route("/_gearman", _to_dashboard),
            Route("/metrics", self._metrics),
            Mount(API, router),
        ]
        if _STATIC.is_dir():
            origins = [origin for origin in server.config.http_origins if _ORIGIN.fullmatch(origin)]
            policy = _POLICY.format(" ".join(["'self'", *origins]))
            routes.append(Mount("/_gearman", _Static(policy)))
        self.app = Starlette(routes=routes)

    def start(self) -> None:
        """Begins to take samples."""
        self.history.start()

    def close(self) -> None:
        """Ends the streams and the samples."""
        self.events.close()
        self.history.stop()

    async def _metrics(self, request: "Request") -> Response:
        content, kind = await self.metrics.render(request.headers.get("accept", ""))
        return Response(content, headers={"Content-Type": kind, "Cache-Control": "no-store"})


class _Static(StaticFiles):
    """The dashboard's files, with what a browser must keep to.

    Args:
        policy: the Content-Security-Policy.
    """

    def __init__(self, policy: str) -> None:
        super().__init__(directory=_STATIC, html=True)
        self._fixed = {**_HEADERS, "Content-Security-Policy": policy}

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers.update(self._fixed)
        response.headers["Cache-Control"] = "no-cache"  # asks each time whether it changed: an update shows at once
        return response


async def _to_dashboard(request: "Request") -> Response:
    return RedirectResponse("/_gearman/")


def _table(history: History, looks: Looks, events: Events) -> list[ApiRoute]:
    async def look(asked: Asked) -> Answer:
        return Response(await snapshot(looks), media_type="application/json")

    async def stream(asked: Asked) -> Answer:
        return StreamingResponse(events.stream(), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})

    async def samples(asked: Asked) -> Answer:
        if name := asked.query.get("function", ""):
            return history.function_series(name.encode()) or {}
        step = asked.number("step", 1, 1 << 20)
        if step not in STEPS:
            raise ApiError(400, "INVALID_ARGUMENT", f"step is one of {', '.join(map(str, STEPS))}, in seconds.")
        return history.series(step)

    async def openapi(asked: Asked) -> Answer:
        return JSONResponse(description)

    table = [
        *api.ROUTES,
        *jobs.ROUTES,
        ApiRoute(
            method="GET",
            path="/snapshot",
            handler=look,
            answer="Snapshot",
            help="Functions, workers, running jobs and totals at this moment, as the dashboard shows them.",
        ),
        ApiRoute(
            method="GET",
            path="/events",
            handler=stream,
            help="The same as server-sent events: `snapshot` at first, then `change` each second.",
        ),
        ApiRoute(
            method="GET",
            path="/history",
            handler=samples,
            answer="History",
            help="How the server, or one function, did over the last hours: a list per quantity.",
            query=(
                Parameter("step", "Seconds between two samples.", "integer", tuple(map(str, STEPS))),
                Parameter("function", "The samples of this function instead, ten seconds apart."),
            ),
        ),
        ApiRoute(method="GET", path="/openapi.json", handler=openapi, help="This document."),
    ]
    description = document(API, geartrain.__version__, table)
    return table
