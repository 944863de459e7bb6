"""Changing over from Debian's gearmand to ours and back, on every queue type that both have."""

from collections.abc import Callable

import pytest

from geartrain.stores.base import StoredJob

from . import gear
from .backends import BACKENDS, Queue
from .test_contract import add, by_number, done, job

BOTH = [name for name, backend in BACKENDS.items() if backend.gearmand]
KEEPS_TIMES = {"libsqlite3", "Postgres", "MySQL"}
"""gearmand refuses a job with a time on the others."""
LATER = 2_000_000_000


@pytest.fixture(params=BOTH)
def both(request: pytest.FixtureRequest, make_queue: Callable[[str], Queue]) -> Queue:
    """A queue that gearmand can open, too."""
    return make_queue(request.param)


def core(found: StoredJob) -> tuple[bytes, bytes, bytes, int, int]:
    return found.function, found.unique, found.workload, found.priority, found.when


def test_what_gearmand_queued_is_ours(both: Queue) -> None:
    expected = [
        (b"f", b"u1", b"one", 1, 0),
        (b"f", b"u2", b"high", 0, 0),
        (b"f", b"u3", b"low", 2, 0),
        (b"g", b"with-hyphens-in-it", b"a\0b", 1, 0),
        (b"f", b"", b"no unique", 1, 0),
        (b"f", b"-", b"dash", 1, 0),
        (b"h", b"x" * 63, b"y" * 100_000, 1, 0),
    ]
    if both.backend.name in KEEPS_TIMES:
        expected.append((b"f", b"later", b"later", 1, LATER))
    with both.gearmand() as server:
        for function, unique, workload, priority, when in expected:
            gear.submit(server.port, function, unique, workload, priority, when)
        server.kill()
    with both.store() as store:
        found = list(store.load())
        assert sorted(map(core, found)) == sorted(expected)
        numbers = [one.number for one in found]
        assert sorted(set(numbers)) == numbers
        assert [one.handle for one in found] == [b"H:test:%d" % number for number in numbers]
        done(store, *found[::2])
    with both.store() as store:  # their numbers stay
        assert by_number(store.load()) == found[1::2]
        add(store, job(1000, b"new"))
        done(store, *found[1::2])
    with both.store() as store:
        assert [one.unique for one in store.load()] == [b"new"]
        done(store, *store.load())
    with both.gearmand() as server:  # and nothing is left in its place
        assert gear.drain(server.port, [b"f", b"g", b"h", b"reverse"]) == []


def test_what_we_queued_is_gearmands(both: Queue) -> None:
    jobs = [
        job(1, b"low", workload=b"low", priority=2),
        job(2, b"normal", workload=b"normal", reducer=b"sum", attempts=3),
        job(3, b"", workload=b"empty 1"),
        job(4, b"", workload=b"empty 2"),
        job(5, b"-", workload=b"dash 1"),
        job(6, b"-", workload=b"dash 2"),
        job(7, b"x" * 64, workload=b"long"),
        job(8, b"high", workload=b"high", priority=0),
    ]
    later = job(9, b"later", b"other", b"later", when=LATER)
    with both.store() as store:
        add(store, *jobs, later)
    with both.gearmand() as server:
        ran = gear.drain(server.port, [b"reverse", b"other"])
        assert sorted(one.workload for one in ran) == sorted(one.workload for one in jobs if one != later) or (
            # gearmand 1.1 reads PostgreSQL's times wrong, and runs everything at once
            both.backend.name == "Postgres" and len(ran) == len(jobs) + 1
        )
        assert {one.unique for one in ran} >= {b"low", b"normal", b"high"}
        if both.backend.name in {"libsqlite3", "MySQL"}:
            assert [one.workload for one in ran] == [b"high", *(one.workload for one in jobs[1:7]), b"low"]
        gear.submit(server.port, b"reverse", b"again", b"again")
        server.kill()
    with both.store() as store:
        found = [core(one) for one in store.load()]
        assert (b"reverse", b"again", b"again", 1, 0) in found
        assert found.count((b"other", b"later", b"later", 1, LATER)) == (both.backend.name != "Postgres")
        assert len(found) == 2 - (both.backend.name == "Postgres")
        done(store, *store.load())
    with both.store() as store:
        assert list(store.load()) == []


def test_the_queue_goes_back_and_forth(both: Queue) -> None:
    for turn in range(3):
        with both.store() as store:
            first = store.open()
            add(store, *[job(first + n, b"ours-%d-%d" % (turn, n)) for n in range(3)])
        with both.gearmand() as server:
            gear.submit(server.port, b"reverse", b"theirs-%d" % turn, b"y")
            server.kill()
    with both.store() as store:
        found = list(store.load())
    assert len(found) == 12
    assert len({one.number for one in found}) == 12
    assert {one.unique for one in found} == {b"theirs-%d" % turn for turn in range(3)} | {
        b"ours-%d-%d" % (turn, n) for turn in range(3) for n in range(3)
    }
