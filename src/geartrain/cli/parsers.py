"""The parser of the user's commands of `geartrain`.

Owns what argparse lacks there: options between operands, a command line behind ``--``, and help that leaves the names
of options whole. Knows no single command.
"""

import argparse
import sys
import textwrap
from typing import Any

__all__ = ["HelpFormatter", "add_command"]


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Breaks no line at a hyphen: who searches for an option finds it."""

    def _split_lines(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(" ".join(text.split()), width, break_on_hyphens=False)


class _Parser(argparse.ArgumentParser):
    """Takes options and operands in any order: ``submit wc -b data`` is as good as ``submit -b wc data``.

    With `splits` set, what follows ``--`` is no operand but `command_line`, a list; None where there is no ``--``.
    """

    splits = False
    _inside = False  # parse_known_intermixed_args calls parse_known_args in some versions of Python

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        if self._inside:
            return super().parse_known_args(args, namespace)
        words = list(sys.argv[1:] if args is None else args)
        command_line: list[str] | None = None
        if self.splits and "--" in words:
            end = words.index("--")
            words, command_line = words[:end], words[end + 1 :]
        self._inside = True
        try:
            known, rest = self.parse_known_intermixed_args(words, namespace)
        finally:
            self._inside = False
        if self.splits:
            known.command_line = command_line
        return known, rest


def add_command(
    subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    help: str,  # noqa: A002 - as argparse calls it
    epilog: str,
    *,
    usage: str | None = None,
    splits: bool = False,
) -> argparse.ArgumentParser:
    """Adds a command to `geartrain`.

    Args:
        subparsers: where to.
        name: of the command.
        help: what it does, in a line.
        epilog: examples and more, printed as they are.
        usage: instead of argparse's own.
        splits: whether what follows ``--`` goes to `command_line`.
    """
    parser = _Parser(
        prog=f"geartrain {name}",
        usage=usage,
        description=help,
        epilog=epilog,
        formatter_class=HelpFormatter,
    )
    parser.splits = splits
    # `subparsers.add_parser` makes parsers of the parent's class only, so this one is registered by hand.
    subparsers.choices[name] = parser
    return parser
