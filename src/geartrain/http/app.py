"""The application behind `/_gearman`, `/` and `/metrics`: Starlette's routes.

Owns what stands where. Who may was asked before (access.py); what is answered is the parts' own.
"""

from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

if TYPE_CHECKING:
    from starlette.requests import Request

    from geartrain.http.access import Access
    from geartrain.server.server import JobServer

__all__ = ["make_app"]


def make_app(server: "JobServer", access: "Access") -> Starlette:
    async def root(request: "Request") -> Response:
        return RedirectResponse("/_gearman/")

    return Starlette(routes=[Route("/", root)])
