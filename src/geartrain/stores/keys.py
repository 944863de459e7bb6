"""The keys of gearmand's key-value queues: a function and a unique joined by a hyphen.

Owns the joining and the guess that is needed to take such a key apart. Knows no backend.
"""

from collections.abc import Mapping

from geartrain.errors import ConfigError
from geartrain.stores import surrogate

__all__ = ["KeyNames", "functions_option"]


class KeyNames:
    """Keys of the form ``<prefix><function>-<unique>``.

    The form is ambiguous: function ``a-b`` with unique ``c``, and function ``a`` with unique ``b-c``, have one key.
    So a job of a function with a hyphen gets a stand-in for its unique, and no two jobs share a key.

    Args:
        prefix: what all keys begin with.
        functions: names of functions with a hyphen, to take apart what gearmand wrote.
    """

    def __init__(self, prefix: bytes, functions: tuple[bytes, ...] = ()) -> None:
        self.prefix = prefix
        self._functions = tuple(sorted(functions, key=len, reverse=True))

    def join(self, function: bytes, unique: bytes, number: int) -> tuple[bytes, bool]:
        """A job's key, and whether its unique can be read from it (or is known from the stand-in)."""
        stored = surrogate.stored_unique(unique, number)
        if stored is unique and (b"-" in function or surrogate.MARK in unique):
            stored = surrogate.stand_in(surrogate.OTHER, number)
        readable = stored is unique or unique in (b"", b"-")
        return b"%b%b-%b" % (self.prefix, function, stored), readable

    def split(self, key: bytes) -> tuple[bytes, bytes] | None:
        """Function and unique of a key that gearmand wrote; None where it is none."""
        if not key.startswith(self.prefix):
            return None
        rest = key[len(self.prefix) :]
        for function in self._functions:
            if rest.startswith(function + b"-"):
                return function, rest[len(function) + 1 :]
        function, hyphen, unique = rest.partition(b"-")
        return (function, unique) if function and hyphen else None


def functions_option(options: Mapping[str, str], name: str) -> tuple[bytes, ...]:
    """A list of function names, separated by commas.

    Raises:
        ConfigError: a name without a hyphen, which needs no help.
    """
    found = tuple(part.strip().encode() for part in options.get(name, "").split(",") if part.strip())
    for function in found:
        if b"-" not in function:
            raise ConfigError(f"--{name}: {function.decode()} has no hyphen in its name and need not be given.")
    return found
