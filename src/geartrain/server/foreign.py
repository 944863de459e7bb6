"""Options of the queues that other packages bring.

Owns finding them. They are looked for where the table of our own options (options.py) has no such name, so that
nobody imports a package for nothing.
"""

import contextlib
from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points
from types import MappingProxyType

from geartrain.errors import ConfigError
from geartrain.server.options import BY_LONG, Option
from geartrain.stores import GROUP, find

__all__ = ["foreign_options", "option_named"]


@cache
def foreign_options() -> Mapping[str, Option]:
    """All of them, by their long names. Imports those packages; one that cannot be imported has no options."""
    found: dict[str, Option] = {}
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name.casefold()):
        if entry.value.startswith("geartrain."):
            continue
        with contextlib.suppress(ConfigError):  # told to those who choose this queue type
            for long, text in find(entry.name).options.items():
                if long not in BY_LONG:
                    found[long] = Option(group=f"Queue type {entry.name}", long=long, help=text, since="ours")
    return MappingProxyType(found)


def option_named(long: str) -> Option | None:
    """The option of this name, ours or another package's."""
    return BY_LONG.get(long) or foreign_options().get(long)
