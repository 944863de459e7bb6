"""For the tests of programs that use Gearman: a real job server in the test's own process.

    from geartrain import Client
    from geartrain.testing import Server

    with Server() as server, Client(server.address) as client:
        ...

With pytest there is the fixture `gearman_server`, which is such a server.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from geartrain.testing.server import Server

__all__ = ["Server"]


def __getattr__(name: str) -> Any:
    if name != "Server":
        raise AttributeError(f"module 'geartrain.testing' has no attribute {name!r}")
    from geartrain.testing.server import Server

    globals()["Server"] = Server  # the pytest plugin must cost nothing to who does not use it
    return Server
