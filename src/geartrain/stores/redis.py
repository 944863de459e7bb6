"""The durable queue in Redis (or Valkey), in gearmand's keys and hashes.

Owns the connection, the lock and the scripts. Where what stands is in redis_layout.py.
"""

import hashlib
import logging
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Final

from geartrain.errors import ConfigError, StoreEmptied, StoreError, StoreLocked, StoreRejected, StoreUnavailable
from geartrain.stores.base import Batch, StoredJob
from geartrain.stores.handles import Prefixes
from geartrain.stores.keys import functions_option
from geartrain.stores.lock import used_meanwhile
from geartrain.stores.numbers import ahead
from geartrain.stores.options import number, secret
from geartrain.stores.redis_layout import RedisLayout

__all__ = ["RedisStore"]

log = logging.getLogger("geartrain.store")

_CONNECT_SECONDS: Final = 5
_ANSWER_SECONDS: Final = 60
_MOST_BYTES: Final = 512 << 20
"""Redis' own limit for one value (proto-max-bulk-len)."""
_LOAD_BYTES: Final = 4 << 20

# All scripts find a job by its number: a job that replaced it under the same key has another one.
# gearmand up to 1.1.15 wrote strings, which have no fields to change: they become hashes then.
_DONE: Final = b"""
for i = 2, #KEYS do
  for _, key in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], KEYS[i], KEYS[i])) do
    redis.call('DEL', key)
    redis.call('ZREM', KEYS[1], key)
  end
end"""
_CHANGE: Final = b"""
for i = 1, #ARGV, 3 do
  for _, key in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], ARGV[i], ARGV[i])) do
    local kind = redis.call('TYPE', key).ok
    if kind == 'string' then
      local data = redis.call('GET', key)
      redis.call('DEL', key)
      redis.call('HSET', key, 'data', data)
    end
    if kind ~= 'none' then redis.call('HSET', key, ARGV[i + 1], ARGV[i + 2]) end
  end
end"""
_FORGET: Final = b"""
for i = 1, #ARGV do
  if redis.call('EXISTS', ARGV[i]) == 0 then redis.call('ZREM', KEYS[1], ARGV[i]) end
end"""
_SCRIPT_ITEMS: Final = 2000
_MOST_KEYS: Final = 50_000
"""In one command. Redis before 7 closes the connection on one of more than a million words."""


class RedisStore:
    """See `Store`. Options: ``redis-server``, ``-port``, ``-socket``, ``-user``, ``-password``, ``-password-file``,
    ``-db``, ``-prefix``, ``-functions``; environment REDIS_PASSWORD and REDIS_PASSWORD_FILE."""

    write_on_stop: ClassVar[bool] = False
    options: ClassVar[Mapping[str, str]] = {
        "redis-server": "the Redis server (default: localhost)",
        "redis-port": "its port (default: 6379)",
        "redis-socket": "its unix socket",
        "redis-user": "the user, where Redis has more than one",
        "redis-password": "the password; better in a file, as other users can read the process list",
        "redis-password-file": "a file with the password",
        "redis-db": "the number of the database (default: 0)",
        "redis-prefix": "what the keys begin with (default: _gear_)",
        "redis-functions": "names of functions with a hyphen, to take over what gearmand 1.1 wrote",
    }

    def __init__(
        self, where: Mapping[str, Any], prefix: bytes, handle_prefix: bytes, functions: tuple[bytes, ...] = ()
    ) -> None:
        import redis

        self._driver = redis
        self._where = where
        self._connection_class = redis.UnixDomainSocketConnection if "path" in where else redis.Connection
        self._prefix = prefix
        self._layout = RedisLayout(prefix, functions, Prefixes({0: handle_prefix}))
        self._handle_prefix = handle_prefix
        self._db: Any = None  # the driver's own types say str where bytes come
        self._queue_id = b""
        self._owner = b""
        self._next = 1
        self._mark = 0

    @classmethod
    def from_options(cls, options: Mapping[str, str], handle_prefix: bytes) -> "RedisStore":
        """See `Store.from_options`."""
        try:
            import redis  # noqa: F401
        except ImportError as exc:
            raise ConfigError("The queue type redis needs the package redis: pip install 'geartrain[redis]'") from exc
        where: dict[str, Any] = {
            "db": number(options, "redis-db", 0, 0, 1_000_000),
            "username": options.get("redis-user") or None,
            "password": secret(options, "redis-password", "REDIS_PASSWORD") or None,
        }
        if options.get("redis-socket"):
            where["path"] = options["redis-socket"]
        else:
            where["host"] = options.get("redis-server") or "localhost"
            where["port"] = number(options, "redis-port", 6379)
            where["socket_keepalive"] = True
        prefix = options.get("redis-prefix", "_gear_").encode()
        return cls(where, prefix, handle_prefix, functions_option(options, "redis-functions"))

    def __str__(self) -> str:
        where = self._where
        place = where.get("path") or f"{where['host']}:{where['port']}"
        return f"Redis at {place}, keys {self._prefix.decode('utf-8', 'replace')}*"

    # -- opening

    def open(self) -> int:
        """See `Store.open`."""
        self._drop()
        self._owner = b""
        try:
            self._open()
            mark, owner = ahead(self._next), uuid.uuid4().bytes
            self._db.mset({self._layout.next: mark, self._layout.owner: owner})
            self._mark, self._owner = mark, owner
        except (self._driver.RedisError, OSError, StoreError) as exc:
            self._drop()
            if isinstance(exc, StoreError):
                raise
            hopeless = isinstance(exc, self._driver.AuthenticationError | self._driver.exceptions.NoPermissionError)
            error = self._translate(exc)
            raise StoreError(str(error)) if hopeless else error from exc
        return self._next

    def _connect(self) -> Any:
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        connected = False

        def once(connection: Any) -> None:
            """The driver would connect again in silence, and the lock would be lost."""
            nonlocal connected
            if connected:
                raise self._driver.ConnectionError("the connection was lost")
            connection.on_connect()
            connected = True

        # One connection for commands and transactions alike: it is the one that has the lock.
        pool = self._driver.ConnectionPool(
            connection_class=self._connection_class, max_connections=1, **self._where, redis_connect_func=once,
            retry=Retry(NoBackoff(), 0), socket_connect_timeout=_CONNECT_SECONDS, socket_timeout=_ANSWER_SECONDS,
        )  # fmt: skip
        return self._driver.Redis.from_pool(pool)

    def _open(self) -> None:
        db = self._db = self._connect()
        self._lock(db)
        persistence = db.info("persistence")
        if persistence.get("aof_enabled") in (0, "0"):
            log.warning(
                "%s keeps no log of its writes: jobs that it has acknowledged are lost when it stops in disorder. "
                "Set appendonly yes and appendfsync always in redis.conf", self,
            )  # fmt: skip
        found: bytes = db.get(self._layout.id) or b""
        if found != self._queue_id and self._queue_id and found:
            raise StoreUnavailable(
                f"{self}: this is not the queue that the server started with. Bring that one back, or restart the "
                "server to begin with this one."
            )
        if self._owner and found and db.get(self._layout.owner) != self._owner:
            raise StoreUnavailable(used_meanwhile(self))
        again, emptied = bool(self._queue_id), bool(self._queue_id and not found)
        if not found:
            found = self._queue_id or uuid.uuid4().bytes
        self._queue_id = found
        next_number = max(int(db.get(self._layout.next) or 1), self._last_number(db) + 1, self._next)
        if not again:
            next_number = self._take_over(db, next_number)
        ranges = {int(first): prefix for first, prefix in db.hgetall(self._layout.ranges).items()}
        if not ranges or ranges[max(ranges)] != self._handle_prefix:
            first = next_number if ranges else 0
            db.hset(self._layout.ranges, str(first), self._handle_prefix)
            ranges[first] = self._handle_prefix
        db.mset({self._layout.id: found, self._layout.next: next_number, self._layout.owner: self._owner})
        self._layout.prefixes = Prefixes(ranges)
        self._next = self._mark = next_number
        if emptied:
            raise StoreEmptied(f"{self} has come back empty.")

    def _lock(self, db: Any) -> None:
        """The lock is the connection's name: it goes with the connection, whatever ends it."""
        name = "geartrain-" + hashlib.sha256(b"%d %b" % (self._where["db"], self._prefix)).hexdigest()[:24]
        try:
            db.client_setname(name)
            mine = int(db.client_id())
            others = [int(one["id"]) for one in db.client_list() if one["name"] == name]
        except self._driver.exceptions.NoPermissionError:
            log.warning("%s: the user may not use CLIENT: a second server would not be kept out", self)
            return
        if min(others, default=mine) < mine:  # of two that start together the older connection stays
            raise StoreLocked(
                f"{self} is in use by another server. Stop it, or give this one a --redis-prefix of its own."
            )

    def _last_number(self, db: Any) -> int:
        last: Any = db.zrange(self._layout.index, -1, -1, withscores=True)
        return int(last[0][1]) if last else 0

    def _take_over(self, db: Any, next_number: int) -> int:
        """Gives a number to every key of gearmand's that has none. Returns the next number."""
        taken = 0
        cursor = 0
        while True:
            cursor, keys = db.scan(cursor, match=self._layout.pattern, count=2000)
            known: Any = db.zmscore(self._layout.index, keys) if keys else []
            new = [key for key, score in zip(keys, known, strict=True) if score is None]
            new = [key for key in new if not key.startswith(self._layout.base)]
            if new:
                moves = db.pipeline(transaction=True)
                for key in new:
                    regular = self._layout.regular(key, next_number)
                    if regular != key:
                        moves.rename(key, regular)
                    moves.zadd(self._layout.index, {regular: next_number})
                    next_number += 1
                moves.set(self._layout.next, next_number)
                moves.execute()
                taken += len(new)
            if not cursor:
                break
        if taken:
            log.info("%s: %d jobs of gearmand taken over", self, taken)
        return next_number

    # -- reading

    def load(self) -> Iterator[StoredJob]:
        """See `Store.load`. In portions by number; a portion is as large as memory allows."""
        try:
            db = self._connect()
            try:
                yield from self._load(db)
            finally:
                db.close()
        except (self._driver.RedisError, OSError) as exc:
            raise StoreUnavailable(str(self._translate(exc))) from exc

    def _load(self, db: Any) -> Iterator[StoredJob]:
        after = 0
        portion = 16
        while True:
            members: Any = db.zrangebyscore(
                self._layout.index, f"({after}", "+inf", start=0, num=portion, withscores=True
            )
            if not members:
                return
            pipe = db.pipeline(transaction=False)
            for key, _ in members:
                pipe.hgetall(key)
            size = 0
            gone = []
            for (key, score), fields in zip(members, pipe.execute(raise_on_error=False), strict=True):
                after = int(score)
                if isinstance(fields, self._driver.ResponseError):  # no hash: gearmand up to 1.1.15
                    plain = db.get(key) if db.type(key) == b"string" else None
                    fields = {} if plain is None else {b"data": plain}
                    if plain is None:
                        log.warning("%s: the key %r is no job: left where it is", self, key)
                        continue
                if not fields:
                    gone.append(key)
                    continue
                job = self._layout.job(key, after, fields)
                if job is None:
                    log.warning("%s: the key %r cannot be understood: left where it is", self, key)
                    continue
                size += len(job.workload) + 100
                yield job
            if gone:  # gearmand has finished them
                db.eval(_FORGET, 1, self._layout.index, *gone)
            portion = min(max(portion * _LOAD_BYTES // max(size, 1), 1), portion * 4, 2000)

    # -- writing

    def apply(self, batch: Batch) -> None:
        """See `Store.apply`. One transaction, sent in one go."""
        for job in batch.adds:
            if len(job.workload) > _MOST_BYTES:
                raise StoreRejected(f"{self}: a job of {len(job.workload)} bytes is above Redis' limit of 512 MiB.")
        try:
            if self._db is None:
                self._open()
                log.warning("%s: connected again", self)
            elif batch.empty and self._db.get(self._layout.id) != self._queue_id:
                self._drop()
                self._open()
            self._write(batch)
        except StoreEmptied:
            raise
        except StoreError as exc:
            self._drop()
            raise exc if isinstance(exc, StoreUnavailable) else StoreUnavailable(str(exc)) from exc
        except (self._driver.RedisError, OSError) as exc:
            self._drop()
            raise self._translate(exc) from exc

    def _write(self, batch: Batch) -> None:
        pipe = self._db.pipeline(transaction=True)
        gone = [key.number for key in batch.dones]
        for start in range(0, len(gone), _SCRIPT_ITEMS):
            portion = gone[start : start + _SCRIPT_ITEMS]
            pipe.eval(_DONE, len(portion) + 1, self._layout.index, *portion)
        if batch.adds:
            self._add(pipe, batch.adds)
        changes: list[Any] = []
        for key, value in batch.attempts.items():
            changes += (key.number, b"attempts", value)
        for key, value in batch.priorities.items():
            changes += (key.number, b"priority", value)
        for start in range(0, len(changes), 3 * _SCRIPT_ITEMS):
            pipe.eval(_CHANGE, 1, self._layout.index, *changes[start : start + 3 * _SCRIPT_ITEMS])
        next_number = batch.unused
        mark = ahead(next_number, self._mark)
        if mark != self._mark:
            pipe.set(self._layout.next, mark)
        if len(pipe):
            pipe.execute()
        self._mark = mark
        self._next = max(self._next, next_number)

    def _add(self, pipe: Any, adds: Sequence[StoredJob]) -> None:
        stale: list[bytes] = []
        members: dict[bytes, int] = {}
        writes: dict[bytes, dict[bytes, Any]] = {}
        for job in adds:
            key, other, fields = self._layout.entry(job)
            stale += (key, other)
            writes.pop(other, None)
            members.pop(other, None)
            writes[key] = fields
            members[key] = job.number
        # What stood there before goes with all its fields, and with its number.
        for start in range(0, len(stale), _MOST_KEYS):
            portion = stale[start : start + _MOST_KEYS]
            pipe.delete(*portion)
            pipe.zrem(self._layout.index, *portion)
        for key, fields in writes.items():
            pipe.hset(key, mapping=fields)
        scores = list(members.items())
        for start in range(0, len(scores), _MOST_KEYS):
            pipe.zadd(self._layout.index, dict(scores[start : start + _MOST_KEYS]))

    def close(self) -> None:
        """See `Store.close`."""
        if self._db is not None:
            try:
                self._db.set(self._layout.next, self._next)
            except (self._driver.RedisError, OSError) as exc:
                log.warning("%s", self._translate(exc))  # the mark is ahead of every number that was given
        self._drop()

    def _drop(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None

    def _translate(self, exc: Exception) -> StoreError:
        text = str(exc).strip().rstrip(".") or type(exc).__name__
        if isinstance(exc, self._driver.exceptions.OutOfMemoryError) or text.startswith("OOM"):
            text = "it is out of memory (maxmemory). Give it more, or let workers empty the queue"
        return StoreUnavailable(f"{self}: {text}.")
