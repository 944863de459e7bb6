"""Fixtures of the contract suite: each test runs in both worlds, and against both servers."""

from collections.abc import Iterator
from itertools import count

import pytest

from geartrain.testing import Server

from ..services import gearmand
from .worlds import AioWorld, SyncWorld

World = SyncWorld | AioWorld
_numbers = count(1)


@pytest.fixture(params=["sync", "asyncio"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """Ordinary code, and asyncio."""
    world: World = SyncWorld() if request.param == "sync" else AioWorld()
    yield world
    world.close()


@pytest.fixture(scope="module", params=["geartrain", "gearmand"])
def address(request: pytest.FixtureRequest) -> Iterator[str]:
    """A server that the tests of a module share: ours, then Debian's."""
    if request.param == "geartrain":
        with Server() as server:
            yield server.address
    else:
        with gearmand() as service:
            yield f"127.0.0.1:{service.port}"


@pytest.fixture
def ours(address: str, request: pytest.FixtureRequest) -> None:
    """For tests of what gearmand cannot do."""
    if "gearmand" in request.node.callspec.id.split("-"):
        pytest.skip("gearmand 1.1.20 cannot do this")


@pytest.fixture
def function() -> str:
    """A function's name that no other test has."""
    return f"function{next(_numbers)}"
