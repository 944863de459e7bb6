"""The server's settings: one frozen dataclass.

Owns what a setting is called, its type, its default and what values it may have together.
Knows neither where a setting came from (options.py: flags, environment, file) nor who uses it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

__all__ = ["Config"]

MIB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Everything that a job server can be told. All times are seconds, all sizes bytes."""

    listen: tuple[str, ...] = ()
    """``host``, ``host:port``, ``[::1]:4730`` or ``unix:/path``. Empty: all addresses, IPv4 and IPv6."""
    port: int = 4730
    """For the addresses that name none. 0: any free port."""
    backlog: int = 32
    compat: str = "2.0"
    """``2.0`` or ``1.1``: whose order of scheduling."""
    exceptions: bool = False
    """Clients get WORK_EXCEPTION without asking for it."""
    job_retries: int = 0
    """How often a job is given to a worker at most. 0: no limit."""
    job_handle_prefix: str = ""
    """Empty: ``H:<nodename>``."""
    round_robin: bool = False
    worker_wakeup: int = 0
    """How many sleeping workers are woken for a job at most. 0: as the server sees fit."""
    keepalive: bool = True
    keepalive_idle: int | None = None
    keepalive_interval: int | None = None
    keepalive_count: int | None = None
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
    queue_options: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Long option names without dashes, and only those that were set."""
    store_wait: float = 10.0
    """How long a submission may wait for the queue before it is answered QUEUE_ERROR."""
    drain_timeout: float = 5.0
    """How long running jobs may go on after SIGTERM."""
    loop: str = "auto"
    """``auto``, ``asyncio`` or ``uvloop``."""
    http: bool = False
    http_host: str = ""
    """Empty: the hosts of `listen`."""
    http_port: int = 8080
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
    coredump: bool = False
    check_args: bool = False
    threads: int = 4
    """Accepted for gearmand's sake; without a meaning here."""
    hashtable_buckets: int = 991
    """Accepted for gearmand's sake; without a meaning here."""
