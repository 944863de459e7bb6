"""What stands in each database, byte for byte, and what older or other programs have left there."""

import contextlib
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pymysql
import pytest
import redis

from geartrain.errors import ConfigError, StoreEmptied, StoreError, StoreUnavailable
from geartrain.stores import find, names
from geartrain.stores.base import Batch
from geartrain.stores.memcached import MemcachedStore
from geartrain.stores.memcached_wire import Item, Wire, one_at_a_time
from geartrain.stores.mysql_options import settings
from geartrain.stores.surrogate import DASH, EMPTY, OTHER, parse, stand_in, stored_unique
from geartrain.stores.tokyocabinet_library import HashDatabase

from .. import services
from .backends import BACKENDS, PREFIX, Queue
from .test_contract import add, by_number, done, job

MakeQueue = Callable[[str], Queue]


# -- stand-ins


def test_stand_ins_are_uuids_that_grow_with_the_number() -> None:
    numbers = [0, 1, 255, 4711, 2**47, 2**48 - 1, 2**48, 2**63 - 1]
    for kind in (EMPTY, DASH, OTHER):
        found = [stand_in(kind, number) for number in numbers]
        assert {len(one) for one in found} == {36}
        assert found == sorted(found)
        assert [parse(one) for one in found] == [(kind, number) for number in numbers]
    assert stand_in(EMPTY, 4711) == b"9ea27a00-0000-8000-8000-000000001267"
    assert stored_unique(b"plain", 5) == b"plain"
    assert parse(b"9ea27a00-0000-8000-8000-00000000126g") is None
    assert parse(b"9ea27a01-0000-8000-8000-000000001267") is None


# -- PostgreSQL


def postgres(queue: Queue) -> "psycopg.Connection[tuple[object, ...]]":
    return psycopg.connect(queue.options["libpq-conninfo"], autocommit=True)


def test_a_row_in_postgres_is_gearmands(make_queue: MakeQueue) -> None:
    queue = make_queue("Postgres")
    with queue.store() as store, postgres(queue) as db:
        add(store, job(1, b"u", workload=b"\0x", priority=2, when=77), job(2), job(3, b"\xff"))
        rows = db.execute(f"SELECT * FROM {queue.options['libpq-table']} ORDER BY priority DESC, unique_key")
        assert rows.fetchall() == [
            ("u", "reverse", 2, b"\0x", 77),
            ("9ea27a00-0000-8000-8000-000000000002", "reverse", 1, b"x", 0),
            ("9ea27a64-0000-8000-8000-000000000003", "reverse", 1, b"x", 0),
        ]


def test_rows_in_postgres_with_nulls_and_without_a_time(
    make_queue: MakeQueue, caplog: pytest.LogCaptureFixture
) -> None:
    queue = make_queue("Postgres")
    table = queue.options["libpq-table"]
    with postgres(queue) as db:
        db.execute(
            f"CREATE TABLE {table} (unique_key VARCHAR(64), function_name VARCHAR(255), priority INTEGER, data BYTEA, "
            "UNIQUE (unique_key, function_name))"
        )
        db.execute(f"INSERT INTO {table} VALUES ('a', 'f', NULL, NULL), ('b', 'f', 9, 'x'), (NULL, 'f', 1, 'y')")
    with queue.store() as store:
        found = list(store.load())
        assert [(one.unique, one.priority, one.workload, one.when) for one in found] == [
            (b"a", 1, b"", 0),
            (b"b", 1, b"x", 0),
        ]
        done(store, *found)
    with postgres(queue) as db:
        assert db.execute(f"SELECT count(*) FROM {table}").fetchall() == [(1,)]


def test_a_table_without_gearmands_unique_key_is_refused(make_queue: MakeQueue) -> None:
    queue = make_queue("Postgres")
    with postgres(queue) as db:
        db.execute(
            f"CREATE TABLE {queue.options['libpq-table']} (unique_key VARCHAR(64), function_name VARCHAR(255), "
            "priority INTEGER, data BYTEA, when_to_run INTEGER)"
        )
    with pytest.raises(StoreError, match="unique"):
        queue.make().open()


def test_postgres_names_with_a_schema_and_in_capitals(make_queue: MakeQueue) -> None:
    queue = make_queue("Postgres")
    with postgres(queue) as db:
        db.execute("CREATE SCHEMA IF NOT EXISTS jobs")
    queue.options["libpq-table"] = "jobs.Queue"
    with queue.store() as store:
        add(store, job(1, b"u"))
        queue.options["libpq-table"] = 'odd "name"'
        with queue.store() as other:
            add(other, job(2, b"v"))
            assert [one.number for one in other.load()] == [2]
        assert [one.number for one in store.load()] == [1]
    with postgres(queue) as db:
        assert db.execute("SELECT unique_key FROM jobs.queue").fetchall() == [("u",)]


def test_postgres_takes_its_settings_from_the_environment(
    make_queue: MakeQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = make_queue("Postgres")
    assert queue.service is not None
    for name, value in (("PGHOST", "127.0.0.1"), ("PGPORT", str(queue.service.port)), ("PGUSER", "postgres")):
        monkeypatch.setenv(name, value)
    queue.options["libpq-conninfo"] = ""
    with queue.store() as store:
        add(store, job(1))


def test_a_database_in_latin_1(make_queue: MakeQueue) -> None:
    queue = make_queue("Postgres")
    with postgres(queue) as db:
        db.execute("CREATE DATABASE latin ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
    queue.options["libpq-conninfo"] = queue.options["libpq-conninfo"].replace("dbname=postgres", "dbname=latin")
    jobs = [job(1, "é".encode()), job(2, "€".encode(), "ß".encode()), job(3, b"\xe9")]
    with queue.store() as store:
        add(store, *jobs)
        assert by_number(store.load()) == jobs
        done(store, *jobs)
        assert list(store.load()) == []


# -- MySQL


def mysql(queue: Queue, *statements: str) -> list[tuple[object, ...]]:
    assert queue.service is not None
    with pymysql.connect(
        host="127.0.0.1", port=queue.service.port, user="root", database="test", autocommit=True
    ) as db, db.cursor() as cursor:  # fmt: skip
        for statement in statements:
            cursor.execute(statement.replace("TABLE_NAME_", queue.options["mysql-table"]))
        return list(cursor.fetchall())


GEARMANDS_TABLE = (
    "CREATE TABLE TABLE_NAME_ (unique_key VARCHAR(64), function_name VARCHAR(255), priority INT, data LONGBLOB, "
    "when_to_run INT, unique key (unique_key, function_name)) CHARACTER SET "
)


def test_a_row_in_mysql_is_gearmands(make_queue: MakeQueue) -> None:
    queue = make_queue("MySQL")
    with queue.store() as store:
        add(store, job(1, b"u", workload=b"\0x'\\", priority=2, when=77), job(2), job(3, b"\xff"))
        assert mysql(queue, "SELECT * FROM TABLE_NAME_ ORDER BY priority DESC, unique_key") == [
            (b"u", b"reverse", 2, b"\0x'\\", 77),
            (b"9ea27a00-0000-8000-8000-000000000002", b"reverse", 1, b"x", 0),
            (b"\xff", b"reverse", 1, b"x", 0),
        ]


@pytest.mark.parametrize("charset", ["latin1", "utf8mb4", "utf8mb3 COLLATE utf8mb3_bin", "ascii"])
def test_a_table_of_gearmands_in_any_character_set(charset: str, make_queue: MakeQueue) -> None:
    queue = make_queue("MySQL")
    mysql(queue, GEARMANDS_TABLE + charset, "INSERT INTO TABLE_NAME_ VALUES ('Old', 'Wc', 0, 'w', 5)")
    jobs = [
        job(number, unique, function)
        for number, (unique, function) in enumerate(
            [
                (b"a", b"f"), (b"A", b"f"), (b"a", b"F"), (b"a ", b"f"), (b"a", b"f "), ("é".encode(), b"f"),
                (b"e", b"f"), (b"\xff", b"f"), (b"a", "ß".encode()), (b"a", b"ss"), (b"old", b"wc"),
                (b"", b"f"), (b"-", b"F"),
                ("😀".encode(), b"f"), (b"n" * 64, b"f"), (b"plain", b"camelCase"),
            ],
            10,
        )
    ]  # fmt: skip
    with queue.store() as store:
        add(store, *jobs)
    with queue.store() as store:
        found = by_number(store.load())
        assert found[1:] == jobs
        assert found[0][2:] == (b"Wc", b"Old", b"w", 0, 5, b"", 0)
        done(store, *jobs[::2])
        assert by_number(store.load()) == [found[0], *jobs[1::2]]
        done(store, *found)
        assert list(store.load()) == []
    assert mysql(queue, "SELECT count(*) FROM TABLE_NAME_") == [(0,)]


def test_text_that_gearmand_wrote_comes_back_in_its_bytes(make_queue: MakeQueue) -> None:
    queue = make_queue("MySQL")
    mysql(queue, GEARMANDS_TABLE + "latin1", "INSERT INTO TABLE_NAME_ VALUES ('é', 'ß', 0, 'w', NULL)")
    with queue.store() as store:
        (found,) = store.load()
        assert (found.unique, found.function) == ("é".encode(), "ß".encode())


def test_another_table_is_refused(make_queue: MakeQueue) -> None:
    queue = make_queue("MySQL")
    mysql(queue, "CREATE TABLE TABLE_NAME_ (name TEXT)")
    with pytest.raises(StoreError, match="no Gearman queue"):
        queue.make().open()


def test_drizzles_options_are_mysqls(make_queue: MakeQueue) -> None:
    queue = make_queue("MySQL")
    options = {name.replace("mysql-", "libdrizzle-"): value for name, value in queue.options.items()}
    store = find("libdrizzle").from_options(options | {"libdrizzle-mysql": ""}, PREFIX)
    store.open()
    add(store, job(1, b"u"))
    store.close()
    with queue.store() as store:
        assert [one.unique for one in store.load()] == [b"u"]


def test_my_cnf_is_read_as_gearmand_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USER", "somebody")
    included = tmp_path / "conf.d"
    included.mkdir()
    (included / "a.cnf").write_text("[client]\nhost = db1\npassword='secret'\nskip-ssl\n")
    main = tmp_path / "my.cnf"
    main.write_text(f"# MySQL\n!includedir {included}\n[mysqld]\nport=1\n[gearmand]\nport = 3307\nuser=gear\n")
    found = settings({"mysql-db": "jobs"}, [str(main), "/nowhere/my.cnf"])
    assert (found.host, found.port, found.user, found.password, found.socket) == ("db1", 3307, "gear", "secret", "")
    given = {"mysql-db": "jobs", "mysql-host": "db2", "mysql-port": "3308", "mysql-user": "me", "mysql-password": "p"}
    found = settings(given, [str(main)])
    assert (found.host, found.port, found.user, found.password) == ("db2", 3308, "me", "p")
    with pytest.raises(ConfigError, match="--mysql-db"):
        settings({}, [])


# -- redis


@contextlib.contextmanager
def redis_of(queue: Queue) -> Iterator["redis.Redis"]:
    assert queue.service is not None
    with redis.Redis(port=queue.service.port) as db:
        yield db


def test_a_key_in_redis_is_gearmands(make_queue: MakeQueue) -> None:
    queue = make_queue("redis")
    prefix = queue.options["redis-prefix"]
    with queue.store() as store, redis_of(queue) as db:
        add(store, job(1, b"u", workload=b"\0x", priority=2), job(2), job(3, b"later", when=2_000_000_000))
        assert db.hgetall(f"{prefix}-reverse-u") == {
            b"data": b"\0x", b"priority": b"2", b"function": b"reverse", b"unique": b"u",
        }  # fmt: skip
        keys = {key.decode() for key in db.keys(f"{prefix}*")}
        # What gearmand looks at: not the job with a time, it would run it at once.
        assert keys == {f"{prefix}-reverse-u", f"{prefix}-reverse-9ea27a00-0000-8000-8000-000000000002"}


def test_the_three_layouts_of_redis(make_queue: MakeQueue, caplog: pytest.LogCaptureFixture) -> None:
    queue = make_queue("redis")
    queue.options["redis-functions"] = "send-mail, send-mail-now"
    prefix = queue.options["redis-prefix"]
    with redis_of(queue) as db:
        db.set(f"{prefix}-old-u-1", b"plain\0string")  # up to 1.1.15
        db.hset(f"{prefix}-mid-u-2", mapping={"data": b"hash", "priority": "0"})  # 1.1.16 to 1.1.22
        db.hset(f"{prefix}-a-b-c", mapping={"data": b"", "priority": "2", "function": "a-b", "unique": "c"})  # 2.0
        db.hset(f"{prefix}-send-mail-now-u", mapping={"data": b"x", "priority": "1"})
        db.hset(f"{prefix}-f-", mapping={"data": b"empty unique", "priority": "1"})
        db.rpush(f"{prefix}-list-u", b"no job")
        db.set("other", b"somebody else's")
    expected = {
        (b"old", b"u-1", b"plain\0string", 1),
        (b"mid", b"u-2", b"hash", 0),
        (b"a-b", b"c", b"", 2),
        (b"send-mail-now", b"u", b"x", 1),
        (b"f", b"", b"empty unique", 1),
    }
    with queue.store() as store:
        found = list(store.load())
        assert {(one.function, one.unique, one.workload, one.priority) for one in found} == expected
        assert "is no job" in caplog.text
        store.apply(Batch(attempts={one.key: 2 for one in found}, priorities={one.key: 0 for one in found}))
        assert list(store.load()) == [one._replace(attempts=2, priority=0) for one in found]
        done(store, *found)
    with redis_of(queue) as db:
        assert db.keys(f"{prefix}*") == [f"{prefix}-list-u".encode()]
        assert db.get("other") == b"somebody else's"


def test_a_socket_a_password_and_a_database_number(tmp_path: Path) -> None:
    socket = tmp_path / "redis.sock"
    with services.redis("--unixsocket", str(socket), "--requirepass", "pw") as service:
        service.ready = lambda: services.listens(socket)
        services.wait_until(service.ready, "Redis listens on the socket")
        options = {"redis-socket": str(socket), "redis-password": "pw", "redis-db": "3"}
        store = find("redis").from_options(options, PREFIX)
        store.open()
        add(store, job(1, b"u"))
        other = find("redis").from_options(options | {"redis-db": "4"}, PREFIX)
        other.open()  # another queue
        assert list(other.load()) == []
        other.close()
        store.close()


def test_a_redis_that_keeps_no_log_is_told(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    with services.redis("--appendonly", "no") as service:
        queue = Queue(BACKENDS["redis"], service, tmp_path)
        with queue.store() as store:
            add(store, job(1, b"u"))
            assert "appendonly yes" in caplog.text
            service.kill()
            service.start()
            with pytest.raises(StoreUnavailable):  # the connection is gone
                store.apply(Batch())
            with pytest.raises(StoreEmptied, match="come back empty"):
                store.apply(Batch())
            add(store, job(2, b"v"))  # told once


# -- memcached


def test_a_key_in_memcached_is_gearmands(make_queue: MakeQueue) -> None:
    queue = make_queue("libmemcached")
    assert queue.service is not None
    prefix = queue.options["libmemcached-prefix"].encode()
    with queue.store() as store:
        add(store, job(1, b"u", workload=b"\0x", priority=2), job(2, b"-"), job(3, b"later", when=2_000_000_000))
        wire = Wire("127.0.0.1", queue.service.port)
        keys = [key for key in wire.all_keys() if key.startswith(prefix)]
        dash = prefix + b"reverse-9ea27a2d-0000-8000-8000-000000000002"
        assert wire.get_many(keys) == {
            prefix + b"reverse-u": Item(prefix + b"reverse-u", b"\0x", 2),
            dash: Item(dash, b"x", 1),
        }
        wire.close()


def test_what_gearmand_wrote_into_memcached(make_queue: MakeQueue) -> None:
    queue = make_queue("libmemcached")
    assert queue.service is not None
    queue.options["libmemcached-functions"] = "send-mail"
    prefix = queue.options["libmemcached-prefix"].encode()
    wire = Wire("127.0.0.1", queue.service.port)
    wire.set_many(
        [
            Item(prefix + b"f-u-1", b"one", 0),
            Item(prefix + b"send-mail-u", b"two", 2),
            Item(prefix + b"f-", b"", 1),
            Item(prefix + b"nothing", b"no job", 1),
            Item(b"other", b"somebody else's", 1),
        ]
    )
    with queue.store() as store:
        found = list(store.load())
        assert {(one.function, one.unique, one.workload, one.priority) for one in found} == {
            (b"f", b"u-1", b"one", 0),
            (b"send-mail", b"u", b"two", 2),
            (b"f", b"", b"", 1),
        }
        done(store, *found)
    left = {key for key in wire.all_keys() if key.startswith((prefix, b"other"))}
    assert left == {prefix + b"nothing", b"other"}
    wire.close()


def test_jenkins_hash() -> None:
    assert one_at_a_time(b"a") == 0xCA2E9442
    assert one_at_a_time(b"The quick brown fox jumps over the lazy dog") == 0x519E91F5


@pytest.mark.parametrize(
    ("text", "servers"),
    [
        ("m1", [("m1", 11211)]),
        ("m1:1,m2:2", [("m1", 1), ("m2", 2)]),
        ("--SERVER=m1:1 --SERVER=[::1]:2", [("m1", 1), ("::1", 2)]),
    ],
)
def test_lists_of_memcached_servers(text: str, servers: list[tuple[str, int]]) -> None:
    assert MemcachedStore.from_options({"libmemcached-servers": text}, PREFIX)._servers == servers


# -- Tokyo Cabinet


def test_a_record_in_tokyo_cabinet_is_gearmands(make_queue: MakeQueue) -> None:
    queue = make_queue("libtokyocabinet")
    path = queue.options["libtokyocabinet-file"]
    with queue.store() as store:
        add(store, job(1, b"u1", b"fn", b"data"), job(2, b"", b"fn", b"", priority=0, when=77))
    listed = subprocess.run(["tchmgr", "list", "-pv", path], check=True, capture_output=True).stdout
    assert b"fn-u1\tfn\0u1\x0010\0data" in listed
    assert b"fn-9ea27a00-0000-8000-8000-000000000002\tfn\x009ea27a00-0000-8000-8000-000000000002\x00077\0" in listed


def test_a_file_of_gearmands_in_tokyo_cabinet(make_queue: MakeQueue, caplog: pytest.LogCaptureFixture) -> None:
    queue = make_queue("libtokyocabinet")
    queue.options["libtokyocabinet-optimize"] = ""
    database = HashDatabase(queue.options["libtokyocabinet-file"])
    database.put(b"fn-u1", bytes.fromhex("66 6E 00 75 31 00 31 30 00") + b"a\0b")
    database.put(b"a-b-c", b"a-b\0c\x0021900000000\0later")
    database.put(b"fn-", b"fn\0\x0000\0")
    database.put(b"odd", b"no job")
    database.close()
    with queue.store() as store:
        found = list(store.load())
        assert {(one.function, one.unique, one.workload, one.priority, one.when) for one in found} == {
            (b"fn", b"u1", b"a\0b", 1, 0),
            (b"a-b", b"c", b"later", 2, 1_900_000_000),
            (b"fn", b"", b"", 0, 0),
        }
        assert "is no job" in caplog.text
        done(store, *found)
    with queue.store() as store:
        assert list(store.load()) == []


def test_a_tokyo_cabinet_file_that_is_none(tmp_path: Path) -> None:
    services.tokyocabinet()
    path = tmp_path / "queue.tch"
    path.write_bytes(b"this is no hash database " * 100)
    with pytest.raises(StoreError, match="damaged"):
        find("tokyocabinet").from_options({"libtokyocabinet-file": str(path)}, PREFIX).open()


# -- names and drivers


def test_queue_types_are_found_by_any_name_in_any_case() -> None:
    assert find("postgres") is find("POSTGRESQL") is find("libpq")
    assert find("mysql") is find("MySQL") is find("mariadb")
    assert find("sqlite") is find("libsqlite3")
    assert find("valkey") is find("redis")
    assert find("memory") is find("builtin")
    with pytest.raises(ConfigError, match=r"no queue type 'postgre'\. Did you mean Postgres\?"):
        find("postgre")
    for name in names():
        assert find(name).options is not None


@pytest.mark.parametrize(
    ("name", "module", "command"),
    [
        ("Postgres", "psycopg", "pip install 'geartrain\\[postgres\\]'"),
        ("MySQL", "pymysql", "pip install 'geartrain\\[mysql\\]'"),
        ("redis", "redis", "pip install 'geartrain\\[redis\\]'"),
    ],
)
def test_a_missing_driver_is_told_with_the_command_that_installs_it(
    name: str, module: str, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, module, None)
    with pytest.raises(ConfigError, match=command):
        find(name).from_options({"mysql-db": "jobs"}, PREFIX)
