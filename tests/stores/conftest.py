"""Fixtures: a fresh queue of each store, over a service that one test process keeps."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ..services import Service
from .backends import BACKENDS, Queue, running


@pytest.fixture(scope="session")
def shared_service() -> Iterator[Callable[[str], Service | None]]:
    """The service of a backend: started when a test asks for it first, ended with the test process."""
    with contextlib.ExitStack() as stack:
        started: dict[str, Service | None] = {}

        def get(name: str) -> Service | None:
            if name not in started:
                started[name] = stack.enter_context(running(BACKENDS[name]))
            return started[name]

        yield get


@pytest.fixture
def make_queue(shared_service: Callable[[str], Service | None], tmp_path: Path) -> Callable[[str], Queue]:
    """Makes a fresh queue of a backend."""
    return lambda name: Queue(BACKENDS[name], shared_service(name), tmp_path)


@pytest.fixture(params=list(BACKENDS))
def queue(request: pytest.FixtureRequest, make_queue: Callable[[str], Queue]) -> Queue:
    """A fresh queue of every backend."""
    return make_queue(request.param)
