"""How to reach a MySQL or MariaDB server: gearmand's options, the older ones of Drizzle, and my.cnf.

Owns the reading of settings. Opens no connection.
"""

import configparser
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from glob import escape, glob

from geartrain.errors import ConfigError
from geartrain.stores.options import number, secret

__all__ = ["DRIZZLE_NAMES", "Settings", "settings"]

_FILES = ("/etc/my.cnf", "/etc/mysql/my.cnf", "~/.my.cnf")
_GROUPS = ("client", "gearmand")
"""gearmand asks the C library for the group ``gearmand``; that reads ``client``, too."""
_SOCKETS = ("/run/mysqld/mysqld.sock", "/var/run/mysqld/mysqld.sock", "/var/lib/mysql/mysql.sock", "/tmp/mysql.sock")

DRIZZLE_NAMES: Mapping[str, str] = {
    "libdrizzle-host": "mysql-host",
    "libdrizzle-port": "mysql-port",
    "libdrizzle-uds": "mysql-socket",
    "libdrizzle-user": "mysql-user",
    "libdrizzle-password": "mysql-password",
    "libdrizzle-password-file": "mysql-password-file",
    "libdrizzle-db": "mysql-db",
    "libdrizzle-table": "mysql-table",
}
"""Options of gearmand before 1.0 to those of today."""


@dataclass(frozen=True, slots=True, repr=False)
class Settings:
    """Where the server is and who we are there. Has no repr, so that no log shows the password."""

    host: str
    port: int
    socket: str
    """Path of a unix socket; empty for TCP."""
    user: str
    password: str
    database: str
    table: str


def settings(options: Mapping[str, str], files: Iterable[str] = _FILES) -> Settings:
    """What the options say, and my.cnf where they are silent.

    Raises:
        ConfigError: no database is named, or a value cannot be used.
    """
    found = _from_files(files)
    database = options.get("mysql-db") or found.get("database", "")
    if not database:
        raise ConfigError("The queue type MySQL needs a database: add --mysql-db=NAME.")
    table = options.get("mysql-table", "gearman_queue")
    if not table or "\0" in table or "`" in table:
        raise ConfigError(f"--mysql-table={table} is no name for a table.")
    host = options.get("mysql-host") or found.get("host", "localhost")
    socket = options.get("mysql-socket") or ("" if options.get("mysql-host") else found.get("socket", ""))
    if not socket and host == "localhost" and not options.get("mysql-port"):
        # As MySQL's own library, where localhost is not an address but the server's socket.
        socket = next((path for path in _SOCKETS if os.path.exists(path)), "")
    given_port = options if options.get("mysql-port") else {"mysql-port": found.get("port", "")}
    return Settings(
        host=host,
        port=number(given_port, "mysql-port", 3306),
        socket=socket,
        user=options.get("mysql-user") or found.get("user", "") or os.environ.get("USER", "root"),
        password=secret(options, "mysql-password", "MYSQL_PASSWORD") or found.get("password", ""),
        database=database,
        table=table,
    )


def _from_files(files: Iterable[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in files:
        parser = configparser.RawConfigParser(allow_no_value=True, strict=False, delimiters=("=",))
        parser.optionxform = _option_name  # type: ignore[method-assign,assignment]
        try:
            parser.read_file(_lines(os.path.expanduser(name)), name)
        except configparser.Error as exc:
            raise ConfigError(f"{name} cannot be read: {exc.message.splitlines()[0]}.") from exc
        for group in _GROUPS:
            if parser.has_section(group):
                found.update({key: value.strip("'\"") for key, value in parser.items(group) if value})
    return found


def _option_name(option: str) -> str:
    return option.strip().lower().replace("_", "-")


def _lines(name: str, depth: int = 0) -> Iterator[str]:
    """A file's lines, with those of the files that it includes; none where it cannot be read, as MySQL's library."""
    try:
        with open(name, encoding="utf-8", errors="replace") as file:
            lines = file.readlines()
    except OSError:
        return
    for line in lines:
        word, _, path = line.strip().partition(" ")
        path = path.strip()
        if word == "!include" and depth < 5:
            yield from _lines(path, depth + 1)
        elif word == "!includedir" and depth < 5:
            for included in sorted(glob(os.path.join(escape(path), "*.cnf"))):
                yield from _lines(included, depth + 1)
        elif not word.startswith("!"):
            yield line.lstrip()
