"""The durable queue in PostgreSQL, in gearmand's own table.

Owns the SQL of this dialect and what its errors mean.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, ClassVar, Final

from geartrain.errors import ConfigError, StoreError, StoreLocked, StoreRejected, StoreUnavailable
from geartrain.stores.options import secret
from geartrain.stores.sql import Link, Row, SqlStore, chunks, text_key

if TYPE_CHECKING:
    import psycopg

__all__ = ["PostgresStore"]

_CONNECT_SECONDS: Final = 5
_FETCH_ROWS: Final = 2000

_LIMITS = ("22", "54")
"""Classes of SQLSTATE where the row is at fault: data exception, program limit exceeded."""
_HOPELESS = ("28", "3D", "3F", "42")
"""Where the settings or the table are at fault: authorization, no such database, no such schema, access rule."""


class PostgresStore(SqlStore):
    """See `Store`. Options: ``libpq-conninfo``, ``libpq-table``, ``libpq-password-file``; PG* environment."""

    options: ClassVar[Mapping[str, str]] = {
        "libpq-conninfo": "how to connect, as host=db1 dbname=jobs user=gearman (default: PG* environment)",
        "libpq-table": "the table (default: queue)",
        "libpq-password-file": "a file with the password",
    }

    def __init__(self, conninfo: str, table: str, password: str, handle_prefix: bytes) -> None:
        super().__init__(handle_prefix)
        import psycopg.conninfo

        self._driver = psycopg
        self._conninfo = conninfo
        self._password = password
        self._table = table
        self._utf8 = True
        try:
            parts = psycopg.conninfo.conninfo_to_dict(conninfo)
        except psycopg.Error as exc:
            # Its text may quote what it could not read, a password too.
            raise ConfigError(
                "--libpq-conninfo cannot be read. It is written as host=db1 dbname=jobs user=gearman, or as "
                "postgresql://gearman@db1/jobs."
            ) from exc
        where = f" at {parts['host']}:{parts.get('port', 5432)}" if "host" in parts else ""
        base = f", database {parts['dbname']}" if "dbname" in parts else ""
        self._name = f"PostgreSQL{where}{base}, table {table}"

    @classmethod
    def from_options(cls, options: Mapping[str, str], handle_prefix: bytes) -> "PostgresStore":
        """See `Store.from_options`."""
        try:
            import psycopg  # noqa: F401
        except ImportError as exc:
            raise ConfigError(
                "The queue type Postgres needs the package psycopg: pip install 'geartrain[postgres]'"
            ) from exc
        table = options.get("libpq-table", "queue")
        if not table or "\0" in table or "%" in table:
            raise ConfigError(f"--libpq-table={table} is no name for a table.")
        password = secret(options, "libpq-password", "PGPASSWORD")
        return cls(options.get("libpq-conninfo", ""), table, password, handle_prefix)

    def __str__(self) -> str:
        return self._name

    def connect(self) -> "PostgresLink":
        """See `SqlStore.connect`."""
        more: dict[str, Any] = {"password": self._password} if self._password else {}
        connection = self._driver.connect(
            self._conninfo, autocommit=True, connect_timeout=_CONNECT_SECONDS, application_name="geartrain",
            keepalives_idle=10, keepalives_interval=5, keepalives_count=3, tcp_user_timeout=30_000, **more,
        )  # fmt: skip
        self._utf8 = connection.info.parameter_status("server_encoding") == "UTF8"
        try:
            return PostgresLink(connection, self._table, self._name)
        except self._driver.Error:
            connection.close()
            raise

    def plain(self, function: bytes, unique: bytes) -> tuple[bool, bool]:
        """See `SqlStore.plain`. PostgreSQL compares text byte for byte."""
        return text_key(function, 255, self._utf8), text_key(unique, 64, self._utf8)

    def translate(self, exc: Exception) -> StoreError | None:
        """See `SqlStore.translate`."""
        if isinstance(exc, StoreError):
            return exc
        if not isinstance(exc, self._driver.Error):
            return None
        state = exc.sqlstate or ""
        text = f"{self}: {str(exc).strip()}"
        if state.startswith(_LIMITS):
            return StoreRejected(text)
        if state.startswith(_HOPELESS):
            return StoreError(text)
        return StoreUnavailable(text)


class PostgresLink(Link):
    """See `Link`."""

    def __init__(self, connection: "psycopg.Connection[Any]", table: str, name: str) -> None:
        self._db = connection
        self._name = name
        schema, _, plain = table.rpartition(".")
        self._queue = _quoted(schema, plain)
        self._jobs = _quoted(schema, f"{plain}_geartrain")
        self._values = _quoted(schema, f"{plain}_geartrain_values")
        self._ranges = _quoted(schema, f"{plain}_geartrain_prefixes")
        self._insert, self._insert_one = self._inserts()
        # Another process may have set it to off for the whole server; weaker promises are not ours to make.
        if connection.execute("SHOW synchronous_commit").fetchone() == ("off",):
            connection.execute("SET synchronous_commit TO on")

    def prepare(self) -> None:
        """See `Link.prepare`."""
        db = self._db
        db.execute(
            f"CREATE TABLE IF NOT EXISTS {self._queue} (unique_key VARCHAR(64), function_name VARCHAR(255), "
            "priority INTEGER, data BYTEA, when_to_run INTEGER, UNIQUE (unique_key, function_name))"
        )
        db.execute(f"ALTER TABLE {self._queue} ADD COLUMN IF NOT EXISTS when_to_run INTEGER")
        # By the table's number: one lock for all the names under which it can be reached.
        lock = "SELECT pg_try_advisory_lock((%s::bigint << 32) | %s::regclass::oid::bigint)"
        deadline = monotonic() + _LOCK_WAIT
        while db.execute(lock, (_LOCK, self._queue)).fetchone() != (True,):
            if monotonic() >= deadline:
                raise StoreLocked(
                    f"{self._name} is in use by another server. Stop it, or give this one a table of its own."
                )
            sleep(0.02)
        with db.transaction():
            db.execute(
                f"CREATE TABLE IF NOT EXISTS {self._jobs} (number BIGINT NOT NULL UNIQUE, unique_key VARCHAR(64), "
                "function_name VARCHAR(255), true_unique BYTEA, true_function BYTEA, true_when BIGINT, handle BYTEA, "
                "reducer BYTEA, attempts INTEGER NOT NULL, PRIMARY KEY (unique_key, function_name))"
            )
            db.execute(f"CREATE TABLE IF NOT EXISTS {self._values} (name TEXT PRIMARY KEY, value BYTEA NOT NULL)")
            db.execute(f"CREATE TABLE IF NOT EXISTS {self._ranges} (first BIGINT PRIMARY KEY, prefix BYTEA NOT NULL)")
        # Fails here and now where the table was made by hand without gearmand's unique key.
        db.execute(
            f"INSERT INTO {self._queue} (unique_key) SELECT NULL WHERE false "
            "ON CONFLICT (unique_key, function_name) DO NOTHING"
        )

    def take_over(self, next_number: int) -> None:
        """See `Link.take_over`. The row's place in the table is its age, as near as it can be known."""
        same = "q.unique_key = j.unique_key AND q.function_name = j.function_name"
        with self._db.transaction():
            self._db.execute(
                f"DELETE FROM {self._jobs} j WHERE NOT EXISTS (SELECT 1 FROM {self._queue} q WHERE {same})"
            )
            self._db.execute(
                f"INSERT INTO {self._jobs} (number, unique_key, function_name, attempts) "
                "SELECT %s + row_number() OVER (ORDER BY q.ctid) - 1, q.unique_key, q.function_name, 0 "
                f"FROM {self._queue} q LEFT JOIN {self._jobs} j ON {same} "
                "WHERE j.number IS NULL AND q.unique_key IS NOT NULL AND q.function_name <> ''",
                (next_number,),
            )

    def values(self) -> dict[str, bytes]:
        """See `Link.values`."""
        return dict(self._db.execute(f"SELECT name, value FROM {self._values}").fetchall())

    def set_value(self, name: str, value: bytes) -> None:
        """See `Link.set_value`."""
        self._db.execute(self._upsert_value, (name, value))

    @property
    def _upsert_value(self) -> str:
        return (
            f"INSERT INTO {self._values} (name, value) VALUES (%s, %s) "
            "ON CONFLICT (name) DO UPDATE SET value = excluded.value"
        )

    def prefixes(self) -> dict[int, bytes]:
        """See `Link.prefixes`."""
        return dict(self._db.execute(f"SELECT first, prefix FROM {self._ranges}").fetchall())

    def add_prefix(self, first: int, prefix: bytes) -> None:
        """See `Link.add_prefix`."""
        self._db.execute(
            f"INSERT INTO {self._ranges} (first, prefix) VALUES (%s, %s) "
            "ON CONFLICT (first) DO UPDATE SET prefix = excluded.prefix",
            (first, prefix),
        )

    def last_number(self) -> int:
        """See `Link.last_number`."""
        row = self._db.execute(f"SELECT max(number) FROM {self._jobs}").fetchone()
        return int(row[0] or 0) if row else 0

    def write(
        self, dones: Sequence[int], rows: Sequence[Row], attempts: Sequence[tuple[int, int]],
        priorities: Sequence[tuple[int, int]], mark: int,
    ) -> None:  # fmt: skip
        """See `Link.write`. All statements leave in one go."""
        todo: list[tuple[str, Sequence[Any]]] = []
        if dones:
            todo.append((self._delete, (list(dones),)))
        for chunk in chunks(rows):
            if len(chunk) == 1:
                todo.append((self._insert_one, _values(chunk[0])))
                continue
            columns = list(zip(*chunk, strict=True))
            columns[1] = tuple(key.decode() for key in columns[1])
            columns[2] = tuple(name.decode() for name in columns[2])
            todo.append((self._insert, [list(column) for column in columns]))
        if attempts:
            todo.append((self._set_attempts, [list(column) for column in zip(*attempts, strict=True)]))
        if priorities:
            todo.append((self._set_priorities, [list(column) for column in zip(*priorities, strict=True)]))
        if mark:
            todo.append((self._upsert_value, ("next_number", b"%d" % mark)))
        if len(todo) == 1:
            self._db.execute(*todo[0])
        elif todo:
            with self._db.pipeline(), self._db.transaction():
                for sql, values in todo:
                    self._db.execute(sql, values)

    @property
    def _delete(self) -> str:
        return (
            f"WITH gone AS (DELETE FROM {self._jobs} WHERE number = ANY (%s::bigint[]) "
            f"RETURNING unique_key, function_name) DELETE FROM {self._queue} q USING gone "
            "WHERE q.unique_key = gone.unique_key AND q.function_name = gone.function_name"
        )

    def _inserts(self) -> tuple[str, str]:
        """For many rows, one list for each column; and for one row, which takes two thirds of the time then."""
        queue = ("priority", "data", "when_to_run")
        jobs = ("number", "true_unique", "true_function", "true_when", "handle", "reducer", "attempts")
        kinds = ("bigint", "text", "text", "int", "bytea", "int", "bytea", "bytea", "bigint", "bytea", "bytea", "int")
        many = (
            f"WITH new AS (SELECT * FROM unnest({', '.join(f'%b::{kind}[]' for kind in kinds)}) AS new (number, "
            "unique_key, function_name, priority, data, when_to_run, true_unique, true_function, true_when, handle, "
            f"reducer, attempts)), theirs AS ({_upsert(self._queue, queue, _FROM_NEW)}) "
            f"{_upsert(self._jobs, jobs, _FROM_NEW)}"
        )
        one = (
            f"WITH theirs AS ({_upsert(self._queue, queue, 'VALUES (%s, %s, %s, %b, %s)')}) "
            f"{_upsert(self._jobs, jobs, 'VALUES (%s, %s, %s, %b, %b, %s, %b, %b, %s)')}"
        )
        return many, one

    @property
    def _set_attempts(self) -> str:
        return (
            f"UPDATE {self._jobs} j SET attempts = new.value "
            "FROM unnest(%s::bigint[], %s::int[]) AS new (number, value) WHERE j.number = new.number"
        )

    @property
    def _set_priorities(self) -> str:
        return (
            f"UPDATE {self._queue} q SET priority = new.value "
            f"FROM unnest(%s::bigint[], %s::int[]) AS new (number, value) JOIN {self._jobs} j USING (number) "
            "WHERE q.unique_key = j.unique_key AND q.function_name = j.function_name"
        )

    def read(self) -> Iterator[Sequence[Any]]:
        """See `Link.read`."""
        with self._db.transaction(), self._db.cursor("geartrain_load", binary=True) as cursor:
            cursor.itersize = _FETCH_ROWS
            cursor.execute(
                "SELECT j.number, convert_to(q.unique_key, 'UTF8'), convert_to(q.function_name, 'UTF8'), q.priority, "
                "q.data, q.when_to_run, j.true_unique, j.true_function, j.true_when, j.handle, j.reducer, j.attempts "
                f"FROM {self._jobs} j JOIN {self._queue} q USING (unique_key, function_name) ORDER BY j.number"
            )
            yield from cursor

    def close(self) -> None:
        """See `Link.close`."""
        self._db.close()


_LOCK: Final = int.from_bytes(hashlib.sha256(b"geartrain queue").digest()[:3])
"""Our part of the advisory lock's number; the table's is the other."""
_LOCK_WAIT: Final = 1.0
"""Seconds: PostgreSQL lets go of a lock a moment after the connection of a server that has just stopped."""


_FROM_NEW: Final = "SELECT unique_key, function_name, {} FROM new"


def _upsert(table: str, columns: Sequence[str], source: str) -> str:
    names = ", ".join(columns)
    return (
        f"INSERT INTO {table} (unique_key, function_name, {names}) {source.format(names)} "
        "ON CONFLICT (unique_key, function_name) "
        f"DO UPDATE SET {', '.join(f'{column} = excluded.{column}' for column in columns)}"
    )


def _values(row: Row) -> Sequence[Any]:
    """In the order of the statement for one row."""
    key = (row.unique_key.decode(), row.function_name.decode())
    return (*key, row.priority, row.workload, row.when, *key, row.number, *row[6:])


def _quoted(schema: str, name: str) -> str:
    """gearmand writes the name without quotes, and PostgreSQL then takes it in lower case."""
    parts = [schema, name] if schema else [name]
    folded = [part.lower() if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_$]*", part) else part for part in parts]
    return ".".join('"' + part.replace('"', '""') + '"' for part in folded)
