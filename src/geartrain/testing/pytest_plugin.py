"""The pytest fixture `gearman_server`. Imports the server only when a test asks for it."""

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from geartrain.testing.server import Server

__all__ = ["gearman_server"]


@pytest.fixture
def gearman_server() -> "Iterator[Server]":
    """A job server on a free port of this machine, with an empty queue in memory, for one test."""
    from geartrain.testing.server import Server

    with Server() as server:
        yield server
