"""The database server goes away and comes back: nothing acknowledged is lost, and the same store goes on."""

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pymysql
import pytest
import redis

from geartrain.errors import ConfigError, StoreError, StoreLocked, StoreRejected, StoreUnavailable
from geartrain.stores import find
from geartrain.stores.base import Batch, Store, StoredJob

from .. import services
from ..services import Service, wait_until
from .backends import BACKENDS, PREFIX, Queue, running
from .test_contract import add, by_number, done, eventually, job

SERVERS = [name for name, backend in BACKENDS.items() if backend.service]
DURABLE = [name for name in SERVERS if not BACKENDS[name].forgets]


@contextlib.contextmanager
def own_queue(name: str, folder: Path) -> Iterator[tuple[Service, Queue]]:
    """A queue on a server that only this test uses."""
    with running(BACKENDS[name]) as service:
        assert service is not None
        yield service, Queue(BACKENDS[name], service, folder)


def fails(store: Store, *jobs: StoredJob) -> StoreUnavailable:
    with pytest.raises(StoreUnavailable) as caught:
        add(store, *jobs)
    return caught.value


@pytest.mark.parametrize("name", SERVERS)
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "killed"])
def test_the_server_is_restarted(name: str, how: int, tmp_path: Path) -> None:
    with own_queue(name, tmp_path) as (service, queue), queue.store() as store:
        add(store, job(1, b"before"), job(2, b"ends"))
        service.stop(how)
        assert str(store) in str(fails(store, job(3, b"after")))
        fails(store, job(3, b"after"))
        service.start()
        eventually(store.apply, Batch(adds=[job(3, b"after")], dones=[job(2, b"ends").key]))
        kept = [] if queue.backend.forgets else [b"before"]
        assert [found.unique for found in store.load()] == [*kept, b"after"]
        store.close()
        with queue.store() as again:
            assert [found.unique for found in again.load()] == [*kept, b"after"]


@pytest.mark.parametrize("name", SERVERS)
def test_the_server_is_not_there_at_the_start(name: str, tmp_path: Path) -> None:
    with own_queue(name, tmp_path) as (service, queue):
        service.stop()
        store = queue.make()
        with pytest.raises(StoreUnavailable):
            store.open()
        with pytest.raises(StoreUnavailable):
            list(store.load())
        service.start()
        wait_until(lambda: opens(store), "the store opens")
        add(store, job(1))
        store.close()


def opens(store: Store) -> bool:
    try:
        return store.open() == 1
    except StoreUnavailable:
        return False


@pytest.mark.parametrize("name", DURABLE)
def test_killed_under_load_nothing_acknowledged_is_lost(name: str, tmp_path: Path) -> None:
    with own_queue(name, tmp_path) as (service, queue), queue.store() as store:
        live: dict[int, StoredJob] = {}
        failures: list[BaseException] = []
        batches = 0
        stop = threading.Event()

        def write() -> None:
            nonlocal batches
            number = 1
            try:
                while not stop.is_set():
                    adds = [
                        job(n, (b"", b"u%d" % n, b"-")[n % 3], workload=b"%d" % n) for n in range(number, number + 20)
                    ]
                    dones = list(live.values())[:15]
                    # The committer's promise: the same batch, until it is written.
                    eventually(store.apply, Batch(adds=adds, dones=[one.key for one in dones]))
                    live.update({one.number: one for one in adds})
                    for one in dones:
                        del live[one.number]
                    number += 20
                    batches += 1
            except BaseException as exc:
                failures.append(exc)

        writer = threading.Thread(target=write)
        writer.start()
        for _ in range(3):
            seen = batches
            wait_until(lambda seen=seen: failures or batches > seen + 10, "batches are written")
            service.kill()
            service.start()
        seen = batches
        wait_until(lambda: failures or batches > seen + 3, "batches are written after the restart", 60)
        stop.set()
        writer.join(60)
        assert not failures
        assert by_number(store.load()) == by_number(live.values())


def cut_postgres(service: Service) -> None:
    with psycopg.connect(f"host=127.0.0.1 port={service.port} user=postgres", autocommit=True) as db:
        db.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'geartrain'")


def cut_mysql(service: Service) -> None:
    with pymysql.connect(host="127.0.0.1", port=service.port, user="root") as db, db.cursor() as cursor:
        cursor.execute("SELECT ID FROM information_schema.PROCESSLIST WHERE ID <> CONNECTION_ID() AND DB = 'test'")
        for (number,) in cursor.fetchall():
            cursor.execute(f"KILL {number}")


def cut_redis(service: Service) -> None:
    with redis.Redis(port=service.port) as db:
        db.client_kill_filter(_type="normal", skipme=True)


@pytest.mark.parametrize(("name", "cut"), [("Postgres", cut_postgres), ("MySQL", cut_mysql), ("redis", cut_redis)])
def test_the_connection_is_cut(name: str, cut: Callable[[Service], None], tmp_path: Path) -> None:
    with own_queue(name, tmp_path) as (service, queue), queue.store() as store:
        add(store, job(1, b"one"))
        for number in range(2, 5):
            cut(service)
            eventually(add, store, job(number, b"u%d" % number))
        with pytest.raises(StoreLocked):  # the new connection has the lock again
            queue.make().open()
        assert [found.number for found in store.load()] == [1, 2, 3, 4]


@pytest.mark.parametrize("name", DURABLE)
def test_a_frozen_server_holds_a_batch_up_and_loses_nothing(name: str, tmp_path: Path) -> None:
    with own_queue(name, tmp_path) as (service, queue), queue.store() as store:
        add(store, job(1, b"one"))
        service.freeze()
        thread = threading.Thread(target=eventually, args=(add, store, job(2, b"two")))
        thread.start()
        thread.join(0.2)
        assert thread.is_alive()
        service.thaw()
        thread.join(60)
        assert not thread.is_alive()
        assert [found.number for found in store.load()] == [1, 2]


@pytest.mark.parametrize("name", DURABLE)
def test_another_server_comes_in_while_this_one_is_cut_off(name: str, tmp_path: Path) -> None:
    """One that is started again and again, say. It runs jobs that the first still has in memory, and takes others that
    the first does not know: the first must not go on as if nothing had been."""
    with own_queue(name, tmp_path) as (service, queue), queue.store() as first:
        add(first, job(1, b"one"))
        service.stop()
        service.start()
        with queue.store() as second:
            done(second, job(1, b"one"))
            add(second, job(2, b"two"))
            fails(first, job(3, b"three"))  # notices that it is cut off
            assert "in use by another server" in str(fails(first, job(3, b"three")))
        assert "restart" in str(fails(first, job(3, b"three")))
        assert "restart" in str(fails(first))
        first.close()
        eventually(first.open)
        assert [found.unique for found in first.load()] == [b"two"]


# -- limits of each server


def test_mysql_refuses_one_large_row_and_names_the_setting(tmp_path: Path) -> None:
    with services.mariadb("--max-allowed-packet=1M") as service:
        queue = Queue(BACKENDS["MySQL"], service, tmp_path)
        with queue.store() as store:
            add(store, job(1, b"fits", workload=os.urandom(400_000)))
            with pytest.raises(StoreRejected, match=r"2000000 bytes.*max_allowed_packet"):
                add(store, job(2, b"small"), job(3, b"large", workload=bytes(2_000_000)))
            add(store, *[job(n, workload=os.urandom(200_000)) for n in range(4, 24)])
            assert [found.number for found in store.load()] == [1, *range(4, 24)]


def test_redis_is_full_until_it_gets_memory(tmp_path: Path) -> None:
    with own_queue("redis", tmp_path) as (service, queue), queue.store() as store, redis.Redis(port=service.port) as db:
        add(store, job(1, b"one"), job(2, b"two"))
        db.config_set("maxmemory", "1mb")
        assert "maxmemory" in str(fails(store, job(3, b"three", workload=bytes(1000))))
        db.config_set("maxmemory", "0")
        add(store, job(3, b"three"))
        done(store, job(1, b"one"))
        assert [found.number for found in store.load()] == [2, 3]


def test_memcached_is_full_until_workers_have_made_room() -> None:
    with services.memcached("-m", "8") as service:
        store = find("memcached").from_options({"libmemcached-servers": f"127.0.0.1:{service.port}"}, PREFIX)
        store.open()
        stored = []

        def fill() -> None:
            for number in range(1, 1000):
                one = job(number, b"u%d" % number, workload=bytes(100_000))
                add(store, one)
                stored.append(one)

        with pytest.raises(StoreUnavailable, match="memory"):
            fill()
        assert len(stored) > 20
        done(store, *stored[:10])
        eventually(add, store, job(2000, b"again", workload=bytes(100_000)))
        assert {found.number for found in store.load()} >= {2000, *(one.number for one in stored[10:])}
        store.close()


def test_memcached_forgets_what_was_refused_while_it_was_full() -> None:
    """A part of the batch was stored before there was no more room: it must not come back."""
    with services.memcached("-m", "8", "-f", "4", "-o", "no_modern,lru_crawler") as service:
        options = {"libmemcached-servers": f"127.0.0.1:{service.port}"}
        store = find("memcached").from_options(options, PREFIX)
        store.open()
        refused = [job(n, b"u%d" % n, workload=b"x" * 100_000) for n in range(1, 301)]
        fails(store, *refused)
        eventually(store.apply, Batch(dones=[one.key for one in refused]))
        store.close()
        again = find("memcached").from_options(options, PREFIX)
        again.open()
        assert list(again.load()) == []
        again.close()


def test_memcached_spreads_its_keys_as_gearmands_library_does() -> None:
    with (
        services.memcached("-o", "no_modern,lru_crawler") as one,
        services.memcached("-o", "no_modern,lru_crawler") as two,
    ):
        servers = f"127.0.0.1:{one.port},127.0.0.1:{two.port}"
        store = find("memcached").from_options({"libmemcached-servers": servers}, PREFIX)
        store.open()
        jobs = [job(number, b"u%d" % number) for number in range(1, 40)]
        add(store, *jobs)
        assert by_number(store.load()) == jobs
        store.close()
        from . import gear

        with services.gearmand("-q", "libmemcached", f"--libmemcached-servers={servers}") as server:
            assert len(gear.drain(server.port, [b"reverse"])) == len(jobs)
        store.open()
        assert list(store.load()) == []  # gearmand has found each key where it looked for it
        store.close()


def test_postgres_has_no_room_until_somebody_makes_some(tmp_path: Path, small_disk: Callable[[str], Path]) -> None:
    disk = small_disk("4m")
    with own_queue("Postgres", tmp_path) as (_, queue):
        for folder in (tmp_path, *tmp_path.parents):
            if not os.stat(folder).st_mode & 0o001:
                os.chmod(folder, 0o755)
        space = disk / "space"
        space.mkdir()
        if os.geteuid() == 0:
            subprocess.run(["chown", "postgres", str(space)], check=True)
        with psycopg.connect(queue.options["libpq-conninfo"], autocommit=True) as db:
            db.execute(f"CREATE TABLESPACE small LOCATION '{space}'")  # type: ignore[arg-type]
            db.execute("ALTER ROLE postgres SET default_tablespace = small")
        with queue.store() as store:
            filler = disk / "filler"
            filler.write_bytes(bytes(1_500_000))
            stored = []

            def fill() -> None:
                for number in range(1, 1000):
                    one = job(number, b"u%d" % number, workload=os.urandom(20_000))
                    add(store, one)
                    stored.append(one)

            with pytest.raises(StoreUnavailable, match="space"):
                fill()
            assert stored
            assert list(store.load()) == stored
            filler.unlink()
            eventually(add, store, job(1000, b"more"))
            done(store, *stored)
            assert [found.unique for found in store.load()] == [b"more"]


def test_redis_stops_on_a_full_disk_and_comes_back(tmp_path: Path, small_disk: Callable[[str], Path]) -> None:
    disk = small_disk("4m")
    with services.redis("--dir", str(disk)) as service:
        queue = Queue(BACKENDS["redis"], service, tmp_path)
        with queue.store() as store:
            filler = disk / "filler"
            filler.write_bytes(bytes(2_000_000))
            stored = []

            def fill() -> None:
                for number in range(1, 1000):
                    one = job(number, b"u%d" % number, workload=os.urandom(20_000))
                    add(store, one)
                    stored.append(one)

            with pytest.raises(StoreUnavailable):
                fill()
            filler.unlink()

            def taken() -> bool:
                if not service.running:  # it ends itself rather than to break its promise
                    service.start()
                try:
                    add(store, job(1000, b"more"))
                except StoreUnavailable:
                    return False
                return True

            wait_until(taken, "there is room again", 30)
            assert {found.number for found in store.load()} >= {1000, *(one.number for one in stored)}


# -- settings

SECRET = "s3cret-Pa55"


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("Postgres", {"libpq-conninfo": "host=127.0.0.1 port={port} user=nobody password=s3cret-Pa55 dbname=postgres"}),
        ("Postgres", {"libpq-conninfo": "postgresql://nobody:s3cret-Pa55@127.0.0.1:{port}/nothing"}),
        ("MySQL", {"mysql-host": "127.0.0.1", "mysql-port": "{port}", "mysql-user": "nobody", "mysql-db": "test",
                   "mysql-password": SECRET}),
        ("redis", {"redis-server": "127.0.0.1", "redis-port": "{port}", "redis-password": SECRET}),
    ],
)  # fmt: skip
def test_a_refusal_names_the_server_and_never_the_password(
    name: str, options: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    with services.redis("--requirepass", "another") if name == "redis" else running(BACKENDS[name]) as service:
        assert service is not None
        given = {key: value.format(port=service.port) for key, value in options.items()}
        store = find(name).from_options(given, PREFIX)
        with pytest.raises(StoreError) as caught:
            store.open()
        store.close()
        told = f"{caught.value} {caught.value.__cause__!r} {store} {store!r} {caplog.text}"
        assert str(service.port) in told
        assert SECRET not in told


def test_a_connection_string_that_cannot_be_read_is_not_quoted() -> None:
    with pytest.raises(ConfigError) as caught:
        find("Postgres").from_options({"libpq-conninfo": f"passwort={SECRET}"}, PREFIX)
    assert SECRET not in str(caught.value)


def test_passwords_come_from_files_and_the_environment(
    make_queue: Callable[[str], Queue], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = make_queue("MySQL")
    assert queue.service is not None
    with pymysql.connect(host="127.0.0.1", port=queue.service.port, user="root") as db, db.cursor() as cursor:
        cursor.execute(f"CREATE OR REPLACE USER 'geartrain'@'%' IDENTIFIED BY '{SECRET}'")
        cursor.execute("GRANT ALL ON test.* TO 'geartrain'@'%'")
    queue.options["mysql-user"] = "geartrain"
    file = tmp_path / "password"
    file.write_text(SECRET + "\n")
    for options, environment in (
        ({"mysql-password-file": str(file)}, {}),
        ({"mysql-password": SECRET}, {}),
        ({}, {"MYSQL_PASSWORD": SECRET}),
        ({}, {"MYSQL_PASSWORD_FILE": str(file)}),
    ):
        with monkeypatch.context() as patch:
            for key, value in environment.items():
                patch.setenv(key, value)
            store = find("MySQL").from_options(queue.options | options, PREFIX)
            store.open()
            store.close()
    with pytest.raises(ConfigError, match="nowhere"):
        find("MySQL").from_options(queue.options | {"mysql-password-file": "/nowhere"}, PREFIX)
