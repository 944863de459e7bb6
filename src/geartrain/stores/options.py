"""Reading a store's options: switches, numbers, passwords.

Owns the forms in which a value may be given. Knows no backend.
"""

import os
from collections.abc import Mapping

from geartrain.errors import ConfigError

__all__ = ["flag", "number", "secret"]

_TRUE = frozenset({"", "1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})


def flag(options: Mapping[str, str], name: str) -> bool:
    """A switch: given alone, or with 1/0, true/false, yes/no, on/off.

    Raises:
        ConfigError: another value.
    """
    value = options.get(name)
    if value is None or value.casefold() in _FALSE:
        return False
    if value.casefold() in _TRUE:
        return True
    raise ConfigError(f"--{name}={value} is neither yes nor no.")


def number(options: Mapping[str, str], name: str, default: int, low: int = 1, high: int = 65535) -> int:
    """A whole number between low and high.

    Raises:
        ConfigError: another value.
    """
    value = options.get(name, "")
    if not value:
        return default
    try:
        found = int(value)
    except ValueError:
        found = low - 1
    if not low <= found <= high:
        raise ConfigError(f"--{name}={value} is not a number from {low} to {high}.")
    return found


def secret(options: Mapping[str, str], name: str, environment: str = "") -> str:
    """A password: from the file named by ``<name>-file``, else from the option, else from the environment variable
    ``<environment>_FILE`` (a file's name) or ``<environment>``. Empty where there is none.

    A file is best: options can be read in the process list, the environment by the processes that are started.

    Raises:
        ConfigError: the file cannot be read; the text has its name, not its content.
    """
    path = options.get(f"{name}-file", "")
    if not path:
        if given := options.get(name, ""):
            return given
        path = os.environ.get(f"{environment}_FILE", "") if environment else ""
    if not path:
        return os.environ.get(environment, "") if environment else ""
    try:
        with open(path, encoding="utf-8") as file:
            return file.read().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "it is not UTF-8 text"
        raise ConfigError(f"The file {path} for {name} cannot be read: {reason}.") from exc
