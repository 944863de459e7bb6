"""The durable queue in MySQL or MariaDB, in gearmand's own table; and under the option names of Drizzle.

Owns connecting, which keys can stand in gearmand's columns, and what the errors mean. The SQL is in mysql_link.py,
settings are read in mysql_options.py.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Final

from geartrain.errors import ConfigError, StoreError, StoreRejected, StoreUnavailable
from geartrain.stores.mysql_link import MysqlLink
from geartrain.stores.mysql_options import DRIZZLE_NAMES, Settings, settings
from geartrain.stores.sql import SqlStore, text_key

if TYPE_CHECKING:
    import pymysql
    from pymysql.cursors import Cursor

__all__ = ["DrizzleStore", "MysqlStore"]

_CONNECT_SECONDS: Final = 5
_READ_SECONDS: Final = 60

_REJECTED = frozenset({1153, 1264, 1301, 1366, 1406, 1118})
"""The row is at fault: packet too large, value out of range, result too large, wrong bytes, too long, row too large."""
_HOPELESS = frozenset({1044, 1045, 1046, 1049, 1054, 1064, 1142, 1143, 1146, 1227, 1698})
"""The settings or the table are at fault: access denied, no such database, column, table; syntax."""


class MysqlStore(SqlStore):
    """See `Store`. Options: ``mysql-host``, ``-port``, ``-socket``, ``-user``, ``-password``, ``-password-file``,
    ``-db``, ``-table``; ``[client]`` and ``[gearmand]`` of my.cnf; MYSQL_PASSWORD and MYSQL_PASSWORD_FILE."""

    options: ClassVar[Mapping[str, str]] = {
        "mysql-host": "the database server (default: localhost)",
        "mysql-port": "its port (default: 3306)",
        "mysql-socket": "its unix socket",
        "mysql-user": "the user",
        "mysql-password": "the password; better in a file, as other users can read the process list",
        "mysql-password-file": "a file with the password",
        "mysql-db": "the database",
        "mysql-table": "the table (default: gearman_queue)",
    }

    def __init__(self, where: Settings, handle_prefix: bytes) -> None:
        super().__init__(handle_prefix)
        import pymysql

        self._driver = pymysql
        self._where = where

    @classmethod
    def from_options(cls, options: Mapping[str, str], handle_prefix: bytes) -> "MysqlStore":
        """See `Store.from_options`."""
        try:
            import pymysql  # noqa: F401
        except ImportError as exc:
            raise ConfigError("The queue type MySQL needs the package PyMySQL: pip install 'geartrain[mysql]'") from exc
        return cls(settings(options), handle_prefix)

    def __str__(self) -> str:
        where = self._where
        return f"MySQL at {where.socket or f'{where.host}:{where.port}'}, table {where.database}.{where.table}"

    def connect(self) -> "MysqlLink":
        """See `SqlStore.connect`."""
        from pymysql.constants import CLIENT

        where = self._where
        connection: pymysql.Connection[Cursor] = self._driver.connect(
            host=where.host, port=where.port, unix_socket=where.socket or None, user=where.user,
            password=where.password, database=where.database, charset="utf8mb4", autocommit=True,
            connect_timeout=_CONNECT_SECONDS, read_timeout=_READ_SECONDS, write_timeout=_READ_SECONDS,
            max_allowed_packet=1 << 30, program_name="geartrain", client_flag=CLIENT.MULTI_STATEMENTS,
        )  # fmt: skip
        try:
            return MysqlLink(connection, where, str(self))
        except self._driver.MySQLError:
            connection.close()
            raise

    def plain(self, function: bytes, unique: bytes) -> tuple[bool, bool]:
        """See `SqlStore.plain`. In a table that gearmand made, the usual collation takes ``a`` and ``A`` for the same,
        and ``a`` and ``a `` too: only what no collation changes stands there as it is."""
        link = self._link
        assert isinstance(link, MysqlLink)
        kind = link.kind
        if kind.binary:
            return len(function) <= 255, len(unique) <= 64
        known = text_key(function, 255, utf8=False)
        unchanged = _unchanged(unique, kind.folds) and _unchanged(function, kind.folds)
        return known, known and unchanged and not link.lossy and text_key(unique, 64, utf8=False)

    def translate(self, exc: Exception) -> StoreError | None:
        """See `SqlStore.translate`."""
        if isinstance(exc, StoreError):
            return exc
        if not isinstance(exc, self._driver.MySQLError):
            return StoreUnavailable(f"{self}: {exc}") if isinstance(exc, OSError) else None
        number = exc.args[0] if exc.args else 0
        text = f"{self}: {exc.args[1] if len(exc.args) > 1 else exc}"
        if number in _REJECTED:
            return StoreRejected(text)
        if number in _HOPELESS:
            return StoreError(text)
        return StoreUnavailable(text)


class DrizzleStore(MysqlStore):
    """`MysqlStore` under the options that gearmand had before 1.0: ``libdrizzle-host`` and so on."""

    options: ClassVar[Mapping[str, str]] = {name: f"older name of --{new}" for name, new in DRIZZLE_NAMES.items()} | {
        "libdrizzle-mysql": "accepted and without effect: MySQL's protocol is always used"
    }

    @classmethod
    def from_options(cls, options: Mapping[str, str], handle_prefix: bytes) -> "MysqlStore":
        """See `Store.from_options`. The defaults are those of that time: database gearman, table queue."""
        renamed = {DRIZZLE_NAMES.get(name, name): value for name, value in options.items()}
        return super().from_options({"mysql-db": "gearman", "mysql-table": "queue"} | renamed, handle_prefix)


def _unchanged(value: bytes, folds: bool) -> bool:
    return not value.endswith(b" ") and not (folds and value != value.lower())
