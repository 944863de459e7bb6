"""Cycles are found, and jobs that wait cost nothing."""

import gc
import weakref
from collections.abc import Iterator

import pytest

from geartrain.server.collector import Collector


class Cycle:
    def __init__(self) -> None:
        self.me = self


@pytest.fixture
def rounds() -> Iterator[list[int]]:
    """The generations that the collector looks at, in a process in which it does nothing by itself."""
    seen: list[int] = []

    def note(phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            seen.append(info["generation"])

    Collector(()).calm()
    gc.callbacks.append(note)
    try:
        yield seen
    finally:
        gc.callbacks.remove(note)
        gc.unfreeze()
        gc.enable()


def test_garbage_is_found(rounds: list[int]) -> None:
    collector = Collector(())
    collector.look()
    assert rounds == []
    last = [weakref.ref(Cycle()) for _ in range(110_000)][-1]
    assert last() is not None
    collector.look()
    assert last() is None
    assert len(rounds) == 1


def test_jobs_that_wait_are_not_looked_at(rounds: list[int]) -> None:
    jobs = [[object()] for _ in range(200_000)]
    Collector(jobs).look()
    assert rounds == []
    Collector(()).look()
    assert len(rounds) == 1


def test_what_survived_once_is_found_later(rounds: list[int]) -> None:
    collector = Collector(())
    old = weakref.ref(cycle := Cycle())
    for _ in range(60):
        more = [[] for _ in range(101_000)]
        collector.look()
        del more
        cycle = None
    assert old() is None
    assert cycle is None
    assert 1 in rounds
