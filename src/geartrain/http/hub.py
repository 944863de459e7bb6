"""HttpHub: what all HTTP connections of a server share.

Owns their limits in time and size, and the counters for metrics. What is said on a connection is connection.py's.
"""

import asyncio
import socket
from collections import defaultdict
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from geartrain.http.connection import HttpConnection
from geartrain.server.listener import Hub

if TYPE_CHECKING:
    from geartrain.http.access import Access
    from geartrain.http.bridge import Site
    from geartrain.server.server import JobServer

__all__ = ["HttpHub"]

HEAD_WAIT: Final = 10.0
"""Seconds for a request's head, from its first byte."""
BODY_WAIT: Final = 10.0
"""Seconds of a body without regard to its speed."""
BODY_SPEED: Final = 1024
"""Bytes a second that a body must come with after that."""
IDLE_WAIT: Final = 75.0
"""Seconds between two requests on one connection."""
READ_WAIT: Final = 60.0
"""Seconds in which a client must read some of its answer."""
PULSE: Final = 15.0
"""Seconds between comments in a stream of events, so that nothing between takes the connection for dead."""


class HttpHub(Hub):
    """See the module.

    Attributes:
        server: whose functions are called.
        access: who may.
        site: Starlette, behind uvicorn's protocol.
        server_name: the Server header, as gearmand has it.
        requests: answered requests by status.
    """

    connections: dict[HttpConnection, None]  # type: ignore[assignment]

    def __init__(self, server: "JobServer", access: "Access", site: "Site") -> None:
        super().__init__(server.engine, server.reactor, server.config, None)
        self.server = server
        self.loop = asyncio.get_running_loop()
        self.access = access
        self.site = site
        self.server_name = b"Gearman/" + server.engine.about.version
        self.requests: defaultdict[int, int] = defaultdict(int)
        self.head_wait = HEAD_WAIT
        self.body_wait = BODY_WAIT
        self.body_speed = BODY_SPEED
        self.idle_wait = IDLE_WAIT
        self.read_wait = READ_WAIT
        self.pulse = PULSE

    def add(self, sock: socket.socket, address: str, trusted: bool) -> None:
        """Takes a connection that was accepted. `trusted` says that it comes from this machine."""
        connection = HttpConnection(self, sock, address, trusted)
        self.connections[connection] = None
        self.reactor.watch(connection.fd, connection, True, False)

    def closed(self, connection: Any) -> None:
        self.connections.pop(connection, None)

    def sweep(self) -> None:
        """Drops who is too slow, once a second."""
        now = monotonic()
        for connection in list(self.connections):
            connection.check(now)
