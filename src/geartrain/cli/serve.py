"""``geartrain serve``: the job server for people: a durable queue, this machine alone, plain start lines.

Owns its defaults and what it prints. The settings are those of `gearmand` (server/options.py), all of them.
"""

import argparse
import importlib.util
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from geartrain import __version__
from geartrain.cli.parsers import HelpFormatter
from geartrain.errors import GeartrainError
from geartrain.server.arguments import Given, take
from geartrain.server.foreign import foreign_options, option_named
from geartrain.server.options import NEEDS_NO_VALUE, OPTIONS, Option
from geartrain.server.sources import Settings, gather

if TYPE_CHECKING:
    from collections.abc import Sequence

    from geartrain.server.server import JobServer

__all__ = ["HELP", "add_parser", "run"]

HELP: Final = "run a job server with a durable queue"
PROGRAM: Final = "geartrain serve"
DEFAULT_PORT: Final = 4730

DEFAULTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "listen": "127.0.0.1",
        "queue-type": "libsqlite3",
        "libsqlite3-db": "geartrain/queue.db in the state folder",
        "log-file": "stderr",
        "verbose": "WARNING",
        "http-host": "127.0.0.1",
        "protocol": "http where it is installed",
    }
)
"""Where they differ from those of `gearmand`, as the help shows them."""

_EPILOG: Final = """\
examples:
  geartrain serve                               this machine alone, queue in the state folder
  geartrain serve --listen 0.0.0.0              for the whole network
  geartrain serve -q builtin                    queue in memory
  geartrain serve --print-config > server.toml  all settings, with comments
  geartrain serve --config-file server.toml
"""


def state_folder() -> Path:
    """Where a user's programs keep what must survive a restart (XDG base directories)."""
    base = os.environ.get("XDG_STATE_HOME", "")
    # The specification has relative paths ignored.
    return (Path(base) if base.startswith("/") else Path.home() / ".local" / "state") / "geartrain"


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> argparse.ArgumentParser:
    """Adds the command to `geartrain`."""
    parser = subparsers.add_parser(
        "serve",
        usage="%(prog)s [options]",
        help=HELP,
        description=f"{HELP[0].upper()}{HELP[1:]}. It runs until Ctrl-C.",
        epilog=_EPILOG,
        formatter_class=HelpFormatter,
        allow_abbrev=False,
    )
    groups: dict[str, argparse._ArgumentGroup] = {}
    for option in (*OPTIONS, *foreign_options().values()):
        if option.action == "help":
            continue
        group = groups.setdefault(option.group, parser.add_argument_group(option.group))
        names = [f"-{option.short}"] * bool(option.short) + [f"--{option.long}"]
        values: dict[str, Any] = {"nargs": 0} if option.kind in NEEDS_NO_VALUE else {"metavar": "ARG"}
        group.add_argument(*names, action=_Collect, dest="flags", default=None, help=_help(option), **values)
    parser.set_defaults(run=run)
    return parser


def _help(option: Option) -> str:
    # Neither a pid file nor a settings file is taken unasked.
    default = {"pid-file": "", "config-file": "", **DEFAULTS}.get(option.long, option.default)
    text = option.help + (f" Default: {default}." if default else "")
    return text.replace("%", "%%")  # argparse


class _Collect(argparse.Action):
    """Keeps options as they were written, for the reader of all sources."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: "str | Sequence[Any] | None",
        option_string: str | None = None,
    ) -> None:
        found: dict[str, Given] = getattr(namespace, self.dest) or {}
        option = option_named(self.option_strings[-1].removeprefix("--"))
        assert option is not None
        try:
            take(found, option, values if isinstance(values, str) else "1", "flags")
        except GeartrainError as error:
            parser.error(str(error))
        setattr(namespace, self.dest, found)


def run(args: argparse.Namespace) -> int:
    """Runs the server until it is stopped; returns its exit status."""
    from geartrain.server import process, texts

    missing = process.http_missing()
    defaults = {
        **DEFAULTS,
        "libsqlite3-db": str(state_folder() / "queue.db"),
        "protocol": "none" if missing else "http",
    }
    try:
        settings = gather(args.flags or {}, os.environ, defaults=defaults, default_file="")
        if settings.action == "version":
            print(f"geartrain {__version__}")
            return 0
        if settings.action == "print-config":
            print(texts.toml_template(settings), end="")
            return 0
        if settings.action == "check":
            return process.answer_check(settings, PROGRAM)
        if not settings.chosen("libsqlite3-db") and "libsqlite3-db" in settings.config.queue_options:
            _make_state_folder()
    except (GeartrainError, OSError) as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return 1

    def announce(server: "JobServer", urls: list[str]) -> None:
        print(_start_lines(settings, server.addresses, urls, missing), flush=True)

    return process.serve(settings, PROGRAM, announce)


def _make_state_folder() -> None:
    """Workloads may be private: nobody else reads them."""
    state_folder().mkdir(mode=0o700, parents=True, exist_ok=True)


def _start_lines(settings: Settings, addresses: list[str], urls: list[str], http_missing: str) -> str:
    config = settings.config
    place = config.queue_options.get("libsqlite3-db", "")
    queue = "in memory: a restart loses it" if config.queue_type == "builtin" else f"{config.queue_type} {place}"
    off = f"off: {http_missing}" if http_missing else "off"
    lines = [
        f"geartrain {__version__} is ready.",
        "",
        f"  Gearman    {', '.join(addresses)}",
        f"  Queue      {queue.strip()}",
        f"  Dashboard  {', '.join(urls) or off}",
        "",
        *_next_lines(addresses),
        "Ctrl-C stops it.",
    ]
    return "\n".join(lines)


def _next_lines(addresses: list[str]) -> list[str]:
    """What to type next: only commands that are there, at the address that was opened."""
    at_default = any(address.endswith(f":{DEFAULT_PORT}") for address in addresses)
    server = "" if at_default else f" -s {addresses[0]}"
    commands = {"submit": f"submit{server} reverse 'Hello, World'", "status": f"status{server}"}
    there = [words for name, words in commands.items() if importlib.util.find_spec(f"geartrain.cli.{name}")]
    return ["Next, in another terminal:", *(f"  {_command()} {words}" for words in there), ""] if there else []


def _command() -> str:
    """How this user types `geartrain` here: by its path, where it is not on PATH."""
    mine = Path(sys.argv[0])
    if shutil.which("geartrain") or mine.name != "geartrain":
        return "geartrain"
    return min(os.path.relpath(mine), str(mine.absolute()), key=len)
