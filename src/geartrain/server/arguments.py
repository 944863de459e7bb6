"""Command lines, read with the habits of gearmand's.

Owns the record of a setting as it was written, and the splitting of arguments into such records. Knows neither
what a value means (options.py) nor which source wins (sources.py).
"""

import logging
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import NamedTuple

from geartrain.errors import ConfigError
from geartrain.server.foreign import option_named
from geartrain.server.options import BY_LONG, BY_SHORT, NEEDS_NO_VALUE, Option

__all__ = ["Given", "Note", "nearest", "parse_arguments", "take"]


class Note(NamedTuple):
    """A line for the log, which does not run yet while settings are read."""

    level: int
    text: str


class Given(NamedTuple):
    """A setting as it was written.

    Attributes:
        texts: several for a list, otherwise one.
        origin: ``flags``, ``default``, a file's path, or a variable's name behind a ``$``.
    """

    option: Option
    texts: tuple[str, ...]
    origin: str


def parse_arguments(
    arguments: Sequence[str], *, origin: str = "flags", notes: list[Note] | None = None
) -> dict[str, Given]:
    """Reads arguments as gearmand does: ``--port=1``, ``--port 1``, ``-p1``, ``-p 1``, ``-dR``; no prefixes.

    Args:
        arguments: without the program's name.
        origin: what `Given` says about them.
        notes: where a file is read: words that belong to no option go here, since gearmand ignores them.

    Raises:
        ConfigError: in gearmand's words.
    """
    found: dict[str, Given] = {}
    words = iter(arguments)
    for word in words:
        if word == "--":
            _stray(words, origin, notes)
        elif word.startswith("--"):
            long, equals, text = word[2:].partition("=")
            option = option_named(long)
            if option is None:
                raise ConfigError(f"unrecognised option '{word}'{nearest(long, '--')}")
            take(found, option, _long_value(option, equals, text, words), origin)
        elif word.startswith("-") and len(word) > 1:
            _take_short(found, word, words, origin)
        elif word.startswith("@") and notes is None:
            # gearmand's help promises this form; gearmand itself refuses it.
            take(found, BY_LONG["config-file"], word[1:], origin)
        else:
            _stray([word], origin, notes)
    return found


def _stray(words: Iterable[str], origin: str, notes: list[Note] | None) -> None:
    for word in words:
        if notes is None:
            raise ConfigError(f"unrecognised option '{word}'")
        notes.append(Note(logging.WARNING, f"{origin}: {word!r} belongs to no option and is ignored"))


def _long_value(option: Option, equals: str, text: str, words: Iterable[str]) -> str:
    if option.kind in NEEDS_NO_VALUE:
        if equals and option.kind != "switch":
            raise ConfigError(f"option '--{option.long}' does not take any arguments")
        return text if equals else "1"
    if equals and not text:
        raise ConfigError(f"the argument for option '--{option.long}' should follow immediately after the equal sign")
    return text if equals else _next(option, words)


def _take_short(found: dict[str, Given], word: str, words: Iterable[str], origin: str) -> None:
    """One word of short options: flags may stand together, and a value may follow without a space."""
    letters = word[1:]
    while letters:
        option = BY_SHORT.get(letters[0])
        if option is None:
            hint = " (-v is gone, please use --verbose LEVEL)" if word.startswith("-v") else ""
            raise ConfigError(f"unrecognised option '{word}'{hint}")
        letters = letters[1:]
        if option.kind in NEEDS_NO_VALUE:
            take(found, option, "1", origin)
        else:
            take(found, option, letters or _next(option, words), origin)
            return


def _next(option: Option, words: Iterable[str]) -> str:
    # Whatever follows is the value, even if it looks like an option: `--job-retries -1`.
    for word in words:
        return word
    raise ConfigError(f"the required argument for option '--{option.long}' is missing")


def take(found: dict[str, Given], option: Option, text: str, origin: str) -> None:
    """Adds one setting to those of the same source.

    Raises:
        ConfigError: it is there already, and no list.
    """
    key = option.action or option.key
    before = found.get(key)
    if before is None:
        found[key] = Given(option, (text,), origin)
    elif before.option is not option:
        raise ConfigError(f"--{before.option.long} and --{option.long} cannot be used together")
    elif option.kind != "list":
        raise ConfigError(f"option '--{option.long}' cannot be specified more than once")
    else:
        found[key] = Given(option, (*before.texts, text), origin)


def nearest(name: str, dashes: str = "") -> str:
    near = get_close_matches(name.replace("_", "-").lower(), BY_LONG, n=1)
    return f". Did you mean {dashes}{near[0]}?" if near else ""
