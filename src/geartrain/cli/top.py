"""`geartrain top`: what a server does, live in the terminal.

Owns the command line and the rhythm. Asking is snapshot.py's and http_source.py's, the looks are top_view.py's, single
keys are keys.py's.
"""

import argparse
import sys
import time
from itertools import zip_longest
from typing import Final

from geartrain.cli.connection import add_server_options, servers_of, tls_of
from geartrain.cli.exits import Exit, guarded
from geartrain.cli.http_source import VARIABLE, HttpSource, guess, parse_url, read_token
from geartrain.cli.keys import keys_of_terminal
from geartrain.cli.parsers import add_command
from geartrain.cli.snapshot import Source, TextSource, look_at
from geartrain.cli.times import seconds
from geartrain.client.address import Server
from geartrain.errors import ConfigError

__all__ = ["HELP", "add_parser", "run"]

HELP: Final = "show functions, jobs and workers of a server, live"

_EPILOG: Final = """\
examples:
  geartrain top
  geartrain top -s queue.example.org --interval 5s
  geartrain top -s east,west                two servers in one table
  geartrain top --http https://queue.example.org --token-file ~/.geartrain-token
  geartrain top --http off                  the text protocol alone

A geartrain server's HTTP port tells rates, latencies, running jobs and the store; it is looked for at port 8080 of the
server's host. Any other gearmand is asked in the text protocol, which has the counts alone.

keys: w r k c n sort by waiting, running, workers, change, name; over HTTP also d f l o: done, failed, latency, oldest.
Arrows, Page Up, Page Down, Home, End scroll; Tab changes between functions and jobs; q or Ctrl-C leaves.
CHANGE/S is by how many jobs a second a function's jobs grow or shrink. Yellow: jobs wait and no worker can do them.
"""
_GUESS_WAIT: Final = 1.0
"""Seconds that a guessed address may take: behind a firewall nothing answers, and the screen waits."""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> argparse.ArgumentParser:
    """Adds the command to `geartrain`."""
    parser = add_command(subparsers, "top", HELP, _EPILOG)
    parser.add_argument(
        "-i", "--interval", type=seconds, default=1.0, metavar="TIME", help="between two looks (default: 1s)"
    )
    add_server_options(parser)
    http = parser.add_argument_group("HTTP")
    http.add_argument(
        "--http",
        action="append",
        metavar="URL",
        help="the server's HTTP, or off; once for each server, in order (default: http://HOST:8080)",
    )
    http.add_argument("--token-file", metavar="FILE", help=f"the token for it (default: ${VARIABLE})")
    parser.set_defaults(run=run)
    return parser


@guarded("geartrain top")
def run(args: argparse.Namespace) -> int:
    """Runs the command and returns its exit status."""
    if args.interval <= 0:
        raise ConfigError("--interval: the time between two looks must be more than 0")
    try:
        from rich.console import Console
        from rich.live import Live

        from geartrain.cli.top_view import View
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "rich":
            raise
        raise ConfigError("it needs the package rich: pip install 'geartrain[top]'") from error
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise ConfigError("geartrain top needs a terminal; geartrain status prints the same once")
    sources = _sources(args)
    console = Console()
    view = View()
    with keys_of_terminal() as keys, Live(console=console, screen=True, auto_refresh=False) as live:
        try:
            while True:
                due = time.monotonic() + args.interval
                snapshot = look_at(sources)
                while True:  # again at each key, and when the window changes its size
                    live.update(view.render(snapshot, console.height, console.width), refresh=True)
                    key = keys.wait(due - time.monotonic())
                    if key is None:
                        break
                    if key in ("q", "\x03", "\x04"):
                        return Exit.OK
                    view.press(key)
        except KeyboardInterrupt:
            return Exit.OK
        finally:
            for source in sources:
                source.close()


def _sources(args: argparse.Namespace) -> list[Source]:
    """One for each server that was named.

    Raises:
        ConfigError: an address, a URL or the token cannot be read.
    """
    tls = tls_of(args)
    timeout = max(2.0, args.interval)
    token = read_token(args.token_file)
    words = args.http or []
    if words in ([], ["off"]):
        servers = servers_of(args)
        guesses = [] if words else [guess(server) for server in servers]
        https = [
            HttpSource(str(server), url, token, tls, min(timeout, _GUESS_WAIT), server)
            for server, url in zip(servers, guesses, strict=False)
        ]
    else:
        urls = [parse_url(word) for word in words]
        servers = servers_of(args) if args.server else tuple(Server(url.host) for url in urls)
        if len(servers) != len(urls):
            raise ConfigError(f"--http is given {len(urls)} times for {len(servers)} servers: give it once for each")
        names = [str(server) for server in servers] if args.server else [url.address for url in urls]
        https = [HttpSource(name, url, token, tls, timeout) for name, url in zip(names, urls, strict=True)]
    texts = [TextSource(server, tls, timeout) for server in servers]
    return [Source(text, http) for text, http in zip_longest(texts, https)]
