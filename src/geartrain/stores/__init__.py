"""Durable queues, found by name: gearmand's queue types, our aliases, and those of other packages.

Owns the look-up through the entry-point group ``geartrain.stores``. Imports no backend and no driver before it is
asked for.
"""

import difflib
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, cast

from geartrain.errors import ConfigError

if TYPE_CHECKING:
    from geartrain.stores.base import Store

__all__ = ["find", "names"]

GROUP = "geartrain.stores"


@cache
def _registered() -> dict[str, EntryPoint]:
    return {entry.name.casefold(): entry for entry in entry_points(group=GROUP)}


def names() -> list[str]:
    """All queue types and aliases that can be asked for, in alphabetical order."""
    return sorted((entry.name for entry in _registered().values()), key=str.casefold)


def find(name: str) -> "type[Store]":
    """The store class of a queue type, in any case (``-q mysql`` and ``-q MySQL``, as gearmand).

    Raises:
        ConfigError: no such queue type, or the package that has it cannot be imported.
    """
    entry = _registered().get(name.casefold())
    if entry is None:
        near = difflib.get_close_matches(name.casefold(), _registered(), n=1)
        hint = f" Did you mean {_registered()[near[0]].name}?" if near else ""
        raise ConfigError(f"There is no queue type {name!r}.{hint} Known are: {', '.join(names())}.")
    try:
        return cast("type[Store]", entry.load())
    except (ImportError, AttributeError) as exc:
        raise ConfigError(f"The queue type {entry.name} cannot be loaded from {entry.value}: {exc}") from exc
