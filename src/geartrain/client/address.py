"""Where the job servers are.

Owns the forms in which users write addresses. Must not know sockets, names' look-up or whether a server is up.
"""

import os
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from geartrain.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["DEFAULT_PORT", "Server", "Servers", "parse_server", "parse_servers"]

DEFAULT_PORT: Final = 4730
"""Gearman's port, as IANA has it."""


class Server(NamedTuple):
    """One job server's address.

    Attributes:
        host: a name or an address, without brackets.
        port: its TCP port.
        path: the path of a unix socket; then host and port mean nothing.
    """

    host: str
    port: int = DEFAULT_PORT
    path: str = ""

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


Servers: TypeAlias = "str | Server | Iterable[str | Server] | None"
"""One string with commas, or any number of addresses; None means the variable GEARMAN_SERVERS, or localhost."""


def parse_servers(servers: Servers = None) -> tuple[Server, ...]:
    """Reads a list of servers.

    Args:
        servers: ``"a,b:4731"``, a list of such strings or of `Server`. Without it the environment's
            GEARMAN_SERVERS counts, as with libgearman, and then localhost:4730.

    Raises:
        ConfigError: one of them cannot be read, or there is none.
    """
    if servers is None:
        servers = os.environ.get("GEARMAN_SERVERS") or "localhost"
    if isinstance(servers, (str, Server)):
        servers = [servers]
    found: dict[Server, None] = {}  # in order, each once
    for entry in servers:
        if isinstance(entry, Server):
            found[entry] = None
            continue
        for text in entry.split(","):
            if text.strip():
                found[parse_server(text.strip())] = None
    if not found:
        raise ConfigError("no job server is named; write one as host:port, for example localhost:4730")
    return tuple(found)


def parse_server(text: str, default_port: int = DEFAULT_PORT) -> Server:
    """Reads one address: ``host``, ``host:port``, ``[::1]:port``, ``::1``, ``unix:/path`` or ``/path``.

    Raises:
        ConfigError: it has none of these forms.
    """
    if text.startswith(("unix:", "/")):
        path = text.removeprefix("unix:").removeprefix("//")
        if not path:
            raise ConfigError(f"the server {text!r} lacks the socket's path; write unix:/path/to/socket")
        return Server("", 0, path)
    text = text.removeprefix("tcp://")
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ConfigError(f"the server {text!r} cannot be read; write an IPv6 address as [::1]:4730")
        port = rest[1:]
    elif text.count(":") > 1:
        host, port = text, ""
    else:
        host, _, port = text.partition(":")
    if not host:
        raise ConfigError(f"the server {text!r} has no host; write host:port")
    if not port:
        return Server(host, default_port)
    if not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise ConfigError(f"the port {port!r} of the server {text!r} is not a number from 1 to 65535")
    return Server(host, int(port))
