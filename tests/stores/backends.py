"""Every store, each with its real service, for the tests that run over all of them."""

import contextlib
import functools
import itertools
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from geartrain.stores import find
from geartrain.stores.base import Store

from .. import services
from ..services import Service

PREFIX = b"H:test:"

_serial = itertools.count(1)


@dataclass(frozen=True)
class Backend:
    """A queue type and how to reach a fresh queue of it.

    Attributes:
        name: the queue type.
        service: makes its server; None for a file.
        options: of a store over that server (or a folder), for an own, empty queue.
        forgets: the queue is gone with its server.
        locks: it can tell that another server uses the queue.
        keeps_object: the queue is in the store object itself.
        gearmand: the queue type of Debian's gearmand, which has the same options; empty where it has none.
        needs: skips the test where something is not installed; None where the service does that.
        kind: its class, where it is not one of geartrain's own.
    """

    name: str
    service: Callable[[], AbstractContextManager[Service]] | None
    options: Callable[[Service | None, Path, str], Mapping[str, str]]
    forgets: bool = False
    locks: bool = True
    keeps_object: bool = False
    gearmand: str = ""
    needs: Callable[[], None] | None = None
    kind: "type[Store] | None" = None


def _sqlite(service: Service | None, folder: Path, name: str) -> Mapping[str, str]:
    return {"libsqlite3-db": str(folder / f"{name}.db")}


def _postgres(service: Service | None, folder: Path, name: str) -> Mapping[str, str]:
    assert service is not None
    return {
        "libpq-conninfo": f"host=127.0.0.1 port={service.port} user=postgres dbname=postgres",
        "libpq-table": name,
    }


def _mysql(service: Service | None, folder: Path, name: str) -> Mapping[str, str]:
    assert service is not None
    return {
        "mysql-host": "127.0.0.1",
        "mysql-port": str(service.port),
        "mysql-user": "root",
        "mysql-db": "test",
        "mysql-table": name,
    }


def _redis(service: Service | None, folder: Path, name: str) -> Mapping[str, str]:
    assert service is not None
    return {"redis-server": "127.0.0.1", "redis-port": str(service.port), "redis-prefix": f"_{name}_"}


def _memcached(service: Service | None, folder: Path, name: str) -> Mapping[str, str]:
    assert service is not None
    return {"libmemcached-servers": f"127.0.0.1:{service.port}", "libmemcached-prefix": f"{name}_"}


def _tokyocabinet(service: Service | None, folder: Path, name: str) -> Mapping[str, str]:
    return {"libtokyocabinet-file": str(folder / f"{name}.tch")}


def _of_the_guide() -> "type[Store]":
    """The example of docs/adding-a-store.md, which has to keep what the page says."""
    page = Path(__file__).parents[2] / "docs" / "adding-a-store.md"
    names: dict[str, Any] = {"__name__": "geartrain_folder"}
    exec(page.read_text().split("```python\n")[1].split("```")[0], names)
    return cast("type[Store]", names["FolderStore"])


BACKENDS = {
    backend.name: backend
    for backend in [
        Backend("builtin", None, lambda *_: {}, locks=False, keeps_object=True),
        Backend("libsqlite3", None, _sqlite, gearmand="libsqlite3"),
        Backend("Postgres", services.postgres, _postgres, gearmand="Postgres"),
        Backend("MySQL", functools.partial(services.mariadb, "--max-allowed-packet=128M"), _mysql, gearmand="MySQL"),
        Backend("redis", services.redis, _redis, gearmand="redis"),
        # gearmand's library asks for keys in an old way, which finds all of them only without the "modern" lists.
        Backend(
            "libmemcached",
            functools.partial(services.memcached, "-o", "no_modern,lru_crawler"),
            _memcached,
            forgets=True,
            locks=False,
            gearmand="libmemcached",
        ),
        Backend("libtokyocabinet", None, _tokyocabinet, needs=services.tokyocabinet),
        Backend("folder", None, lambda _, folder, name: {"folder-path": str(folder / name)}, kind=_of_the_guide()),
    ]
}


class Queue:
    """One queue, opened as often as a test likes: each `store()` is a server's start."""

    def __init__(self, backend: Backend, service: Service | None, folder: Path) -> None:
        if backend.needs is not None:
            backend.needs()
        self.backend = backend
        self.service = service
        self._kept: Store | None = None
        self.options = dict(backend.options(service, folder, f"q{os.getpid()}_{next(_serial)}"))

    def make(self, prefix: bytes = PREFIX) -> Store:
        """A store that is not open yet."""
        if self._kept is not None:
            return self._kept
        store = (self.backend.kind or find(self.backend.name)).from_options(self.options, prefix)
        self._kept = store if self.backend.keeps_object else None
        return store

    @contextlib.contextmanager
    def gearmand(self) -> Iterator[Service]:
        """Debian's gearmand on this queue."""
        arguments = [f"--{name}={value}" for name, value in self.options.items()]
        with services.gearmand("-q", self.backend.gearmand, *arguments) as server:
            yield server

    @contextlib.contextmanager
    def store(self, prefix: bytes = PREFIX) -> Iterator[Store]:
        """An open store."""
        store = self.make(prefix)
        store.open()
        try:
            yield store
        finally:
            store.close()


@contextlib.contextmanager
def running(backend: Backend) -> Iterator[Service | None]:
    """The backend's service."""
    if backend.service is None:
        yield None
    else:
        with backend.service() as service:
            yield service


__all__ = ["BACKENDS", "PREFIX", "Backend", "Queue", "running", "services"]
