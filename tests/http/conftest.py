"""A job server with HTTP, for each test that asks."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from geartrain.testing import Server
from tests.http.tools import Site

Start = Callable[..., Site]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts servers with settings of the test's own."""
    with ExitStack() as stack:

        def begin(**settings: Any) -> Site:
            settings = {"http": True, "http_port": 0, **settings}
            return Site(stack.enter_context(Server(**settings)), stack)

        yield begin


@pytest.fixture
def site(start: Start) -> Site:
    """One on 127.0.0.1, with a queue in memory."""
    return start()
