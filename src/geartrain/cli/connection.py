"""Which job server a tool talks to, and how: the flags and variables that the tools share.

Owns their names and the order in which they count. The forms of an address and the rules of TLS are the
library's (client/address.py, client/tls.py).
"""

import argparse
import os
from typing import Final

from geartrain.client.address import DEFAULT_PORT, Server, parse_server, parse_servers
from geartrain.client.tls import Tls
from geartrain.errors import ConfigError

__all__ = ["add_server_options", "add_tls_options", "servers_at", "servers_of", "tls_of"]

_TLS_VARIABLES: Final = {
    "ssl_ca_file": "GEARMAND_CA_CERTIFICATE",
    "ssl_certificate": "GEARMAN_CLIENT_PEM",
    "ssl_key": "GEARMAN_CLIENT_KEY",
}
"""libgearman's own. They count where TLS is asked for, and do not turn it on."""


def add_tls_options(parser: "argparse.ArgumentParser | argparse._ArgumentGroup", *short: str) -> None:
    """Adds --ssl (with the short forms given) and what goes with it."""
    parser.add_argument(*short, "--ssl", action="store_true", help="connect with TLS")
    parser.add_argument(
        "--ssl-ca-file", metavar="FILE", help="whom to trust (default: the system's authorities); implies --ssl"
    )
    parser.add_argument("--ssl-certificate", metavar="FILE", help="our certificate; implies --ssl")
    parser.add_argument("--ssl-key", metavar="FILE", help="the certificate's key; implies --ssl")
    parser.add_argument(
        "--ssl-no-check-hostname",
        action="store_true",
        help="accept a trusted certificate for another host's name, as libgearman does",
    )


def add_server_options(parser: argparse.ArgumentParser) -> None:
    """Adds --server and the TLS options, for the commands of `geartrain`."""
    group = parser.add_argument_group("job server")
    group.add_argument(
        "-s",
        "--server",
        action="append",
        metavar="HOST[:PORT]",
        help="may be repeated or hold a list with commas (default: $GEARMAN_SERVER, $GEARMAN_SERVERS, localhost:4730)",
    )
    add_tls_options(group)


def servers_of(args: argparse.Namespace) -> tuple[Server, ...]:
    """The servers of a command with `add_server_options`.

    Raises:
        ConfigError: an address cannot be read.
    """
    return parse_servers(args.server or _from_environment())


def servers_at(host: str | None, port: int | None) -> tuple[Server, ...]:
    """The servers of `gearman`'s -h and -p; where neither is given, those of the environment.

    Args:
        host: a host, ``host:port``, or a list of them with commas.
        port: for the hosts that name none.

    Raises:
        ConfigError: an address cannot be read.
    """
    if host is None and port is None:
        return parse_servers(_from_environment())
    if port is not None and not 0 < port < 65536:
        raise ConfigError(f"the port {port} is not a number from 1 to 65535")
    hosts = [word.strip() for word in (host or "localhost").split(",")]
    return tuple(parse_server(word, port or DEFAULT_PORT) for word in hosts if word)


def _from_environment() -> str | None:
    # GEARMAN_SERVER is the C tool's, GEARMAN_SERVERS the library's; the C tool looks in this order, too.
    return os.environ.get("GEARMAN_SERVER") or os.environ.get("GEARMAN_SERVERS") or None


def tls_of(args: argparse.Namespace) -> Tls:
    """The TLS settings of a command with `add_tls_options`.

    Raises:
        ConfigError: a key without its certificate.
    """
    files: dict[str, str | None] = {name: getattr(args, name) for name in _TLS_VARIABLES}
    wanted = args.ssl or any(files.values())
    if wanted:
        for name, variable in _TLS_VARIABLES.items():
            files[name] = files[name] or os.environ.get(variable) or None
        if files["ssl_key"] and not files["ssl_certificate"]:
            raise ConfigError("--ssl-key is given without --ssl-certificate; name both, or neither")
    return Tls(ssl=bool(wanted), ssl_check_hostname=not args.ssl_no_check_hostname, **files)
