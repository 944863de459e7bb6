"""The server's options: one table.

Owns every option's names, kind, field in `Config`, environment names, help and age. The flags of `gearmand` and
`geartrain serve`, the environment, the TOML file, the help texts and the table in docs/migrating-from-gearmand.md
all come from it. It must not know where a value came from (sources.py) nor what follows from it (config.py).
"""

import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from geartrain.server.config import COMPATS, DOORS, LEVELS, LOG_FORMATS, LOOPS

__all__ = ["BY_LONG", "BY_SHORT", "CONVERTERS", "NEEDS_NO_VALUE", "OPTIONS", "Option"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One option.

    Attributes:
        group: the heading it stands under in the help.
        long: its name without dashes, also its key in the TOML file.
        short: one letter, or empty.
        kind: a key of `CONVERTERS`.
        field: its field in `Config`. Empty: it belongs to a queue (`Config.queue_options`) or is an action.
        help: one sentence.
        default: as shown in the help; empty when there is none to speak of.
        example: what the printed settings file shows where no default can stand.
        since: the first gearmand that has it, or ``ours``.
        docker: the Docker images of gearmand know it in their environment.
        bare: its name there, where that is not the long name.
        secret: never shown nor logged.
        reads: the option whose value stands in the file that this one names.
        action: what it does at once, instead of setting something.
        idle: why it means nothing here, as a clause. Empty for an option that does.
    """

    group: str
    long: str
    short: str = ""
    kind: str = "text"
    field: str = ""
    help: str
    default: str = ""
    example: str = ""
    since: str = "1.1"
    env: tuple[str, ...] = ()
    docker: bool = False
    bare: str = ""
    secret: bool = False
    reads: str = ""
    action: str = ""
    idle: str = ""

    @property
    def variables(self) -> tuple[str, ...]:
        """Its names in the environment; the first one that is set counts."""
        if self.action:
            return ()
        name = self.long.upper().replace("-", "_")
        twins = (f"GEARMAND_{name}", *((f"GEARMAN_{name}",) if self.docker else ()))
        return self.env or twins

    @property
    def bare_variable(self) -> str:
        """The name without any prefix, as the Docker images have it. Empty for none."""
        return (self.bare or self.long.upper().replace("-", "_")) if self.docker else ""

    @property
    def key(self) -> str:
        """What it sets. Options with the same key replace each other."""
        return self.field or self.reads or self.long

    @property
    def is_queue_option(self) -> bool:
        return not self.field and not self.action


def _whole(text: str) -> int:
    if not text.removeprefix("-").isascii() or not text.removeprefix("-").isdigit():
        raise ValueError(text)
    return int(text)


def _count(text: str) -> int:
    number = _whole(text)
    if number < 0:
        raise ValueError(text)
    return number


def _or_system(text: str) -> int | None:
    """gearmand: -1 leaves it to the system."""
    number = _whole(text)
    return None if number < 0 else number


def _port(text: str) -> int:
    """gearmand gives the text to getaddrinfo, so names of /etc/services are ports too."""
    if text.isascii() and text.isdigit():
        number = int(text)
    else:
        try:
            number = socket.getservbyname(text, "tcp")
        except OSError:
            raise ValueError(text) from None
    if number > 65535:
        raise ValueError(text)
    return number


_UNITS: Final[Mapping[str, int]] = MappingProxyType({"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30})


def _size(text: str) -> int:
    number = text.upper().removesuffix("B").removesuffix("I")
    unit = number[-1:] if number[-1:].isalpha() else ""
    if unit not in _UNITS:
        raise ValueError(text)
    return _count(number.removesuffix(unit)) * _UNITS[unit]


def _seconds(text: str) -> float:
    number = float(text)
    if not 0 <= number < float("inf"):
        raise ValueError(text)
    return number


_BOOLEANS: Final[Mapping[str, bool]] = MappingProxyType(
    {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
)


def _flag(text: str) -> bool:
    try:
        return _BOOLEANS[text.lower()]
    except KeyError:
        raise ValueError(text) from None


def _choice(values: tuple[str, ...], spell: Callable[[str], str]) -> Callable[[str], str]:
    def convert(text: str) -> str:
        if spell(text) not in values:
            raise ValueError(text)
        return spell(text)

    return convert


CONVERTERS: Final[Mapping[str, Callable[[str], object]]] = MappingProxyType(
    {
        "text": str,
        "list": lambda text: tuple(text.replace(",", " ").split()),
        "whole": _whole,
        "count": _count,
        "or-system": _or_system,
        "port": _port,
        "size": _size,
        "seconds": _seconds,
        "flag": _flag,
        "switch": _flag,
        "no": lambda text: not _flag(text),
        "compat": _choice(COMPATS, str),
        "level": _choice(LEVELS, str.upper),
        "loop": _choice(LOOPS, str),
        "log-format": _choice(LOG_FORMATS, str),
        "door": _choice(DOORS, str.lower),
        "protocol": _choice(("http", "none"), str),
    }
)
"""Kind of option to what makes its value of a text. They raise ValueError.

A ``flag`` stands alone on the command line; a ``switch`` may have ``=yes`` or ``=no`` (releases differ there);
a ``no`` sets its field to false; a ``list`` may be given several times.
"""

NEEDS_NO_VALUE: Final = frozenset({"flag", "switch", "no"})

_GENERAL = "General options"
_CONNECTIONS = "Connections"
_SCHEDULING = "Scheduling"
_LOG = "Log"
_TLS = "TLS"
_HTTP = "HTTP"
_QUEUE = "Durable queue"
_LIMITS = "Limits"
_SQLITE = "Queue type libsqlite3"
_POSTGRES = "Queue type postgres"
_MYSQL = "Queue type mysql"
_DRIZZLE = "Queue type libdrizzle (spoken to as mysql)"
_REDIS = "Queue type redis"
_MEMCACHED = "Queue type libmemcached"
_TOKYO = "Queue type libtokyocabinet"
_KEEPALIVE_HELP = "-1 leaves it to the system."

# fmt: off
OPTIONS: Final[tuple[Option, ...]] = (
    Option(group=_GENERAL, long="help", short="h", kind="flag", action="help", help="Print this help and leave."),
    Option(group=_GENERAL, long="version", short="V", kind="flag", action="version", help="Print the version and leave."),
    Option(group=_GENERAL, long="config-file", field="config_file", env=("GEARMAND_CONFIG_FILE",), default="/etc/gearmand.conf if it is there", help="A file with settings: TOML, or gearmand's plain list of arguments."),
    Option(group=_GENERAL, long="check-args", kind="flag", action="check", help="Check all settings and leave: 0 when they are right, 1 with the reason when not."),
    Option(group=_GENERAL, long="print-config", kind="flag", action="print-config", since="ours", help="Print a commented TOML file with the settings in force and leave."),
    Option(group=_GENERAL, long="daemon", short="d", kind="flag", field="daemon", help="Detach and run in the background, once the port is open."),
    Option(group=_GENERAL, long="pid-file", short="P", field="pid_file", default="/var/gearmand.pid", help="Write the process id to this file."),
    Option(group=_GENERAL, long="user", short="u", field="user", example="gearman", help="Run as this user (when started by root)."),
    Option(group=_GENERAL, long="file-descriptors", short="f", kind="count", field="file_descriptors", docker=True, default="all that are allowed", example="65536", help="How many file descriptors to ask the system for; each connection needs one."),
    Option(group=_GENERAL, long="coredump", kind="flag", field="coredump", help="Leave a core file after a crash."),
    Option(group=_GENERAL, long="drain-timeout", kind="seconds", field="drain_timeout", since="ours", default="5", help="Seconds that running jobs may go on after SIGTERM. With none running the server leaves at once."),
    Option(group=_GENERAL, long="loop", kind="loop", field="loop", since="ours", default="auto", help="The event loop: auto and asyncio are Python's own, uvloop is the extra [fast]."),
    Option(group=_GENERAL, long="threads", short="t", kind="whole", field="threads", docker=True, default="4", help="Accepted without a meaning.", idle="one thread serves all connections"),

    Option(group=_CONNECTIONS, long="port", short="p", kind="port", field="port", docker=True, bare="LISTEN_PORT", default="4730", help="The port to listen on. 0 takes any free one."),
    Option(group=_CONNECTIONS, long="listen", short="L", kind="list", field="listen", docker=True, default="all addresses", example="127.0.0.1", help="Where to listen: host, host:port, [::1]:4730 or unix:/path. May be given several times."),
    Option(group=_CONNECTIONS, long="backlog", short="b", kind="count", field="backlog", docker=True, default="32", help="How many connections may wait to be accepted."),
    Option(group=_CONNECTIONS, long="keepalive", kind="flag", field="keepalive", docker=True, default="on", help="Find dead peers by TCP keepalive. On by itself here."),
    Option(group=_CONNECTIONS, long="no-keepalive", kind="no", field="keepalive", since="ours", help="Do not use TCP keepalive."),
    Option(group=_CONNECTIONS, long="keepalive-idle", kind="or-system", field="keepalive_idle", docker=True, default="120", help=f"Seconds of silence before the first probe. {_KEEPALIVE_HELP}"),
    Option(group=_CONNECTIONS, long="keepalive-interval", kind="or-system", field="keepalive_interval", docker=True, default="30", help=f"Seconds between probes. {_KEEPALIVE_HELP}"),
    Option(group=_CONNECTIONS, long="keepalive-count", kind="or-system", field="keepalive_count", docker=True, default="4", help=f"Probes without an answer until the peer is dead. {_KEEPALIVE_HELP}"),
    Option(group=_CONNECTIONS, long="tcp-user-timeout", kind="seconds", field="tcp_user_timeout", since="ours", default="0", help="Seconds that sent bytes may stay without acknowledgement. 0 leaves it to the system."),
    Option(group=_CONNECTIONS, long="allow-shutdown", kind="flag", field="allow_shutdown", since="ours", help="Take the text command shutdown from every address, not from this machine alone."),

    Option(group=_SCHEDULING, long="compat", kind="compat", field="compat", since="ours", default="2.0", help="Whose order of jobs and whose count of retries: gearmand 2.0 or 1.1."),
    Option(group=_SCHEDULING, long="job-retries", short="j", kind="whole", field="job_retries", docker=True, default="-1", help="How often a job is given to a worker before it is dropped. -1: no limit; 0 and 1: once. With --compat 1.1, 0 is no limit."),
    Option(group=_SCHEDULING, long="round-robin", short="R", kind="flag", field="round_robin", docker=True, help="Serve a worker's functions in turn. Always so, except with --compat 1.1."),
    Option(group=_SCHEDULING, long="worker-wakeup", short="w", kind="count", field="worker_wakeup", docker=True, default="0", help="How many sleeping workers to wake for a job at most. 0: as many as there is work for."),
    Option(group=_SCHEDULING, long="exceptions", kind="flag", field="exceptions", help="Send clients WORK_EXCEPTION without being asked to."),
    Option(group=_SCHEDULING, long="job-handle-prefix", field="job_handle_prefix", default="H:<host name>", help="What job handles begin with."),
    Option(group=_SCHEDULING, long="hashtable-buckets", kind="count", field="hashtable_buckets", default="991", help="Accepted without a meaning.", idle="the tables grow by themselves"),

    Option(group=_LIMITS, long="max-packet", kind="size", field="max_packet", since="ours", default="256M", help="The largest packet to accept, in bytes, or with K, M or G."),
    Option(group=_LIMITS, long="max-output", kind="size", field="max_output", since="ours", default="256M", help="Replies kept for a peer that does not read; then it is dropped."),
    Option(group=_LIMITS, long="max-connections", kind="count", field="max_connections", since="ours", default="0", help="How many connections to serve. 0: as the file descriptors allow."),
    Option(group=_LIMITS, long="first-packet-timeout", kind="seconds", field="first_packet_timeout", since="ours", default="0", help="Seconds that a new connection may take for its first packet. 0: for ever."),

    Option(group=_LOG, long="log-file", short="l", field="log_file", default="/var/log/gearmand.log", help="A file, or stderr, or none."),
    Option(group=_LOG, long="verbose", kind="level", field="verbose", docker=True, default="ERROR", help="How much to log: FATAL, ALERT, CRITICAL, ERROR, WARNING, NOTICE, INFO or DEBUG."),
    Option(group=_LOG, long="syslog", kind="flag", field="syslog", help="Log to syslog as well."),
    Option(group=_LOG, long="log-format", kind="log-format", field="log_format", since="ours", default="text", help="text (gearmand's lines) or json (one object in a line)."),

    Option(group=_TLS, long="ssl", kind="flag", field="ssl", help="Speak TLS on the Gearman port, and nothing else."),
    Option(group=_TLS, long="ssl-ca-file", field="ssl_ca_file", env=("GEARMAND_CA_CERTIFICATE", "GEARMAND_SSL_CA_FILE"), help="Certificates of the authorities that sign clients' certificates (PEM)."),
    Option(group=_TLS, long="ssl-certificate", field="ssl_certificate", env=("GEARMAND_SERVER_PEM", "GEARMAND_SSL_CERTIFICATE"), help="The server's certificate, with its chain (PEM)."),
    Option(group=_TLS, long="ssl-key", field="ssl_key", env=("GEARMAND_SERVER_KEY", "GEARMAND_SSL_KEY"), help="The certificate's private key (PEM)."),
    Option(group=_TLS, long="ssl-verify-client", kind="flag", field="ssl_verify_client", since="ours", help="Serve only clients with a certificate that --ssl-ca-file signed."),

    Option(group=_HTTP, long="protocol", short="r", kind="protocol", field="protocol", example="http", help="http opens the HTTP gateway beside the Gearman port; none does not."),
    Option(group=_HTTP, long="http-port", kind="port", field="http_port", default="8080", help="The gateway's port."),
    Option(group=_HTTP, long="http-host", field="http_host", since="ours", default="127.0.0.1", help="The gateway's address; several with commas between. 0.0.0.0 opens it to other machines: see --http-token-file."),
    Option(group=_HTTP, long="http-names", kind="list", field="http_names", since="ours", example="jobs.example.org", help="Further host names under which browsers and programs ask for the gateway. This machine's name and all numbers need not be given."),
    Option(group=_HTTP, long="http-origins", kind="list", field="http_origins", since="ours", example="https://example.org", help="Other web sites whose pages may call from a browser, as https://example.org."),
    Option(group=_HTTP, long="http-read", kind="door", field="http_read", since="ours", default="token", help="Who may read the API, the dashboard and the metrics from other machines: open (all), token or off."),
    Option(group=_HTTP, long="http-gateway", kind="door", field="http_gateway", since="ours", default="open", help="Who may call functions over HTTP from other machines: open (all), token or off."),
    Option(group=_HTTP, long="http-token-file", field="http_token_file", since="ours", help="A file with the token for changing actions over HTTP. Without one, $GEARMAND_HTTP_TOKEN has the token."),

    Option(group=_QUEUE, long="queue-type", short="q", field="queue_type", docker=True, default="builtin", help="Where background jobs are kept: builtin (in memory), libsqlite3, postgres, mysql, redis, libmemcached, libtokyocabinet."),
    Option(group=_QUEUE, long="store-wait", kind="seconds", field="store_wait", since="ours", default="10", help="Seconds that a submission may wait for a queue that is away, before it is answered QUEUE_ERROR."),

    Option(group=_SQLITE, long="libsqlite3-db", docker=True, help="The database file."),
    Option(group=_SQLITE, long="libsqlite3-table", docker=True, default="gearman_queue", help="The table."),
    Option(group=_SQLITE, long="store-queue-on-shutdown", kind="switch", since="1.1.21", help="Write the queue when the server stops, not before. A crash loses it."),

    Option(group=_POSTGRES, long="libpq-conninfo", secret=True, help="What to connect to, as libpq has it: 'host=... dbname=...'. PGHOST, PGPASSFILE and so on work too."),
    Option(group=_POSTGRES, long="libpq-table", default="queue", help="The table."),
    Option(group=_POSTGRES, long="libpq-password-file", since="ours", example="/run/secrets/postgres", help="A file with the password."),

    Option(group=_MYSQL, long="mysql-host", docker=True, default="localhost", help="The database server."),
    Option(group=_MYSQL, long="mysql-port", kind="port", docker=True, default="3306", help="Its port."),
    Option(group=_MYSQL, long="mysql-socket", docker=True, since="ours", help="Its unix socket."),
    Option(group=_MYSQL, long="mysql-user", docker=True, help="The user."),
    Option(group=_MYSQL, long="mysql-password", docker=True, secret=True, help="The password. Other users of this machine can read it here; see the next option."),
    Option(group=_MYSQL, long="mysql-password-file", reads="mysql-password", docker=True, since="ours", example="/run/secrets/mysql", help="A file with the password."),
    Option(group=_MYSQL, long="mysql-db", docker=True, help="The database."),
    Option(group=_MYSQL, long="mysql-table", docker=True, default="gearman_queue", help="The table."),

    Option(group=_DRIZZLE, long="libdrizzle-host", since="0.x", help="The database server."),
    Option(group=_DRIZZLE, long="libdrizzle-port", kind="port", since="0.x", example="3306", help="Its port."),
    Option(group=_DRIZZLE, long="libdrizzle-uds", since="0.x", help="Its unix socket."),
    Option(group=_DRIZZLE, long="libdrizzle-user", since="0.x", help="The user."),
    Option(group=_DRIZZLE, long="libdrizzle-password", since="0.x", secret=True, help="The password."),
    Option(group=_DRIZZLE, long="libdrizzle-db", since="0.x", help="The database."),
    Option(group=_DRIZZLE, long="libdrizzle-table", since="0.x", help="The table."),
    Option(group=_DRIZZLE, long="libdrizzle-mysql", kind="switch", since="0.x", help="Speak MySQL's protocol. Always so here."),

    Option(group=_REDIS, long="redis-server", docker=True, default="127.0.0.1", help="The redis or valkey server."),
    Option(group=_REDIS, long="redis-port", kind="port", docker=True, default="6379", help="Its port."),
    Option(group=_REDIS, long="redis-socket", docker=True, since="ours", help="Its unix socket."),
    Option(group=_REDIS, long="redis-db", docker=True, since="ours", default="0", help="The number of the database."),
    Option(group=_REDIS, long="redis-user", docker=True, since="ours", help="The user, where redis has more than one."),
    Option(group=_REDIS, long="redis-password", docker=True, secret=True, help="The password. Other users of this machine can read it here; see the next option."),
    Option(group=_REDIS, long="redis-password-file", reads="redis-password", docker=True, since="ours", example="/run/secrets/redis", help="A file with the password."),
    Option(group=_REDIS, long="redis-prefix", docker=True, default="_gear_", help="What the keys begin with."),
    Option(group=_REDIS, long="redis-functions", since="ours", help="Names of functions with a hyphen, with commas between: to take apart the keys of gearmand 1.1."),

    Option(group=_MEMCACHED, long="libmemcached-servers", help="The servers: host[:port], with commas between."),
    Option(group=_MEMCACHED, long="libmemcached-prefix", default="gear_", help="What the keys begin with."),
    Option(group=_MEMCACHED, long="libmemcached-functions", since="ours", help="Names of functions with a hyphen, with commas between: to take apart the keys of gearmand."),

    Option(group=_TOKYO, long="libtokyocabinet-file", since="0.x", help="The database file, a name that ends in .tch."),
    Option(group=_TOKYO, long="libtokyocabinet-optimize", kind="switch", since="0.x", help="Optimize the file when it is opened."),
)
# fmt: on

BY_LONG: Final[Mapping[str, Option]] = MappingProxyType({option.long: option for option in OPTIONS})
BY_SHORT: Final[Mapping[str, Option]] = MappingProxyType({option.short: option for option in OPTIONS if option.short})
