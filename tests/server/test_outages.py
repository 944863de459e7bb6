"""Every queue's service goes away and comes back under load, and our server needs no restart for it.

In each test two clients submit durable jobs and two workers work, while the real service is stopped, killed, cut off,
frozen or full. In the end everything is settled, our server is killed with kill -9, started again and drained: each
job that was acknowledged has run exactly once, and none that was refused.
"""

import contextlib
import os
import resource
import signal
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import psycopg
import pymysql
import pytest
import redis

from tests import services
from tests.server.daemon import daemon
from tests.server.traffic import Traffic
from tests.server.wire import Wire
from tests.services import Service, wait_until
from tests.stores.backends import BACKENDS, Queue, running
from tests.stores.test_faults import cut_mysql, cut_postgres, cut_redis

SERVERS = [name for name, backend in BACKENDS.items() if backend.service]
ALL = ["libsqlite3", *SERVERS, "libtokyocabinet"]
LOADED = "loaded from the queue"


class Scene(NamedTuple):
    """What a test breaks, and on whom."""

    service: Service | None
    """The queue's."""
    server: Service
    """Ours."""
    traffic: Traffic


@contextlib.contextmanager
def scene(name: str, service: Service | None, folder: Path, wait: float, **more: str) -> Iterator[Scene]:
    """Our server on a queue, under load; after the test's own part the account is settled."""
    options = Queue(BACKENDS[name], service, folder).options | more
    arguments = [f"--{option}={value}" for option, value in options.items()]
    with daemon("-q", name, *arguments, f"--store-wait={wait}", "--verbose", "NOTICE") as server:
        is_loaded(server)  # what is refused before may run (docs/design.md)
        with Traffic(server.port) as traffic:
            traffic.flows()
            yield Scene(service, server, traffic)
            traffic.flows()
            traffic.stop()
        server.kill()
        restart(server)
        traffic.drain()
        server.stop()
        restart(server)
        ran = traffic.ran.total()
        traffic.drain()
        assert traffic.ran.total() == ran, "ends of jobs were not stored"
    traffic.check()


def is_loaded(server: Service, times: int = 1) -> None:
    """Waits until a server has loaded its queue so many times."""
    wait_until(lambda: server.output.count(LOADED) >= times, "the queue is loaded")


def restart(server: Service) -> None:
    before = server.output.count(LOADED)
    server.start()
    is_loaded(server, before + 1)


@pytest.mark.parametrize("name", SERVERS)
def test_stopped_for_longer_than_submissions_wait(name: str, tmp_path: Path) -> None:
    """They are refused with the reason; the ends of jobs wait for the service's return."""
    with running(BACKENDS[name]) as service, scene(name, service, tmp_path, 0.3) as it:
        assert service is not None
        service.stop(signal.SIGINT if name == "Postgres" else signal.SIGTERM)  # which waits for its clients
        it.traffic.finish(20)
        reason = it.traffic.is_refused()
        assert reason.startswith("The job was not stored: ")
        assert str(service.port) in reason or "terminating connection" in reason or "closed" in reason, reason
        service.start()


@pytest.mark.parametrize("name", SERVERS)
def test_killed_and_started_at_once(name: str, tmp_path: Path) -> None:
    """Submissions wait, nobody is refused."""
    with running(BACKENDS[name]) as service, scene(name, service, tmp_path, 20) as it:
        assert service is not None
        service.kill()
        it.traffic.finish(5)
        service.start()
        it.traffic.flows(7)
        assert not it.traffic.refused


@pytest.mark.parametrize("name", SERVERS)
def test_frozen(name: str, tmp_path: Path) -> None:
    """It keeps its connections and answers nothing: those who wait too long are refused, and what was refused does
    not run, although the service may have written it."""
    with running(BACKENDS[name]) as service, scene(name, service, tmp_path, 0.3) as it:
        assert service is not None
        service.freeze()
        it.traffic.is_refused()
        it.traffic.finish(10)
        service.thaw()


@pytest.mark.parametrize(("name", "cut"), [("Postgres", cut_postgres), ("MySQL", cut_mysql), ("redis", cut_redis)])
def test_connections_cut(name: str, cut: Callable[[Service], None], tmp_path: Path) -> None:
    with running(BACKENDS[name]) as service, scene(name, service, tmp_path, 20) as it:
        assert service is not None
        for _ in range(4):
            cut(service)
            it.traffic.flows(7)
        assert not it.traffic.refused


@pytest.mark.parametrize("name", ALL)
def test_both_killed(name: str, tmp_path: Path) -> None:
    """Our server and the service at the same time, in the middle of it all. What runs twice had ended unrecorded."""
    backend = BACKENDS[name]
    if backend.forgets:
        pytest.skip("memcached and this server are the only two places of a job")
    with running(backend) as service:
        options = [f"--{option}={value}" for option, value in Queue(backend, service, tmp_path).options.items()]
        with daemon("-q", name, *options, "--verbose", "NOTICE") as server:
            with Traffic(server.port) as traffic:
                traffic.flows()
                server.kill()
                if service is not None:
                    service.kill()
                traffic.stop(cut_off=True)
            if service is not None:
                service.start()
            restart(server)
            with Traffic(server.port) as again:
                again._next = traffic._next
                again.flows()
                again.stop()
            again.drain()
        again.acknowledged |= traffic.acknowledged
        again.ran += traffic.ran
        again.check(exactly_once=False)
        twice = sum(times > 1 for times in again.ran.values())
        assert twice <= 60, f"{twice} jobs ran twice: more than can have been on their way"


# -- services without persistence


def forgetful(name: str) -> contextlib.AbstractContextManager[Service]:
    """Its service, which keeps everything in memory."""
    make = BACKENDS[name].service
    assert make is not None
    return services.redis("--appendonly", "no") if name == "redis" else make()


@pytest.mark.parametrize("name", ["redis", "libmemcached"])
def test_came_back_empty(name: str, tmp_path: Path) -> None:
    """What was stored is in our server's memory, and written again: it outlives our server, too."""
    with contextlib.ExitStack() as stack:
        service = stack.enter_context(forgetful(name))
        it = stack.enter_context(scene(name, service, tmp_path, 20))
        service.kill()
        service.start()
        it.traffic.flows()
        wait_until(lambda: "has come back empty" in it.server.output, "the log says it")
        service.kill()  # once more, in the middle of writing again
        service.start()
        assert not it.traffic.refused


@pytest.mark.parametrize("name", ["redis", "libmemcached"])
def test_came_back_empty_while_nobody_asked(name: str, tmp_path: Path) -> None:
    """A server without work looks after its queue by itself."""
    with contextlib.ExitStack() as stack:
        service = stack.enter_context(forgetful(name))
        options = [f"--{option}={value}" for option, value in Queue(BACKENDS[name], service, tmp_path).options.items()]
        server = stack.enter_context(daemon("-q", name, *options, "--verbose", "NOTICE"))
        with Traffic(server.port) as traffic:
            traffic.flows()
            traffic.stop()
        service.kill()
        service.start()
        wait_until(lambda: "has come back empty" in server.output, "the server notices")
        with Wire(server.port) as peer:
            traffic.settle(peer)  # stored with them, or after them
        server.kill()
        restart(server)
        traffic.drain()
        traffic.check()


# -- no room


def test_sqlite_has_no_room(tmp_path: Path) -> None:
    with scene("libsqlite3", None, tmp_path, 0.3) as it:
        size = max(path.stat().st_size for path in tmp_path.glob("*.db*"))
        resource.prlimit(it.server.pid, resource.RLIMIT_FSIZE, (size + 300_000, resource.RLIM_INFINITY))
        assert "disk" in it.traffic.fill(20_000)
        it.traffic.finish(10)
        resource.prlimit(it.server.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def test_sqlite_is_locked_by_somebody(tmp_path: Path) -> None:
    with scene("libsqlite3", None, tmp_path, 0.3) as it:
        (path,) = tmp_path.glob("*.db")
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
            db.execute("BEGIN IMMEDIATE")
            it.traffic.finish(10)
            assert it.traffic.is_refused()
            db.execute("ROLLBACK")


def test_tokyo_cabinet_has_no_room(tmp_path: Path, small_disk: Callable[[str], Path]) -> None:
    disk = small_disk("80m")
    with scene("libtokyocabinet", None, disk, 0.3) as it:
        filler = disk / "filler"
        filler.write_bytes(bytes(48 << 20))
        assert "the disk is full" in it.traffic.is_refused()
        it.traffic.finish(10)
        filler.unlink()


def test_tokyo_cabinets_file_is_moved_away_and_back(tmp_path: Path) -> None:
    with scene("libtokyocabinet", None, tmp_path, 0.3) as it:
        (path,) = tmp_path.glob("*.tch")
        path.rename(tmp_path / "aside")
        it.traffic.finish(10)
        assert "Put it back" in it.traffic.is_refused()
        (tmp_path / "aside").rename(path)


def test_postgres_has_no_room(tmp_path: Path, small_disk: Callable[[str], Path]) -> None:
    disk = small_disk("6m")
    for folder in (tmp_path, *tmp_path.parents):
        if not os.stat(folder).st_mode & 0o001:
            os.chmod(folder, 0o755)
    with running(BACKENDS["Postgres"]) as service:
        assert service is not None
        space = owned(disk / "space", "postgres")
        with psycopg.connect(f"host=127.0.0.1 port={service.port} user=postgres", autocommit=True) as db:
            db.execute(f"CREATE TABLESPACE small LOCATION '{space}'")
            db.execute("ALTER ROLE postgres SET default_tablespace = small")
        filler = disk / "filler"
        filler.write_bytes(bytes(2 << 20))
        with scene("Postgres", service, tmp_path, 0.3) as it:
            assert "No space left" in it.traffic.fill(50_000)
            it.traffic.finish(10)
            filler.unlink()


def test_mysql_has_no_room(tmp_path: Path, small_disk: Callable[[str], Path]) -> None:
    disk = small_disk("16m")
    for folder in (tmp_path, *tmp_path.parents):
        if not os.stat(folder).st_mode & 0o001:
            os.chmod(folder, 0o755)
    with running(BACKENDS["MySQL"]) as service:
        assert service is not None
        space = owned(disk / "space", "mysql")
        with pymysql.connect(host="127.0.0.1", port=service.port, user="root", database="test") as db:
            # As gearmand makes it, but on another disk.
            db.cursor().execute(
                "CREATE TABLE q (unique_key VARBINARY(64), function_name VARBINARY(255), priority INT, data LONGBLOB, "
                f"when_to_run INT, UNIQUE KEY (unique_key, function_name)) DATA DIRECTORY = '{space}'"
            )
        filler = disk / "filler"
        filler.write_bytes(bytes(8 << 20))
        with scene("MySQL", service, tmp_path, 0.3, **{"mysql-table": "q"}) as it:
            assert "full" in it.traffic.fill(200_000)
            it.traffic.finish(10)
            filler.unlink()


def owned(folder: Path, user: str) -> Path:
    folder.mkdir()
    if os.geteuid() == 0:
        subprocess.run(["chown", user, str(folder)], check=True)
    return folder


def test_redis_has_no_room(tmp_path: Path) -> None:
    with running(BACKENDS["redis"]) as service, scene("redis", service, tmp_path, 0.3) as it:
        assert service is not None
        with redis.Redis(port=service.port) as db:
            db.config_set("maxmemory", "1mb")
            assert "maxmemory" in it.traffic.is_refused()
            it.traffic.finish(10)
            db.config_set("maxmemory", "0")


def test_memcached_has_no_room(tmp_path: Path) -> None:
    """Work makes room: nothing else has to be done."""
    with (
        services.memcached("-m", "16", "-f", "4", "-o", "no_modern,lru_crawler") as service,
        scene("libmemcached", service, tmp_path, 0.3) as it,
    ):
        assert "memory" in it.traffic.fill(100_000)
        it.traffic.finish(len(it.traffic.stored) * 2 // 3)


@pytest.mark.parametrize("name", ["MySQL"])
def test_too_large_a_row(name: str, tmp_path: Path) -> None:
    """Only its own submitter hears of it."""
    with services.mariadb("--max-allowed-packet=1M") as service, scene(name, service, tmp_path, 20) as it:
        for _ in range(3):
            assert "max_allowed_packet" in it.traffic.fill(2_000_000)
        assert len(it.traffic.refused) == 3
        assert "trying again" not in it.server.output
