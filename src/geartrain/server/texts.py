"""The texts that are made of the table of options: help, TOML template, table for the docs.

Owns their layout. Knows nothing of what options do.
"""

import textwrap
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Final

from geartrain.server.foreign import foreign_options
from geartrain.server.options import NEEDS_NO_VALUE, OPTIONS, Option
from geartrain.server.sources import Settings

__all__ = ["help_text", "markdown_table", "toml_template"]

_COLUMN: Final = 38
_WIDTH: Final = 100


def _grouped(*more: Option) -> Iterator[tuple[str, Iterable[Option]]]:
    return groupby((*OPTIONS, *more), key=lambda option: option.group)


def _wrap(text: str, width: int) -> list[str]:
    """Lines. The names of options stay whole: who searches for one finds it."""
    return textwrap.wrap(text, width, break_on_hyphens=False)


def _usage(option: Option) -> str:
    """As gearmand's own help has it: ``-p [ --port ] arg (=4730)``."""
    names = f"-{option.short} [ --{option.long} ]" if option.short else f"--{option.long}"
    if option.kind in NEEDS_NO_VALUE:
        return names
    return f"{names} arg" + (f" (={option.default})" if option.default else "")


def help_text(program: str) -> str:
    """What ``--help`` prints."""
    lines = [
        f"Usage: {program} [options]",
        "",
        f"  {program} -d -q libsqlite3 --libsqlite3-db /var/lib/gearmand/queue.db -l /var/log/gearmand.log",
        "",
        "Settings come from these options, then from the environment (GEARMAND_PORT and so on), then from a file.",
    ]
    for group, options in _grouped(*foreign_options().values()):
        lines += ["", f"{group}:"]
        for option in options:
            usage = "  " + _usage(option)
            text = _wrap(option.help, _WIDTH - _COLUMN)
            if len(usage) >= _COLUMN:
                lines.append(usage)
                usage = ""
            lines.append(f"{usage:<{_COLUMN}}{text[0]}")
            lines += [" " * _COLUMN + line for line in text[1:]]
    return "\n".join(lines) + "\n"


def toml_template(settings: Settings) -> str:
    """A whole, commented settings file. Settings in force stand in it as values, others as comments.

    Secrets are left out: they have no place in what may be shown or committed.
    """
    lines = [
        "# Settings of geartrain's job server. Every name is that of an option without its dashes.",
        "# Use it with: gearmand --config-file THIS.toml, or geartrain serve --config-file THIS.toml",
        "# Options and environment variables go before this file.",
    ]
    for group, options in _grouped(*foreign_options().values()):
        shown = [option for option in options if not option.action and option.field != "config_file"]
        if shown:
            lines += ["", f"# {group}"]
        for option in shown:
            lines += ["", *(f"# {line}" for line in _wrap(option.help, _WIDTH))]
            given = settings.given.get(option.key)
            if option.field == "pid_file" and not settings.chosen(option.key):
                given = None  # a pid file that somebody names must be writable, the default one need not
            if given is not None and given.option is option and not option.secret:
                lines.append(f"{option.long} = {_toml_value(option, given.texts)}")
            else:
                lines.append(f"# {option.long} = {_toml_example(option)}")
    return "\n".join(lines) + "\n"


def _toml_value(option: Option, texts: tuple[str, ...]) -> str:
    if option.kind == "list":
        return "[" + ", ".join(_quote(text) for text in texts) + "]"
    if option.kind in NEEDS_NO_VALUE:
        return "true" if texts[0].lower() in ("1", "true", "yes", "on") else "false"
    return texts[0] if _is_number(texts[0]) else _quote(texts[0])


def _toml_example(option: Option) -> str:
    if option.kind in NEEDS_NO_VALUE:
        return "true"
    text = option.example or (option.default if " " not in option.default else "")
    if option.kind == "list":
        return f"[{_quote(text)}]"
    return text if _is_number(text) else _quote(text)


def _is_number(text: str) -> bool:
    """Whether TOML reads the text as the same whole number: no leading zeros."""
    digits = text.removeprefix("-")
    return digits.isascii() and digits.isdigit() and (digits == "0" or not digits.startswith("0"))


def _quote(text: str) -> str:
    # A TOML basic string; the escapes it needs are those of \\, " and control characters.
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return (
        '"' + "".join(char if ord(char) >= 32 and char != "\x7f" else f"\\u{ord(char):04x}" for char in escaped) + '"'
    )


def markdown_table() -> str:
    """The table of docs/migrating-from-gearmand.md."""
    lines: list[str] = []
    for group, options in _grouped():
        lines += ["", f"### {group}", "", "| option | since | environment | here |", "|---|---|---|---|"]
        for option in options:
            names = f"`-{option.short}` `--{option.long}`" if option.short else f"`--{option.long}`"
            variables = " ".join(f"`{name}`" for name in option.variables)
            text = option.help + (f" It has no meaning here: {option.idle}." if option.idle else "")
            default = f" Default: {option.default}." if option.default else ""
            lines.append(f"| {names} | {option.since} | {variables} | {text.replace('|', chr(92) + '|')}{default} |")
    return "\n".join(lines).strip() + "\n"
