"""The SQLite queue: gearmand's table both ways, files that are odd, and everything that can happen to a file."""

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from geartrain.errors import ConfigError, StoreError, StoreLocked, StoreRejected, StoreUnavailable
from geartrain.stores.base import Batch, StoredJob
from geartrain.stores.sqlite import SqliteStore

from .. import services
from . import gear
from .test_contract import add, by_number, done, eventually, job

OLD_TABLE = """CREATE TABLE gearman_queue (unique_key TEXT, function_name TEXT, priority INTEGER, data BLOB,
               when_to_run INTEGER, PRIMARY KEY (unique_key, function_name))"""


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "queue.db")


def store_of(path: str, **more: object) -> SqliteStore:
    store = SqliteStore(path, handle_prefix=b"H:test:", **more)  # type: ignore[arg-type]
    store.open()
    return store


def sql(path: str, statement: str, *values: object) -> list[tuple[object, ...]]:
    db = sqlite3.connect(path)
    db.text_factory = bytes
    try:
        with db:
            return db.execute(statement, values).fetchall()
    finally:
        db.close()


# -- gearmand's file


def gearmand_on(path: str) -> "services.contextlib.AbstractContextManager[services.Service]":
    return services.gearmand("-q", "libsqlite3", f"--libsqlite3-db={path}")


def test_a_queue_of_gearmand_is_taken_over(path: str) -> None:
    with gearmand_on(path) as server:
        gear.submit(server.port, b"f", b"u1", b"one")
        gear.submit(server.port, b"f", b"u2", b"a\0b", priority=0)
        gear.submit(server.port, b"with-hyphen", b"a-b", b"three", priority=2)
        gear.submit(server.port, b"f", b"u4", b"later", when=1_900_000_000)
        gear.submit(server.port, b"f", b"", b"no unique")
        gear.submit(server.port, b"f", b"-", b"dash")
        gear.submit(server.port, b"f", b"\xff\xfe", b"raw")
        gear.submit(server.port, b"f", b"u8", b"")  # gearmand writes NULL and cannot start on it again
        server.kill()
    store = store_of(path)
    found = list(store.load())
    assert [(one.function, one.unique, one.workload, one.priority, one.when) for one in found] == [
        (b"f", b"u1", b"one", 1, 0),
        (b"f", b"u2", b"a\0b", 0, 0),
        (b"with-hyphen", b"a-b", b"three", 2, 0),
        (b"f", b"u4", b"later", 1, 1_900_000_000),
        (b"f", b"", b"no unique", 1, 0),
        (b"f", b"-", b"dash", 1, 0),
        (b"f", b"\xff\xfe", b"raw", 1, 0),
        (b"f", b"u8", b"", 1, 0),
    ]
    assert len({one.number for one in found}) == len(found)
    assert [one.handle for one in found] == [b"H:test:%d" % one.number for one in found]
    done(store, *found)
    store.close()
    assert sql(path, "SELECT * FROM gearman_queue") == []


def test_gearmand_takes_our_queue_over(path: str) -> None:
    jobs = [
        job(1, b"low", workload=b"\0low", priority=2),
        job(2, b"normal", workload=b""),
        job(3, b"", workload=b"empty 1"),
        job(4, b"", workload=b"empty 2"),
        job(5, b"-", workload=b"dash 1"),
        job(6, b"-", workload=b"dash 2"),
        job(7, b"x" * 64, workload=b"long"),
        job(8, b"\xff\xfe", workload=b"raw", reducer=b"sum", attempts=3),
        job(9, b"high", workload=b"high", priority=0),
        job(10, b"later", b"other", b"later", when=4_000_000_000),
    ]
    store = store_of(path)
    add(store, *jobs)
    store.close()
    with gearmand_on(path) as server:
        ran = gear.drain(server.port, [b"reverse"])
        assert [one.workload for one in ran] == [b"high", *(one.workload for one in jobs[1:8]), b"\0low"]
        assert [one.unique for one in ran if one.workload in (b"high", b"raw", b"")] == [
            b"high",
            b"normal",
            b"\xff\xfe",
        ]
        gear.submit(server.port, b"reverse", b"new", b"new")
        server.kill()
    store = store_of(path)
    assert [one.workload for one in store.load()] == [b"later", b"new"]
    assert len({one.number for one in store.load()}) == 2
    store.close()


def test_rows_that_only_a_hand_or_an_old_gearmand_writes(path: str, caplog: pytest.LogCaptureFixture) -> None:
    sql(path, "CREATE TABLE gearman_queue (unique_key TEXT, function_name TEXT, priority INTEGER, data BLOB)")
    for row in [
        ("u1", "f", 1, b"fine"),
        ("u2", "f", None, None),
        (None, "f", 0, "text"),
        (7, "f", "2", 12),
        ("u5", None, 1, b"nobody's"),
        ("u6", "", 1, b"nobody's"),
        ("u7", "f", 99, b"odd priority"),
        (b"blob", b"f", 2, b"blobs"),
    ]:
        sql(path, "INSERT INTO gearman_queue VALUES (?,?,?,?)", *row)
    store = store_of(path)
    found = list(store.load())
    assert [(one.unique, one.workload, one.priority, one.when) for one in found] == [
        (b"u1", b"fine", 1, 0),
        (b"u2", b"", 1, 0),
        (b"", b"text", 0, 0),
        (b"7", b"12", 2, 0),
        (b"u7", b"odd priority", 1, 0),
        (b"blob", b"blobs", 2, 0),
    ]
    assert caplog.text.count("has no function name") == 2
    done(store, *found)
    store.close()
    assert len(sql(path, "SELECT * FROM gearman_queue")) == 2


def test_a_column_that_is_added_does_not_stop_gearmand(path: str) -> None:
    sql(path, "CREATE TABLE gearman_queue (unique_key TEXT, function_name TEXT, priority INTEGER, data BLOB)")
    sql(path, "INSERT INTO gearman_queue VALUES ('u', 'f', 1, x'78')")
    store_of(path).close()
    with gearmand_on(path) as server:
        assert gear.drain(server.port, [b"f"]) == [gear.Ran(b"f", b"u", b"x")]


def test_the_table_can_have_another_name(path: str) -> None:
    options = {"libsqlite3-db": path, "libsqlite3-table": 'my "queue"'}
    store = SqliteStore.from_options(options, b"H:test:")
    store.open()
    add(store, job(1, b"u", reducer=b"r"))
    store.close()
    assert sql(path, 'SELECT unique_key FROM "my ""queue"""') == [(b"u",)]


def test_a_plain_job_is_one_row_in_gearmands_form(path: str) -> None:
    store = store_of(path)
    add(store, job(12, b"u", workload=b""))
    types = "typeof(unique_key), typeof(function_name), typeof(priority), typeof(data), typeof(when_to_run)"
    assert sql(path, f"SELECT rowid, {types} FROM gearman_queue") == [
        (12, b"text", b"text", b"integer", b"blob", b"integer")
    ]
    assert sql(path, "SELECT count(*) FROM gearman_queue_geartrain_extra") == [(0,)]
    store.close()


def test_what_gearmand_finished_leaves_nothing_behind(path: str) -> None:
    store = store_of(path)
    add(store, job(1, b"x" * 64), job(2, b"u", attempts=2), job(3, b"kept", attempts=1))
    store.close()
    sql(path, "DELETE FROM gearman_queue WHERE rowid < 3")
    sql(path, "INSERT INTO gearman_queue (rowid, unique_key, function_name, priority, data, when_to_run) "
        "VALUES (2, 'other', 'f', 1, x'00', 0)")  # fmt: skip
    store = store_of(path)
    assert [(one.unique, one.attempts) for one in store.load()] == [(b"other", 0), (b"kept", 1)]
    assert sql(path, "SELECT number FROM gearman_queue_geartrain_extra") == [(3,)]
    store.close()


# -- copies of a file


def test_vacuum_keeps_the_handles(path: str) -> None:
    store = store_of(path)
    jobs = [job(number, b"u%d" % number, attempts=number % 2) for number in range(10, 500, 10)]
    add(store, *jobs)
    store.close()
    sql(path, "DELETE FROM gearman_queue WHERE rowid < 100")
    db = sqlite3.connect(path)
    db.execute("VACUUM")
    db.close()
    store = store_of(path)
    assert list(store.load()) == jobs[9:]
    store.close()


def test_a_dumped_and_restored_file_gets_new_handles_and_loses_nothing(
    path: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = store_of(path)
    jobs = [job(10, b"a"), job(20), job(30, b"-"), job(40, b"x" * 64, reducer=b"r"), job(50, b"e", attempts=4)]
    add(store, *jobs)
    done(store, jobs[0])
    store.close()
    copy = str(tmp_path / "copy.db")
    source, target = sqlite3.connect(path), sqlite3.connect(copy)
    target.executescript("\n".join(source.iterdump()))
    source.close()
    target.close()

    store = store_of(copy)
    found = list(store.load())
    assert "new handles" in caplog.text
    assert [one._replace(number=0, handle=b"") for one in found] == [
        one._replace(number=0, handle=b"") for one in jobs[1:]
    ]
    assert not {one.handle for one in found} & {one.handle for one in jobs}
    done(store, *found[:2])
    store.close()
    store = store_of(copy)
    assert list(store.load()) == found[2:]
    store.close()


# -- two programs on one file


def test_the_second_server_is_told_the_file_and_the_process(path: str, tmp_path: Path) -> None:
    store = store_of(path)
    link = tmp_path / "other-name.db"
    link.symlink_to(path)
    with pytest.raises(StoreLocked, match=rf"{path}.*process {os.getpid()}"):
        store_of(str(link))
    store.close()
    assert not os.path.exists(path + ".lock")
    store_of(str(link)).close()


KILLED = """
    import sys
    from geartrain.stores.base import Batch, StoredJob
    from geartrain.stores.sqlite import SqliteStore
    store = SqliteStore(sys.argv[1], handle_prefix=b"H:test:")
    number = store.open()
    while True:
        jobs = [StoredJob(n, b"H:test:%d" % n, b"reverse", b"", b"x") for n in range(number, number + 10)]
        store.apply(Batch(adds=jobs))
        number += 10
        print(number, flush=True)
"""


def committed_and_killed(path: str) -> list[int]:
    """Lets another process commit for a while, and kills it. Returns the numbers at which its batches ended."""
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(KILLED), path], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        committed = [int(process.stdout.readline()) for _ in range(20)]
        process.send_signal(signal.SIGKILL)
        return committed + [int(line) for line in process.stdout]


def test_kill_9_loses_nothing_and_frees_the_file(path: str) -> None:
    highest = 0
    for _ in range(3):
        committed = committed_and_killed(path)
        assert committed[0] - 10 > highest  # no number of an earlier run again
        store = store_of(path)
        numbers = {one.number for one in store.load()}
        assert set(range(committed[0] - 10, committed[-1])) <= numbers
        highest = max(numbers)
        store.close()


def test_gearmand_and_sqlite3_open_the_file_after_us(path: str) -> None:
    store = store_of(path)
    add(store, job(1, b"u"))
    assert sql(path, "SELECT count(*) FROM gearman_queue") == [(1,)]  # also while it runs
    store.close()
    assert os.listdir(os.path.dirname(path)) == ["queue.db"]


def test_a_locked_file_is_unavailable_until_it_is_free(path: str) -> None:
    store = store_of(path)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable, match=f"{path} is locked by another program"):
        add(store, job(1, b"u"))
    other.execute("ROLLBACK")
    other.close()
    add(store, job(1, b"u"))
    assert list(store.load()) == [job(1, b"u")]
    store.close()


# -- the log


def log_size(path: str) -> int:
    return os.stat(path + "-wal").st_size


def test_commits_do_not_make_the_log_longer(path: str) -> None:
    store = store_of(path)
    size = log_size(path)
    assert 4_000_000 < size < 5_000_000
    for number in range(1, 1500):  # two or three pages each: more than the log holds
        add(store, job(number, b"u%d" % number))
    assert log_size(path) == size
    store.close()
    assert os.listdir(os.path.dirname(path)) == ["queue.db"]


def test_large_batches_may_make_the_log_longer_and_jobs_after_them_do_not(path: str) -> None:
    store = store_of(path)
    size = log_size(path)
    for first in range(1, 20_000, 1000):
        add(store, *(job(number, os.urandom(8)) for number in range(first, first + 1000)))
    add(store, job(29_999, b"u"))  # turns the log back
    longer = log_size(path)
    assert size < longer < 20_000_000
    for number in range(30_000, 31_500):
        add(store, job(number, b"u%d" % number))
    assert log_size(path) == longer
    store.close()


def test_a_killed_servers_log_is_used_again(path: str) -> None:
    sizes = []
    for _ in range(3):
        committed_and_killed(path)
        sizes.append(log_size(path))
    assert max(sizes) == min(sizes)


# -- disks


def test_a_small_disk_is_left_to_the_jobs(small_disk: Callable[[str], Path]) -> None:
    path = str(small_disk("2m") / "queue.db")
    store = store_of(path)
    assert log_size(path) == 0
    stored = [job(number, b"u%d" % number, workload=bytes(1000)) for number in range(1, 500)]
    add(store, *stored)
    assert list(store.load()) == stored
    store.close()


def test_a_full_disk_is_unavailable_until_there_is_room(small_disk: Callable[[str], Path]) -> None:
    disk = small_disk("2m")
    store = store_of(str(disk / "queue.db"))
    filler = disk / "filler"
    stored: list[StoredJob] = []
    with open(filler, "wb") as file:
        file.write(bytes(1_200_000))

    def add_until_full() -> None:
        for number in range(1, 1000):
            one = job(number, b"u%d" % number, workload=os.urandom(10_000))
            add(store, one)
            stored.append(one)

    with pytest.raises(StoreUnavailable, match="disk is full"):
        add_until_full()
    assert len(stored) > 10
    with pytest.raises(StoreUnavailable, match="disk is full"):
        add(store, job(1000, b"again", workload=bytes(100_000)))
    assert list(store.load()) == stored
    filler.unlink()
    eventually(add, store, job(1000, b"u"))
    eventually(done, store, *stored)
    assert [one.unique for one in store.load()] == [b"u"]
    store.close()


def test_a_disk_that_is_full_at_the_start(small_disk: Callable[[str], Path]) -> None:
    disk = small_disk("2m")
    with open(disk / "filler", "wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(100_000))
    store = SqliteStore(str(disk / "queue.db"))
    with pytest.raises(StoreUnavailable):
        store.open()
    (disk / "filler").unlink()
    assert store.open() == 1
    store.close()


def remove_db(path: str) -> None:
    os.unlink(path)


def remove_all(path: str) -> None:
    for name in (path, path + "-wal", path + "-shm", path + ".lock"):
        os.unlink(name)


@pytest.mark.parametrize("remove", [remove_db, remove_all])
def test_a_removed_file_is_written_anew_with_all_its_jobs(
    path: str, remove: Callable[[str], None], caplog: pytest.LogCaptureFixture
) -> None:
    store = store_of(path)
    jobs = [job(number, b"u%d" % number) for number in range(1, 50)]
    add(store, *jobs)
    remove(path)
    services.wait_until(lambda: add(store, job(50, b"more")) is None and os.path.exists(path), "the file is back")
    done(store, jobs[0])
    with pytest.raises(StoreLocked):
        store_of(path)
    assert by_number(store.load()) == [*jobs[1:], job(50, b"more")]
    assert "written anew" in caplog.text
    store.close()
    store = store_of(path)
    assert by_number(store.load()) == [*jobs[1:], job(50, b"more")]
    store.close()


def test_a_file_that_was_exchanged_is_not_written_to(path: str, tmp_path: Path) -> None:
    store = store_of(path)
    add(store, job(1, b"mine"))
    os.rename(path, tmp_path / "aside.db")
    sql(path, OLD_TABLE)

    def refusal() -> str:
        try:
            add(store, job(2, b"more"))
        except StoreUnavailable as exc:
            return str(exc)
        return ""

    services.wait_until(refusal, "the store notices")
    assert f"was exchanged for another file while this server used it. Its jobs are saved in {path}.resc" in refusal()
    assert sql(path, "SELECT name FROM sqlite_master WHERE type = 'table'") == [(b"gearman_queue",)]  # untouched
    os.rename(path + ".rescued", path)
    add(store, job(3, b"back"))
    assert {one.unique for one in store.load()} >= {b"mine", b"back"}
    store.close()


# -- files that cannot be a queue


def test_a_damaged_file_refuses_to_start_and_says_what_to_do(path: str) -> None:
    store = store_of(path)
    add(store, *[job(number, workload=bytes(500)) for number in range(1, 500)])
    store.close()
    with open(path, "r+b") as file:
        file.seek(100)
        file.write(b"\xff" * 8192)
    with pytest.raises(StoreError, match=rf"{path} is damaged.*recover") as caught:
        store_of(path)
    assert not isinstance(caught.value, StoreUnavailable | StoreLocked)


def test_a_file_damaged_while_in_use_is_unavailable_until_a_good_one_is_back(path: str, tmp_path: Path) -> None:
    store = store_of(path)
    add(store, *[job(number, b"u%d" % number, workload=bytes(2000)) for number in range(1, 3000)])
    sql(path, "PRAGMA wal_checkpoint(TRUNCATE)")
    good = Path(path).read_bytes()
    with open(path, "r+b") as file:
        file.write(os.urandom(len(good)))

    def use_it() -> None:
        for number in range(1, 3000):
            done(store, job(number, b"u%d" % number))

    with pytest.raises(StoreUnavailable, match=path):
        use_it()
    with open(path, "r+b") as file:
        file.write(good)
    for leftover in ("-wal", "-shm"):
        Path(path + leftover).unlink(missing_ok=True)
    add(store, job(5000, b"again"))
    assert 5000 in {one.number for one in store.load()}
    store.close()


def test_other_files_and_tables_are_refused(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("this is no database " * 100)
    with pytest.raises(StoreError, match=r"notes\.txt is not an SQLite database"):
        store_of(str(text))
    assert text.read_text() == "this is no database " * 100
    other = str(tmp_path / "other.db")
    sql(other, "CREATE TABLE gearman_queue (name TEXT)")
    with pytest.raises(StoreError, match=r"no Gearman queue.*data"):
        store_of(other)
    with pytest.raises(StoreError, match=r"folder .*/nowhere .*mkdir"):
        store_of(str(tmp_path / "nowhere" / "queue.db"))
    with pytest.raises(StoreError):
        store_of(str(tmp_path))


def test_a_workload_beyond_sqlites_limit_is_rejected(path: str) -> None:
    store = store_of(path)
    store._db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 1_000_000)  # type: ignore[union-attr]
    with pytest.raises(StoreRejected, match="size"):
        add(store, job(1, b"fits"), job(2, b"large", workload=bytes(2_000_000)))
    add(store, job(1, b"fits"))
    assert [one.unique for one in store.load()] == [b"fits"]
    store.close()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "--libsqlite3-db="),
        ({"libsqlite3-db": ":memory:"}, "builtin"),
        ({"libsqlite3-db": "q.db", "libsqlite3-table": ""}, "table"),
        ({"libsqlite3-db": "q.db", "store-queue-on-shutdown": "perhaps"}, "neither"),
    ],
)
def test_wrong_options_are_named(options: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        SqliteStore.from_options(options, b"H:")


def test_store_queue_on_shutdown_is_told_to_the_server(path: str) -> None:
    for value, expected in ((None, False), ("", True), ("yes", True), ("0", False)):
        options = {"libsqlite3-db": path} | ({} if value is None else {"store-queue-on-shutdown": value})
        assert SqliteStore.from_options(options, b"H:").write_on_stop is expected


def test_memory_stays_flat_while_a_large_queue_is_read(path: str) -> None:
    store = store_of(path)
    for start in range(1, 200_000, 5000):
        store.apply(Batch(adds=[job(number, workload=bytes(200)) for number in range(start, start + 5000)]))
    store.close()
    program = """
        import resource, sys
        from geartrain.stores.sqlite import SqliteStore
        store = SqliteStore(sys.argv[1])
        store.open()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        assert sum(1 for _ in store.load()) == 200_000
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    """
    grown = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), path], check=True, capture_output=True, text=True
    ).stdout
    assert int(grown) < 20_000  # KiB; the workloads alone are 40,000
