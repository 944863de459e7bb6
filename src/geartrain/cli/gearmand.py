"""``gearmand``: the job server under gearmand's name, with gearmand's options and defaults.

Owns the defaults that are gearmand's alone, and what is printed. Knows nothing of serving.
"""

import os
import sys
from collections.abc import Sequence
from types import MappingProxyType
from typing import Final

from geartrain import __version__
from geartrain.errors import GeartrainError
from geartrain.server.arguments import parse_arguments
from geartrain.server.sources import gather

__all__ = ["DEFAULTS", "main"]

PROGRAM: Final = "gearmand"
DEFAULTS: Final = MappingProxyType({"log-file": "/var/log/gearmand.log", "pid-file": "/var/gearmand.pid"})


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command.

    Args:
        arguments: without the program's name; by default those of this process.

    Returns:
        the exit status, gearmand's: 0, or 1 when something was wrong.
    """
    try:
        flags = parse_arguments(sys.argv[1:] if arguments is None else arguments)
        settings = gather(flags, os.environ, defaults=DEFAULTS)
        if settings.action == "version":
            # Two lines, as gearmand prints them: scripts look for the word behind the name.
            print(f"\n{PROGRAM} {__version__} - geartrain")
            return 0
        if settings.action in ("help", "print-config"):
            from geartrain.server import texts

            print(texts.help_text(PROGRAM) if settings.action == "help" else texts.toml_template(settings), end="")
            return 0
        from geartrain.server import process

        if settings.action == "check":
            return process.answer_check(settings, PROGRAM)
    except GeartrainError as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return 1
    return process.serve(settings, PROGRAM)


if __name__ == "__main__":
    sys.exit(main())
