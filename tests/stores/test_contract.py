"""What every store must do: one suite, run over all of them with their real services."""

import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable

import pytest

from geartrain.errors import StoreLocked, StoreUnavailable
from geartrain.stores.base import Batch, Key, Store, StoredJob

from ..services import wait_until
from .backends import PREFIX, Queue

EVERY_BYTE = bytes(range(256))


def job(
    number: int, unique: bytes = b"", function: bytes = b"reverse", workload: bytes = b"x", **more: object
) -> StoredJob:
    return StoredJob(number, PREFIX + b"%d" % number, function, unique, workload, **more)  # type: ignore[arg-type]


def add(store: Store, *jobs: StoredJob) -> None:
    store.apply(Batch(adds=list(jobs)))


def done(store: Store, *jobs: StoredJob) -> None:
    store.apply(Batch(dones=[job.key for job in jobs]))


def eventually(action: Callable[..., None], *arguments: object) -> None:
    """Tries until the store is available again, as the server does."""

    def succeeded() -> bool:
        try:
            action(*arguments)
        except StoreUnavailable:
            return False
        return True

    wait_until(succeeded, "the store is available again", 60)


def by_number(jobs: Iterable[StoredJob]) -> list[StoredJob]:
    return sorted(jobs, key=lambda job: job.number)


def test_a_new_queue_is_empty_and_its_numbers_begin_at_one(queue: Queue) -> None:
    with queue.store() as store:
        assert list(store.load()) == []
    store = queue.make()
    assert store.open() == 1
    store.close()


def test_a_number_is_not_given_twice_because_its_job_was_never_stored(queue: Queue) -> None:
    """Jobs have handles before they are stored, and many end without it: 700 in the foreground here."""
    with queue.store() as store:
        store.apply(Batch([job(5, b"u")], next_number=6))
        store.apply(Batch(next_number=706))
    store = queue.make()
    assert store.open() == 706
    store.close()


KILLED = """
import os, sys
from geartrain.stores import find
print(find(sys.argv[1]).from_options(dict(arg.split("=", 1) for arg in sys.argv[3:]), sys.argv[2].encode()).open())
sys.stdout.flush()
os._exit(9)
"""


def test_a_number_is_not_given_twice_because_the_server_was_killed(queue: Queue) -> None:
    """Handles are given out before anything of their jobs is stored."""
    if queue.backend.keeps_object or queue.backend.kind:
        return
    options = [f"{name}={value}" for name, value in queue.options.items()]
    argv = [sys.executable, "-c", KILLED, queue.backend.name, PREFIX.decode(), *options]
    with queue.store() as store:
        add(store, job(1, b"u"))
    assert subprocess.run(argv, stdout=subprocess.PIPE, check=False).stdout == b"2\n"
    store = queue.make()
    eventually(store.open)
    store.close()
    with queue.store() as store:
        assert [found.number for found in store.load()] == [1]
        assert store.open() > 100_000


def test_what_was_added_is_there_after_a_restart(queue: Queue) -> None:
    jobs = [
        job(1, b"plain"),
        job(2, b"high", priority=0),
        job(3, b"low", priority=2),
        job(4, b"later", when=1_900_000_000),
        job(5, b"reduce", reducer=b"sum"),
        job(6, b"tried", attempts=3),
        job(7, b"all", b"wc", EVERY_BYTE, priority=2, when=4_000_000_000, reducer=b"max", attempts=250),
    ]
    with queue.store() as store:
        add(store, *jobs)
    with queue.store() as store:
        assert by_number(store.load()) == jobs


def test_jobs_come_back_oldest_first(queue: Queue) -> None:
    jobs = [job(number, b"u%d" % (number * 7919 % 1000)) for number in range(1, 400)]
    with queue.store() as store:
        for start in range(0, len(jobs), 37):
            add(store, *jobs[start : start + 37])
    with queue.store() as store:
        assert list(store.load()) == jobs


@pytest.mark.parametrize(
    "workload",
    [b"", b"\0", b"a\0b\0", EVERY_BYTE, b"'; DROP TABLE gearman_queue; --", b"\r\nEND\r\n", b"y" * (16 << 20)],
    ids=["empty", "nul", "nuls", "every byte", "quotes", "lines", "16 MiB"],
)
def test_any_workload_comes_back(queue: Queue, workload: bytes) -> None:
    with queue.store() as store:
        add(store, job(1, b"u", workload=workload), job(2, b"", workload=workload))
        assert [found.workload for found in by_number(store.load())] == [workload, workload]


UNIQUES = [
    b"u",
    b"-",
    b"",
    b"--",
    b"-dash",
    b"Case",
    b"case",
    b"CASE",
    b" space ",
    b"space",
    b"space ",
    b"tab\t",
    b"percent%s%d%",
    b"back\\slash",
    b"quote'\"`",
    b"caf\xc3\xa9",
    b"cafe",
    b"\xff\xfe raw",
    b"\xfe\xff raw",
    b"x" * 63,
    b"x" * 64,
    b"x" * 63 + b"y",
    b"\xc3" * 64,
    b"{unique}",
    b"a:b",
    b"line\nbreak",
    b"9ea27a00-0000-8000-8000-000000000001",  # the form that stands for an empty unique
    b"9ea27a2d-0000-8000-8000-000000000002",
    b"9ea27a64-0000-8000-8000-000000000003",
    b"0189f7e2-3c2f-7c9e-8c54-1f2a6a8b9c0d",
]


def test_any_unique_comes_back_and_is_a_job_of_its_own(queue: Queue) -> None:
    jobs = [job(number, unique, workload=b"%d" % number) for number, unique in enumerate(UNIQUES, 1)]
    with queue.store() as store:
        add(store, *jobs)
    with queue.store() as store:
        assert by_number(store.load()) == jobs
        done(store, *jobs[::2])
    with queue.store() as store:
        assert by_number(store.load()) == jobs[1::2]
        done(store, *jobs[1::2])
    with queue.store() as store:
        assert list(store.load()) == []


FUNCTIONS = [
    b"f",
    b"F",
    b"with-hyphen",
    b"with",
    b"with-hyphen-two",
    b"-",
    b"name space",
    b"caf\xc3\xa9",
    b"\xff\xfe",
    b"percent%s",
    b"*?[a]",
    b"n" * 255,
    b"n" * 512,
]


def test_any_function_comes_back_and_has_uniques_of_its_own(queue: Queue) -> None:
    pairs = [(function, unique) for function in FUNCTIONS for unique in (b"u", b"hyphen-u", b"", b"-", b"x" * 64)]
    jobs = [job(number, unique, function) for number, (function, unique) in enumerate(pairs, 1)]
    with queue.store() as store:
        add(store, *jobs)
    with queue.store() as store:
        assert by_number(store.load()) == jobs
        for one in jobs:
            done(store, one)
        assert list(store.load()) == []


def test_many_jobs_without_a_unique_are_many_jobs(queue: Queue) -> None:
    jobs = [job(number, (b"", b"-")[number % 2]) for number in range(1, 2001)]
    with queue.store() as store:
        add(store, *jobs)
        done(store, *jobs[:1500])
    with queue.store() as store:
        assert by_number(store.load()) == jobs[1500:]


def test_a_batch_may_be_applied_twice(queue: Queue) -> None:
    old, new = job(1, b"old"), job(2, b"new", reducer=b"r", attempts=2)
    batch = Batch(adds=[new, job(3), job(4, b"-", when=5)], dones=[old.key], attempts={}, priorities={})
    with queue.store() as store:
        add(store, old)
        store.apply(batch)
        store.apply(batch)
    with queue.store() as store:
        assert by_number(store.load()) == batch.adds


def test_an_ended_job_and_its_successor_share_a_batch(queue: Queue) -> None:
    first, second = job(1, b"same", workload=b"first"), job(2, b"same", workload=b"second")
    with queue.store() as store:
        add(store, first)
        store.apply(Batch(adds=[second], dones=[first.key]))
    with queue.store() as store:
        assert list(store.load()) == [second]
        done(store, first)  # late, and again: it must not take its successor with it
    with queue.store() as store:
        assert list(store.load()) == [second]


def test_an_add_replaces_what_stood_under_its_key(queue: Queue) -> None:
    with queue.store() as store:
        add(store, job(1, b"u", workload=b"old", reducer=b"r", attempts=9, when=77))
        add(store, job(1, b"u", workload=b"new"))
    with queue.store() as store:
        assert list(store.load()) == [job(1, b"u", workload=b"new")]


def test_attempts_and_priorities_change_in_place(queue: Queue) -> None:
    jobs = [job(1, b"u", workload=b"\0"), job(2, b""), job(3, b"x" * 64, reducer=b"r", when=7), job(4, b"-")]
    changes = Batch(
        attempts={jobs[0].key: 2, jobs[2].key: 5, Key(b"reverse", b"gone", 99): 1},
        priorities={jobs[1].key: 0, jobs[2].key: 2, Key(b"reverse", b"gone", 99): 0},
    )
    with queue.store() as store:
        add(store, *jobs)
        store.apply(changes)
    with queue.store() as store:
        assert by_number(store.load()) == [
            jobs[0]._replace(attempts=2),
            jobs[1]._replace(priority=0),
            jobs[2]._replace(attempts=5, priority=2),
            jobs[3],
        ]


def test_a_fleet_of_workers_vanishes(queue: Queue) -> None:
    jobs = [job(number) for number in range(1, 3001)]
    with queue.store() as store:
        add(store, *jobs)
        store.apply(
            Batch(
                attempts={one.key: one.number % 7 for one in jobs}, priorities={one.key: one.number % 3 for one in jobs}
            )
        )
        assert list(store.load()) == [one._replace(attempts=one.number % 7, priority=one.number % 3) for one in jobs]


def test_what_is_not_there_may_end(queue: Queue) -> None:
    with queue.store() as store:
        done(store, job(7, b"never"), job(8), job(9, b"y" * 64))
        store.apply(Batch())
        assert list(store.load()) == []


def test_no_number_is_given_twice(queue: Queue) -> None:
    with queue.store() as store:
        add(store, job(5, b"a"), job(9))
        done(store, job(9))
    with queue.store() as store:
        done(store, job(5, b"a"))
    store = queue.make()
    assert store.open() == 10
    store.close()


def test_handles_outlive_a_change_of_the_host_name(queue: Queue) -> None:
    with queue.store(b"H:old:") as store:
        add(store, StoredJob(1, b"H:old:1", b"f", b"u1", b""), StoredJob(2, b"H:old:2", b"f", b"", b""))
    store = queue.make(b"H:new:")
    first = store.open()
    add(store, StoredJob(first, b"H:new:%d" % first, b"f", b"u3", b""))
    add(store, StoredJob(first + 1, b"special:%d" % (first + 1), b"f", b"u4", b""))
    store.close()
    with queue.store(b"H:newest:") as store:
        assert [found.handle for found in store.load()] == [
            b"H:old:1", b"H:old:2", b"H:new:%d" % first, b"special:%d" % (first + 1),
        ]  # fmt: skip


def test_a_load_may_stop_early(queue: Queue) -> None:
    with queue.store() as store:
        add(store, *[job(number) for number in range(1, 3000)])
        rows = iter(store.load())
        next(rows)
        rows.close()  # type: ignore[attr-defined]
        add(store, job(3000))
        assert len(list(store.load())) == 3000


def test_batches_are_written_during_a_load(queue: Queue) -> None:
    with queue.store() as store:
        add(store, *[job(number, b"u%d" % number) for number in range(1, 3001)])
        numbers: list[int] = []
        for count, found in enumerate(store.load(), 1):
            numbers.append(found.number)
            if count % 500 == 0:
                add(store, job(10_000 + count, b"new%d" % count))
                done(store, job(count, b"u%d" % count))
        assert set(range(1, 3001)) <= set(numbers)
        assert max(Counter(numbers).values()) == 1
        assert len(list(store.load())) == 3000


def test_load_and_apply_run_in_two_threads(queue: Queue) -> None:
    with queue.store() as store:
        add(store, *[job(number, b"u%d" % number) for number in range(1, 2001)])
        numbers: list[int] = []
        reader = threading.Thread(target=lambda: numbers.extend(found.number for found in store.load()))
        reader.start()
        for number in range(5001, 5050):
            add(store, job(number))
        reader.join(60)
        assert set(range(1, 2001)) <= set(numbers)
        assert len(list(store.load())) == 2049


def test_large_batches(queue: Queue) -> None:
    jobs = [job(number, b"" if number % 3 else b"u%d" % number, workload=b"%d" % number) for number in range(1, 12_001)]
    with queue.store() as store:
        add(store, *jobs)
        done(store, *jobs[:6_000])
    with queue.store() as store:
        assert list(store.load()) == jobs[6_000:]


def test_a_second_server_is_kept_out(queue: Queue) -> None:
    if not queue.backend.locks:
        return
    with queue.store() as store:
        second = queue.make()
        with pytest.raises(StoreLocked, match="in use"):
            second.open()
        second.close()
        add(store, job(1))  # the first is not disturbed
    with queue.store() as store:
        assert len(list(store.load())) == 1


def test_closing_twice_is_no_error(queue: Queue) -> None:
    store = queue.make()
    store.close()
    store.open()
    store.close()
    store.close()


def test_it_names_itself_for_messages(queue: Queue) -> None:
    assert str(queue.make())
