"""`geartrain queue`: a queue out of one store and into another, whatever happens on the way."""

import gzip
import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from geartrain.cli.geartrain import main
from geartrain.errors import StoreUnavailable
from geartrain.stores import portable
from geartrain.stores.base import Batch, StoredJob
from geartrain.stores.portable import PortableError, Reader
from geartrain.stores.sqlite import SqliteStore
from geartrain.stores.transfer import transfer

from .backends import BACKENDS, Queue
from .test_contract import UNIQUES, add, by_number, job

KINDS = [name for name, backend in BACKENDS.items() if not backend.keeps_object and not backend.kind]


def words(queue: Queue) -> list[str]:
    return [queue.backend.name, *(f"{name}={value}" for name, value in queue.options.items())]


def stored(queue: Queue) -> list[StoredJob]:
    with queue.store() as store:
        return by_number(store.load())


@pytest.fixture
def jobs() -> list[StoredJob]:
    plain = [job(number, unique, workload=b"%d" % number) for number, unique in enumerate(UNIQUES, 1)]
    return [
        *plain,
        job(100, b"all", b"with-hyphen", bytes(range(256)), priority=2, when=2_000_000_000, reducer=b"r", attempts=7),
        StoredJob(101, b"elsewhere:7", b"f", b"own handle", b""),
    ]


def filled(queue: Queue, jobs: Sequence[StoredJob]) -> Queue:
    with queue.store() as store:
        add(store, *jobs)
    return queue


@pytest.mark.parametrize("kind", KINDS)
def test_a_queue_goes_through_a_file_and_every_store(
    kind: str, make_queue: Callable[[str], Queue], jobs: list[StoredJob], tmp_path: Path
) -> None:
    source, middle, target = filled(make_queue("libsqlite3"), jobs), make_queue(kind), make_queue("libsqlite3")
    file = str(tmp_path / "jobs.json.gz")
    assert main(["queue", "copy", "--from", *words(source), "--to", *words(middle)]) == 0
    assert main(["queue", "export", file, "--from", *words(middle)]) == 0
    assert main(["queue", "import", file, "--to", *words(target)]) == 0
    assert stored(source) == stored(middle) == stored(target) == jobs


def test_options_have_short_names_too(
    make_queue: Callable[[str], Queue], jobs: list[StoredJob], tmp_path: Path
) -> None:
    source = filled(make_queue("libsqlite3"), jobs)
    target = str(tmp_path / "other.db")
    argv = ["copy", "--from", "sqlite", f"db={source.options['libsqlite3-db']}", "--to", "sqlite", f"db={target}"]
    assert main(["queue", *argv, "table=jobs"]) == 0
    store = SqliteStore(target, "jobs")
    store.open()
    assert by_number(store.load()) == jobs
    store.close()


def test_moving_takes_the_jobs_away(make_queue: Callable[[str], Queue], jobs: list[StoredJob], tmp_path: Path) -> None:
    source, target = filled(make_queue("libsqlite3"), jobs), make_queue("libtokyocabinet")
    assert main(["queue", "copy", "--move", "--from", *words(source), "--to", *words(target)]) == 0
    assert stored(source) == []
    assert stored(target) == jobs
    file = str(tmp_path / "jobs.json")
    assert main(["queue", "export", "--move", file, "--from", *words(target)]) == 0
    assert stored(target) == []
    assert len(Path(file).read_text().splitlines()) == len(jobs) + 2


def test_again_is_no_harm(
    make_queue: Callable[[str], Queue], jobs: list[StoredJob], capsys: pytest.CaptureFixture[str]
) -> None:
    source, target = filled(make_queue("libsqlite3"), jobs), make_queue("libsqlite3")
    for _ in range(3):
        assert main(["queue", "copy", "--from", *words(source), "--to", *words(target)]) == 0
    assert stored(target) == jobs
    assert f"0 jobs copied; {len(jobs)} were there already" in capsys.readouterr().err


class Breaking:
    """A store that goes away after some batches, half the time with the batch written."""

    def __init__(self, store: SqliteStore, after: int, *, written: bool) -> None:
        self._store, self._left, self._written = store, after, written
        self.load = store.load

    def apply(self, batch: Batch) -> None:
        self._left -= 1
        if self._left > 0 or self._written:
            self._store.apply(batch)
        if self._left <= 0:
            raise StoreUnavailable


@pytest.mark.parametrize("written", [True, False])
def test_broken_off_and_begun_again(tmp_path: Path, written: bool) -> None:
    source, target = SqliteStore(str(tmp_path / "a.db"), handle_prefix=b"H:test:"), SqliteStore(str(tmp_path / "b.db"))
    source_next = source.open()
    jobs = [job(number, (b"", b"u%d" % number, b"-")[number % 3]) for number in range(1, 5001)]
    add(source, *jobs)
    source_next = 5001
    for after in (1, 2, 1):
        target_next = target.open()
        with pytest.raises(StoreUnavailable):
            transfer(
                source.load(), source_next, Breaking(target, after, written=written), target_next, b"H:b:",  # type: ignore[arg-type]
                moved=lambda keys: source.apply(Batch(dones=keys)),
            )  # fmt: skip
        target.close()
    transfer(
        source.load(), source_next, target, target.open(), b"H:b:", moved=lambda keys: source.apply(Batch(dones=keys))
    )
    assert sorted(one.handle for one in target.load()) == sorted(one.handle for one in jobs)
    assert sorted((one.unique, one.handle) for one in target.load()) == sorted((one.unique, one.handle) for one in jobs)
    assert len({one.number for one in target.load()}) == len(jobs)
    assert list(source.load()) == []
    source.close()
    target.close()


def test_two_queues_become_one(make_queue: Callable[[str], Queue], capsys: pytest.CaptureFixture[str]) -> None:
    one = filled(make_queue("libsqlite3"), [job(1, b"a"), job(2), job(3, b"same"), job(4, b"-")])
    two = filled(make_queue("libsqlite3"), [job(1, b"b"), job(2), job(3, b"same"), job(9, b"later")])
    assert main(["queue", "copy", "--merge", "--from", *words(two), "--to", *words(one)]) == 0
    found = stored(one)
    assert sorted(found_job.unique for found_job in found) == [b"", b"", b"-", b"a", b"b", b"later", b"same"]
    assert (
        len({found_job.number for found_job in found}) == len({found_job.handle for found_job in found}) == len(found)
    )
    err = capsys.readouterr().err
    assert "3 jobs copied" in err
    assert "1 are one with a job that waits there" in err
    with one.store() as store:
        assert store.open() > max(found_job.number for found_job in found)


def test_a_queue_in_use_is_refused(
    make_queue: Callable[[str], Queue], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    queue = filled(make_queue("libsqlite3"), [job(1)])
    with queue.store():
        assert main(["queue", "export", str(tmp_path / "x"), "--from", *words(queue)]) == 1
        assert (
            main(["queue", "copy", "--from", *words(filled(make_queue("libsqlite3"), [])), "--to", *words(queue)]) == 1
        )
    err = capsys.readouterr().err
    assert err.count("is in use by another server") == 2
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["export", "f", "--from", "sqlit", "db=x"], "Did you mean"),
        (["export", "f", "--from", "sqlite", "file=x"], "no option 'file'"),
        (["copy", "--from", "sqlite", "db=x", "f", "--to", "sqlite", "db=y"], "stands before"),
        (["export", "f", "--from", "builtin"], "memory"),
        (["import", "/nowhere/f", "--to", "sqlite", "db=x"], "/nowhere/f cannot be read: No such file"),
    ],
)
def test_mistakes_are_named(argv: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["queue", *argv]) in (1, 2)
    assert told in capsys.readouterr().err


def test_a_missing_source_is_no_empty_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = tmp_path / "mistyped.db"
    assert main(["queue", "export", str(tmp_path / "jobs.json"), "--from", "sqlite", f"db={missing}"]) == 2
    assert f"There is no queue file {missing}." in capsys.readouterr().err
    assert not missing.exists()


def test_the_file_can_be_read_by_people(tmp_path: Path) -> None:
    path = str(tmp_path / "jobs.json")
    portable.write(path, [job(1, "prüfen".encode(), workload=b"\xff")], 2)
    lines = Path(path).read_text().splitlines()
    assert json.loads(lines[0]) == {"format": "geartrain-queue", "version": 1, "next_number": 2}
    assert lines[1] == (
        '{"number": 1, "handle": "H:test:1", "function": "reverse", "unique": "prüfen", '
        '"workload": {"base64": "/w=="}, "priority": 1}'
    )
    assert json.loads(lines[2]) == {"jobs": 1}


@pytest.mark.parametrize("name", ["jobs.json", "jobs.json.gz"])
def test_a_file_that_was_cut_off_is_noticed(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    portable.write(str(path), [job(number, workload=os.urandom(1000)) for number in range(1, 50)], 50)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if name.endswith("gz") else whole.rpartition(b'{"jobs"')[0])
    reader = Reader(str(path))
    with pytest.raises(PortableError, match=r"after \d+ jobs|no job"):
        list(reader.jobs())
    reader.close()


@pytest.mark.parametrize(
    "content", [b"", b"hello\n", b"[]\n", b'{"format": "other"}\n', b'{"format": "geartrain-queue", "version": 2}\n']
)
def test_other_files_are_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "file.gz"
    path.write_bytes(gzip.compress(content))
    with pytest.raises(PortableError, match=r"file\.gz"):
        Reader(str(path))


def test_a_pipe_from_one_to_the_other(make_queue: Callable[[str], Queue], jobs: list[StoredJob]) -> None:
    source, target = filled(make_queue("libsqlite3"), jobs), make_queue("libsqlite3")
    program = [sys.executable, "-m", "geartrain.cli.geartrain", "queue"]
    with subprocess.Popen([*program, "export", "-", "--from", *words(source)], stdout=subprocess.PIPE) as export:
        done = subprocess.run(
            [*program, "import", "-", "--to", *words(target)], stdin=export.stdout, check=True, capture_output=True
        )
    assert stored(target) == jobs
    assert f"{len(jobs)} jobs imported".encode() in done.stderr


def test_a_terminal_gets_a_bar(make_queue: Callable[[str], Queue], tmp_path: Path) -> None:
    source = filled(make_queue("libsqlite3"), [job(number) for number in range(1, 5000)])
    control, terminal = pty.openpty()
    program = [sys.executable, "-m", "geartrain.cli.geartrain", "queue", "export", str(tmp_path / "x")]
    with subprocess.Popen(
        [*program, "--from", *words(source)], stderr=terminal, env=os.environ | {"TERM": "xterm"}
    ) as export:
        os.close(terminal)
        seen = b""
        while True:
            try:
                seen += os.read(control, 65536)
            except OSError:  # the other side is closed
                break
    os.close(control)
    assert export.returncode == 0
    assert b"50%" in seen
    assert b"4999 jobs exported from SQLite file" in seen
