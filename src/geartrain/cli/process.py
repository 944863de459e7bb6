"""The tools as Unix processes: detach, the pid file.

Owns forking and the pid file's life. Knows no servers and no jobs.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from geartrain.errors import ConfigError

__all__ = ["detach", "pid_file"]


def detach() -> None:
    """Goes on in a child of its own session, on /dev/null. The parent ends here with exit status 0.

    Call it before anything is connected or any thread is started.
    """
    if os.fork():
        os._exit(0)
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    if null > 2:
        os.close(null)


@contextlib.contextmanager
def pid_file(path: str | None) -> Iterator[None]:
    """Keeps this process's id in a file for as long as the block runs. An older file of that name is replaced.

    Args:
        path: where; None for no file.

    Raises:
        ConfigError: the file cannot be written.
    """
    if path is None:
        yield
        return
    file = Path(path)
    try:
        file.write_text(f"{os.getpid()}\n", encoding="ascii")
    except OSError as error:
        raise ConfigError(f"the pid file {path} cannot be written: {error.strerror}") from error
    try:
        yield
    finally:
        file.unlink(missing_ok=True)
