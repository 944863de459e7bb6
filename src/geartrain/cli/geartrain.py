"""``geartrain``: one command in front of all others.

Owns the list of subcommands. Imports the one that is asked for and no other, so that it starts fast.
A subcommand is a module beside this one with ``add_parser(subparsers)`` and ``run(args) -> int``.
"""

import argparse
import importlib
import importlib.util
import sys
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from geartrain import __version__

__all__ = ["COMMANDS", "main"]

COMMANDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "serve": "run a job server with a durable queue",
        "work": "run a worker: functions of a Python module, or a command per job",
        "submit": "submit a job, and wait for its result",
        "status": "show functions, workers and jobs of a server",
        "top": "the same, live",
        "queue": "export, import or copy a durable queue",
        "bench": "measure a server",
    }
)
"""Subcommand to what it does. Those without a module are not offered."""

_EXAMPLES: Final = """\
examples:
  geartrain serve                         a server on port 4730 with a durable queue
  geartrain submit reverse 'Hello, World'
  geartrain COMMAND --help                all about a command
"""


def _available() -> list[str]:
    return [name for name in COMMANDS if importlib.util.find_spec(f"geartrain.cli.{name}") is not None]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a subcommand.

    Args:
        arguments: without the program's name; by default those of this process.

    Returns:
        the subcommand's exit status; 2 for a command line that cannot be read.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    parser = argparse.ArgumentParser(
        prog="geartrain",
        description="Gearman in Python: a job server, its tools, and a client and worker library.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"geartrain {__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command")
    available = _available()
    if words and words[0] in available:
        importlib.import_module(f"geartrain.cli.{words[0]}").add_parser(subparsers)
    else:
        for name in available:
            subparsers.add_parser(name, help=COMMANDS[name])
    args = parser.parse_args(words)
    if args.command is None:
        parser.print_help()
        return 2
    return int(importlib.import_module(f"geartrain.cli.{args.command}").run(args))


if __name__ == "__main__":
    sys.exit(main())
