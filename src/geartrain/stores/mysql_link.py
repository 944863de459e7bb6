"""One connection to MySQL or MariaDB: the tables and their statements.

Owns the SQL of this dialect. Raises the driver's errors; what they mean is in mysql.py.
"""

import hashlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from geartrain.errors import StoreError, StoreLocked, StoreRejected
from geartrain.stores.mysql_options import Settings
from geartrain.stores.sql import Link, Row, chunks

if TYPE_CHECKING:
    import pymysql
    from pymysql.cursors import Cursor

__all__ = ["MysqlLink"]

_FETCH_ROWS: Final = 1000
_CASES: Final = 500
_OUR_COLUMNS: Final = ("number", "true_unique", "true_function", "true_when", "handle", "reducer", "attempts")


class _Column(NamedTuple):
    """How gearmand's key columns are kept."""

    type: str
    charset: str
    collation: str

    @property
    def binary(self) -> bool:
        return not self.charset

    @property
    def folds(self) -> bool:
        """Whether it takes upper and lower case for the same."""
        return not self.collation.endswith("_bin")


class MysqlLink(Link):
    """See `Link`."""

    def __init__(self, connection: "pymysql.Connection[Cursor]", where: Settings, name: str) -> None:
        self._db = connection
        self._where = where
        self._name = name
        self._queue = f"`{where.table}`"
        self._jobs = f"`{where.table}_geartrain`"
        self._values = f"`{where.table}_geartrain_values`"
        self._ranges = f"`{where.table}_geartrain_prefixes`"
        self.kind = self._column()
        self.lossy = False
        self.most_bytes = int(self._all("SELECT @@max_allowed_packet")[0][0])

    def _all(self, sql: str, values: Sequence[Any] = ()) -> Sequence[Sequence[Any]]:
        with self._db.cursor() as cursor:
            cursor.execute(sql, values or None)
            return cursor.fetchall()

    def _column(self) -> _Column:
        rows = self._all(
            "SELECT DATA_TYPE, CHARACTER_SET_NAME, COLLATION_NAME FROM information_schema.COLUMNS WHERE "
            "TABLE_SCHEMA = %s AND TABLE_NAME = %s AND COLUMN_NAME = 'unique_key'",
            (self._where.database, self._where.table),
        )
        return _Column(rows[0][0], rows[0][1] or "", rows[0][2] or "") if rows else _Column("varbinary", "", "")

    def _has_lossy_keys(self) -> bool:
        """Whether rows of gearmand's are there with keys that the collation takes for others, too."""

        def changed(column: str) -> str:
            return f"BINARY {column} <> BINARY CONVERT(LOWER({column}) USING ascii) OR {column} LIKE '% '"

        return bool(
            self._all(
                f"SELECT EXISTS (SELECT 1 FROM {self._queue} WHERE unique_key NOT LIKE '9ea27a%' AND "
                f"({changed('unique_key')} OR {changed('function_name')}))"
            )[0][0]
        )

    def prepare(self) -> None:
        """See `Link.prepare`."""
        # Bytes, where gearmand has text: its keys keep their case and need no character set. gearmand does not mind.
        self._all(
            f"CREATE TABLE IF NOT EXISTS {self._queue} (unique_key VARBINARY(64), function_name VARBINARY(255), "
            "priority INT, data LONGBLOB, when_to_run INT, UNIQUE KEY (unique_key, function_name)) ENGINE=InnoDB"
        )
        columns = {str(row[0]).lower() for row in self._all(f"SHOW COLUMNS FROM {self._queue}")}
        missing = {"unique_key", "function_name", "priority", "data"} - columns
        if missing:
            raise StoreError(f"{self._name} is no Gearman queue: it has no column {', '.join(sorted(missing))}.")
        if "when_to_run" not in columns:
            self._all(f"ALTER TABLE {self._queue} ADD COLUMN when_to_run INT")
        lock = hashlib.sha256(f"{self._where.database}.{self._where.table}".encode()).hexdigest()[:32]
        if self._all("SELECT GET_LOCK(%s, 1)", (f"geartrain-{lock}",))[0][0] != 1:
            raise StoreLocked(
                f"{self._name} is in use by another server. Stop it, or give this one a table of its own."
            )
        self.kind = kind = self._column()
        self.lossy = not kind.binary and self._has_lossy_keys()
        # The same kind of columns as gearmand's, so that the index of one serves the keys of the other.
        key = "VARBINARY" if kind.binary else "VARCHAR"
        more = "" if kind.binary else f" CHARACTER SET {kind.charset} COLLATE {kind.collation}"
        self._all(
            f"CREATE TABLE IF NOT EXISTS {self._jobs} (number BIGINT NOT NULL UNIQUE, unique_key {key}(64){more} "
            f"NOT NULL, function_name {key}(255){more} NOT NULL, true_unique VARBINARY(64), true_function BLOB, "
            "true_when BIGINT, handle VARBINARY(255), reducer BLOB, attempts INT NOT NULL, "
            "PRIMARY KEY (unique_key, function_name)) ENGINE=InnoDB"
        )
        self._all(
            f"CREATE TABLE IF NOT EXISTS {self._values} (name VARBINARY(64) PRIMARY KEY, "
            "value VARBINARY(255) NOT NULL) ENGINE=InnoDB"
        )
        self._all(
            f"CREATE TABLE IF NOT EXISTS {self._ranges} (first BIGINT PRIMARY KEY, prefix VARBINARY(255) NOT NULL) "
            "ENGINE=InnoDB"
        )

    def take_over(self, next_number: int) -> None:
        """See `Link.take_over`."""
        same = "q.unique_key = j.unique_key AND q.function_name = j.function_name"
        self._all(f"DELETE j FROM {self._jobs} j LEFT JOIN {self._queue} q ON {same} WHERE q.function_name IS NULL")
        self._all(
            f"INSERT INTO {self._jobs} (number, unique_key, function_name, attempts) "
            "SELECT %s + row_number() OVER () - 1, q.unique_key, q.function_name, 0 "
            f"FROM {self._queue} q LEFT JOIN {self._jobs} j ON {same} "
            "WHERE j.number IS NULL AND q.unique_key IS NOT NULL AND q.function_name <> ''",
            (next_number,),
        )

    def values(self) -> dict[str, bytes]:
        """See `Link.values`."""
        return {name.decode(): value for name, value in self._all(f"SELECT name, value FROM {self._values}")}

    def set_value(self, name: str, value: bytes) -> None:
        """See `Link.set_value`."""
        self._all(f"REPLACE INTO {self._values} (name, value) VALUES (%s, %s)", (name.encode(), value))

    def prefixes(self) -> dict[int, bytes]:
        """See `Link.prefixes`."""
        return {int(row[0]): row[1] for row in self._all(f"SELECT first, prefix FROM {self._ranges}")}

    def add_prefix(self, first: int, prefix: bytes) -> None:
        """See `Link.add_prefix`."""
        self._all(f"REPLACE INTO {self._ranges} (first, prefix) VALUES (%s, %s)", (first, prefix))

    def last_number(self) -> int:
        """See `Link.last_number`."""
        return int(self._all(f"SELECT max(number) FROM {self._jobs}")[0][0] or 0)

    def write(
        self, dones: Sequence[int], rows: Sequence[Row], attempts: Sequence[tuple[int, int]],
        priorities: Sequence[tuple[int, int]], mark: int,
    ) -> None:  # fmt: skip
        """See `Link.write`. In one go, as far as the database server takes that."""
        self._fits(rows)
        same = "q.unique_key = j.unique_key AND q.function_name = j.function_name"
        todo = ["BEGIN"]
        for start in range(0, len(dones), 5000):
            numbers = ", ".join(map(str, dones[start : start + 5000]))
            todo.append(
                f"DELETE q, j FROM {self._jobs} j LEFT JOIN {self._queue} q ON {same} WHERE j.number IN ({numbers})"
            )
        todo.extend(map(self._insert, chunks(rows, self.most_bytes // 4)))
        todo.extend(f"UPDATE {self._jobs} SET attempts = {_case('number', some)}" for some in _portions(attempts))
        prioritize = f"UPDATE {self._queue} q JOIN {self._jobs} j ON {same} SET q.priority = "
        todo.extend(prioritize + _case("j.number", some) for some in _portions(priorities))
        if mark:
            todo.append(f"REPLACE INTO {self._values} (name, value) VALUES ('next_number', '{mark:d}')")
        todo.append("COMMIT")
        if sum(map(len, todo)) < self.most_bytes // 4:  # a character may have four bytes
            todo = ["; ".join(todo)]
        with self._db.cursor() as cursor:
            for sql in todo:
                cursor.execute(sql)
                while cursor.nextset():
                    pass

    def _fits(self, rows: Sequence[Row]) -> None:
        """The server closes the connection on a statement above its limit: better not to send it."""
        for row in rows:
            if len(row.workload) > self.most_bytes // 2:
                size = len(self._filled("%s", (row.workload,))) + 1000
                if size > self.most_bytes:
                    raise StoreRejected(
                        f"{self._name}: a job of {len(row.workload)} bytes is too large for the database server "
                        f"(max_allowed_packet is {self.most_bytes}). Set max_allowed_packet to {2 * size} or more."
                    )

    def _insert(self, rows: Sequence[Row]) -> str:
        """Two statements, filled in one go."""

        def key(value: bytes) -> bytes | str:
            return value if self.kind.binary else value.decode()

        values: list[Any] = []
        for row in rows:
            values += (key(row.unique_key), key(row.function_name), row.priority, row.workload, row.when)
        for row in rows:
            values += (key(row.unique_key), key(row.function_name), row.number, *row[6:])
        theirs = _upsert(self._queue, ("priority", "data", "when_to_run"), len(rows))
        return self._filled(f"{theirs}; {_upsert(self._jobs, _OUR_COLUMNS, len(rows))}", values)

    def _filled(self, sql: str, values: Sequence[Any]) -> str:
        with self._db.cursor() as cursor:
            filled: str = cursor.mogrify(sql, values)
            return filled

    def read(self) -> Iterator[Sequence[Any]]:
        """See `Link.read`."""
        from pymysql.cursors import SSCursor

        def key(column: str) -> str:
            return f"q.{column}" if self.kind.binary else f"CAST(CONVERT(q.{column} USING utf8mb4) AS BINARY)"

        with self._db.cursor(SSCursor) as cursor:
            cursor.execute(
                f"SELECT j.number, {key('unique_key')}, {key('function_name')}, q.priority, q.data, q.when_to_run, "
                "j.true_unique, j.true_function, j.true_when, j.handle, j.reducer, j.attempts "
                f"FROM {self._jobs} j JOIN {self._queue} q ON q.unique_key = j.unique_key AND "
                "q.function_name = j.function_name ORDER BY j.number"
            )
            while rows := cursor.fetchmany(_FETCH_ROWS):
                yield from rows

    def close(self) -> None:
        """See `Link.close`."""
        # Without the farewell: after a broken connection it would wait, and in a load it would read to the end.
        self._db._force_close()  # type: ignore[attr-defined]


def _upsert(table: str, columns: Sequence[str], rows: int) -> str:
    one = f"(%s, %s{', %s' * len(columns)})"
    updates = ", ".join(f"{column} = VALUES({column})" for column in columns)
    return (
        f"INSERT INTO {table} (unique_key, function_name, {', '.join(columns)}) VALUES {','.join([one] * rows)} "
        f"ON DUPLICATE KEY UPDATE {updates}"
    )


def _portions(changes: Sequence[tuple[int, int]]) -> Iterator[Sequence[tuple[int, int]]]:
    """The server goes through all cases for each row: a fleet of workers that vanishes must not take it minutes."""
    for start in range(0, len(changes), _CASES):
        yield changes[start : start + _CASES]


def _case(column: str, changes: Sequence[tuple[int, int]]) -> str:
    cases = " ".join(f"WHEN {number:d} THEN {value:d}" for number, value in changes)
    return f"CASE {column} {cases} END WHERE {column} IN ({', '.join(f'{number:d}' for number, _ in changes)})"
