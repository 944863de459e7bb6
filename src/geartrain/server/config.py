"""The server's settings: one frozen dataclass.

Owns what a setting is called, its type, its default, and which values go together.
Knows neither where a setting came from (sources.py: flags, environment, file) nor who uses it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, NamedTuple

from geartrain.errors import ConfigError

__all__ = ["COMPATS", "DOORS", "LEVELS", "LOG_FORMATS", "LOOPS", "Address", "Config", "attempts", "parse_address"]

MIB: Final = 1 << 20
COMPATS: Final = ("2.0", "1.1")
LEVELS: Final = ("FATAL", "ALERT", "CRITICAL", "ERROR", "WARNING", "NOTICE", "INFO", "DEBUG")
LOG_FORMATS: Final = ("text", "json")
LOOPS: Final = ("auto", "asyncio", "uvloop")
DOORS: Final = ("open", "token", "off")
_ORIGIN: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/\s]+/?")
MAX_PACKET_LIMIT: Final = (1 << 32) - 1
"""The length in a packet's header has 32 bits."""


class Address(NamedTuple):
    """Where to listen.

    Attributes:
        host: a name or a number; empty for all addresses of both families, or when `path` is set.
        port: 0 for any free one.
        path: of a unix socket; empty for TCP.
    """

    host: str
    port: int
    path: str = ""


def parse_address(text: str, default_port: int) -> Address:
    """Reads one address: ``host``, ``host:port``, ``:port``, ``[::1]:4730``, ``::1`` or ``unix:/path``.

    Raises:
        ConfigError: it is none of these.
    """
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        if not path:
            raise ConfigError(f"The address {text!r} names no path. Write it as unix:/run/gearmand.sock.")
        return Address("", 0, path)
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or not host or (rest and not rest.startswith(":")):
            raise ConfigError(f"The address {text!r} cannot be read. Write IPv6 as [::1]:4730.")
        port = rest[1:]
    elif text.count(":") > 1:
        # Several colons without brackets: an IPv6 address, as gearmand takes it.
        host, port = text, ""
    else:
        host, _, port = text.partition(":")
    if not port:
        return Address(_all_if_star(host), default_port)
    if not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise ConfigError(f"The address {text!r} has no usable port: {port!r} is not a number from 0 to 65535.")
    return Address(_all_if_star(host), int(port))


def _all_if_star(host: str) -> str:
    return "" if host == "*" else host


def attempts(retries: int, compat: str) -> int:
    """How often a job is given to a worker at most (0: no limit), from gearmand's ``--job-retries``.

    gearmand 2.0: -1 is no limit, 0 and 1 are one attempt. gearmand 1.1: 0 is no limit.

    Raises:
        ConfigError: a negative number other than -1.
    """
    if retries < -1:
        raise ConfigError(f"--job-retries cannot be {retries}. Use -1 for no limit, or a number of attempts.")
    if retries == -1:
        return 0
    return retries if compat == "1.1" else max(retries, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Everything that a job server can be told. All times are seconds, all sizes bytes.

    Raises:
        ConfigError: two settings do not go together, or one is out of its range; the text says which.
    """

    listen: tuple[str, ...] = ()
    """As `parse_address` reads them. Empty: all addresses, IPv4 and IPv6."""
    port: int = 4730
    """For the addresses that name none. 0: any free port."""
    backlog: int = 32
    compat: str = "2.0"
    """``2.0`` or ``1.1``: whose order of scheduling."""
    exceptions: bool = False
    """Clients get WORK_EXCEPTION without asking for it."""
    job_retries: int = 0
    """How often a job is given to a worker at most. 0: no limit. See `attempts`."""
    job_handle_prefix: str = ""
    """Empty: ``H:<nodename>``."""
    round_robin: bool = False
    """Matters for ``compat`` 1.1 alone: 2.0 always serves a worker's functions in turn."""
    worker_wakeup: int = 0
    """How many sleeping workers are woken for a job at most. 0: as the server sees fit."""
    keepalive: bool = True
    keepalive_idle: int | None = 120
    """None leaves it to the system, where it is two hours: a dead worker would keep its job that long."""
    keepalive_interval: int | None = 30
    keepalive_count: int | None = 4
    tcp_user_timeout: float = 0.0
    """A peer that does not acknowledge for so long is gone. 0: the system's rule."""
    max_packet: int = 256 * MIB
    max_output: int = 256 * MIB
    """Replies that a peer has not read yet. At the bound it is dropped."""
    max_connections: int = 0
    """0: as many as there are file descriptors."""
    first_packet_timeout: float = 0.0
    """A connection that has sent no whole packet or line by then is closed. 0: it may wait for ever."""
    allow_shutdown: bool = False
    """The text command ``shutdown`` from everywhere, not from this machine alone."""
    ssl: bool = False
    ssl_ca_file: str = ""
    ssl_certificate: str = ""
    ssl_key: str = ""
    ssl_verify_client: bool = False
    queue_type: str = "builtin"
    queue_options: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    """Long option names without dashes, and only those that were set. May hold passwords: never log it."""
    store_wait: float = 10.0
    """How long a submission may wait for the queue before it is answered QUEUE_ERROR."""
    drain_timeout: float = 5.0
    """How long running jobs may go on after SIGTERM."""
    loop: str = "auto"
    """``auto``, ``asyncio`` or ``uvloop``."""
    http: bool = False
    http_host: str = ""
    """Addresses, with commas between. Empty: 127.0.0.1."""
    http_port: int = 8080
    http_names: tuple[str, ...] = ()
    """Further names under which HTTP is asked for. ``*``: any, which opens the door to DNS rebinding."""
    http_origins: tuple[str, ...] = ()
    """Other web pages' origins (``https://example.org``) that may call from the browser."""
    http_read: str = "token"
    """On other addresses than this machine's own: ``open``, ``token`` or ``off``."""
    http_gateway: str = "open"
    """As `http_read`, for calling functions."""
    http_token_file: str = ""
    file_descriptors: int = 0
    """0: as many as the system allows this user."""
    user: str = ""
    daemon: bool = False
    pid_file: str = ""
    log_file: str = "stderr"
    """A path, ``stderr`` or ``none``."""
    log_format: str = "text"
    """``text`` (gearmand's lines) or ``json``."""
    syslog: bool = False
    verbose: str = "ERROR"
    """One of `LEVELS`."""
    coredump: bool = False
    check_args: bool = False
    threads: int = 4
    """Accepted for gearmand's sake; without a meaning here."""
    hashtable_buckets: int = 991
    """Accepted for gearmand's sake; without a meaning here."""

    def __post_init__(self) -> None:
        for text in self.listen:
            parse_address(text, self.port)
        for name, value, values in (
            ("compat", self.compat, COMPATS),
            ("loop", self.loop, LOOPS),
            ("verbose", self.verbose, LEVELS),
            ("log-format", self.log_format, LOG_FORMATS),
            ("http-read", self.http_read, DOORS),
            ("http-gateway", self.http_gateway, DOORS),
        ):
            if value not in values:
                raise ConfigError(f"{name} cannot be {value!r}. It is one of {', '.join(values)}.")
        for origin in self.http_origins:
            if not _ORIGIN.fullmatch(origin):
                raise ConfigError(
                    f"http-origins cannot be {origin!r}. An origin is as https://host or http://host:port."
                )
        for name, port in (("port", self.port), ("http-port", self.http_port)):
            if not 0 <= port <= 65535:
                raise ConfigError(f"{name} cannot be {port}. It is a number from 0 to 65535.")
        if not 0 < self.max_packet <= MAX_PACKET_LIMIT:
            raise ConfigError(f"max-packet cannot be {self.max_packet}. It is from 1 to {MAX_PACKET_LIMIT} bytes.")
        if self.hashtable_buckets <= 0:
            raise ConfigError("hashtable-buckets has to be greater than 0")
        self._check_tls()

    def _check_tls(self) -> None:
        """Half a TLS configuration would mean plain text where the user believes in encryption."""
        files = {
            "ssl-ca-file": self.ssl_ca_file,
            "ssl-certificate": self.ssl_certificate,
            "ssl-key": self.ssl_key,
        }
        if not self.ssl:
            given = [name for name, path in files.items() if path]
            if self.ssl_verify_client:
                given.append("ssl-verify-client")
            if given:
                raise ConfigError(
                    f"{' and '.join(given)} set, but not ssl: the server would speak plain text. "
                    "Add --ssl, or leave the others out."
                )
            return
        missing = [name for name in ("ssl-certificate", "ssl-key") if not files[name]]
        if missing:
            raise ConfigError(f"ssl needs {' and '.join('--' + name for name in missing)} as well.")
        if self.ssl_verify_client and not self.ssl_ca_file:
            raise ConfigError("ssl-verify-client needs --ssl-ca-file: the authorities that sign clients' certificates.")
