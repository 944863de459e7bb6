"""HTTP beside the Gearman port: opened and closed with the server, in its own event loop.

Owns the ports and the order in which the parts are put together.
"""

import logging
import os
from typing import TYPE_CHECKING, Final

from geartrain.errors import ConfigError
from geartrain.http.access import Access, read_token
from geartrain.http.app import Parts
from geartrain.http.bridge import Site
from geartrain.http.hub import HttpHub
from geartrain.server.config import parse_address
from geartrain.server.listener import Listener, open_sockets

if TYPE_CHECKING:
    import asyncio

    from geartrain.server.server import JobServer

__all__ = ["HttpServer", "start"]

logger = logging.getLogger("geartrain.http")

_SWEEP_EVERY: Final = 1.0
_DEFAULT_HOST: Final = "127.0.0.1"


class HttpServer:
    """HTTP of a running server.

    Args:
        server: started, in the running event loop.

    Raises:
        ConfigError: an address cannot be used, or the token cannot be read.
    """

    def __init__(self, server: "JobServer") -> None:
        config = server.config
        self._server = server
        self.access = Access(config, read_token(config, os.environ))
        self.parts = Parts(server, self.access)
        self._site = Site(self.parts.app)
        self.hub = HttpHub(server, self.access, self._site)
        self.parts.metrics.hub = self.hub
        self._listeners: list[Listener] = []
        hosts = [host.strip() for host in config.http_host.split(",") if host.strip()] or [_DEFAULT_HOST]
        try:
            for host in hosts:
                for sock in open_sockets(parse_address(host, config.http_port), config):
                    self._listeners.append(Listener(self.hub, sock, self.hub.loop.call_later))
        except BaseException:
            self._close_ports()
            raise
        self.parts.start()
        self._sweeper: asyncio.TimerHandle = self.hub.loop.call_later(_SWEEP_EVERY, self._sweep)

    @property
    def addresses(self) -> list[str]:
        """The URLs that it answers on."""
        return [f"http://{listener.address}/" for listener in self._listeners]

    @property
    def port(self) -> int:
        """The first port."""
        return next((listener.port for listener in self._listeners), 0)

    def reload(self) -> None:
        """Reads the token again. One that cannot be read leaves the old one in use, and is logged."""
        try:
            self.access.token = read_token(self._server.config, os.environ)
        except ConfigError as error:
            logger.error("the old token stays in use: %s", error)

    def _sweep(self) -> None:
        self.hub.sweep()
        self._sweeper = self.hub.loop.call_later(_SWEEP_EVERY, self._sweep)

    async def close(self) -> None:
        """Closes the ports and the connections."""
        self._sweeper.cancel()
        self._close_ports()
        self.parts.close()
        self.hub.close_all()
        await self._site.close()

    def _close_ports(self) -> None:
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()


def start(server: "JobServer") -> HttpServer:
    """Opens HTTP for a server. Errors as `HttpServer`."""
    return HttpServer(server)
