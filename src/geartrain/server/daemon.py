"""What makes a process a daemon: limits, user, detaching, pid file.

Owns the calls to the operating system that happen once, before the event loop runs. Knows no sockets, no settings
but single values, and nothing of Gearman.
"""

import contextlib
import fcntl
import importlib
import os
import pwd
import resource
import sys
from pathlib import Path
from typing import NoReturn

from geartrain.errors import ConfigError

__all__ = ["Launcher", "PidFile", "allow_core", "detach", "raise_descriptors", "switch_user"]


def raise_descriptors(wanted: int) -> int:
    """Sets how many file descriptors this process may have open.

    Args:
        wanted: 0 for as many as the system allows.

    Returns:
        the limit now in force.

    Raises:
        ConfigError: the system does not allow so many.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft = wanted or hard
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, max(soft, hard)))
    except (OSError, ValueError) as error:
        raise ConfigError(
            "Failed to set limit for the number of file descriptors.  "
            f"Try running as root or giving a smaller value to -f. ({wanted}: {error})"
        ) from error
    return soft


def allow_core() -> None:
    """Lets a crash leave a core file, as large as the system allows."""
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))


def find_user(name: str) -> pwd.struct_passwd:
    """Looks a user up.

    Raises:
        ConfigError: there is none of that name.
    """
    try:
        return pwd.getpwnam(name)
    except KeyError:
        raise ConfigError(f"Could not find user : {name}") from None


def switch_user(name: str) -> None:
    """Becomes another user for good.

    Raises:
        ConfigError: there is no such user, or this process is not root's.
    """
    user = find_user(name)
    if os.geteuid() == user.pw_uid:
        return
    # Later this user may be unable to read Python's own folder, and these two are imported when they are needed:
    # the codec by `getaddrinfo`, the threads by the event loop's executor.
    for module in ("encodings.idna", "concurrent.futures.thread"):
        importlib.import_module(module)
    if os.geteuid() != 0:
        raise ConfigError("Must be root to switch users.")
    os.initgroups(name, user.pw_gid)
    os.setgid(user.pw_gid)
    os.setuid(user.pw_uid)


class Launcher:
    """The detached process's line to the command that started it, which waits at the terminal."""

    def __init__(self, channel: int) -> None:
        self._channel = channel

    def ready(self) -> None:
        """The command leaves with 0, and this process lets go of the terminal."""
        self._tell(b"ready")
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(null, descriptor)
        if null > 2:
            os.close(null)

    def failed(self, reason: str) -> None:
        """The command prints the reason and leaves with 1."""
        self._tell(reason.encode("utf-8", "backslashreplace"))

    def _tell(self, message: bytes) -> None:
        if self._channel < 0:
            return
        # Whoever started us may be gone already. That stops nothing.
        with contextlib.suppress(BrokenPipeError):
            os.write(self._channel, message)
        os.close(self._channel)
        self._channel = -1


def detach() -> Launcher:
    """Goes on in a new session without a terminal; the calling process waits to hear how that went.

    It returns in the new process alone. The working directory stays, since paths may be relative (gearmand: the
    same). There must be no threads yet.
    """
    reader, writer = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child:
        os.close(writer)
        _wait_for_word(reader, child)
    os.close(reader)
    os.setsid()
    # A leader of a session may get a terminal again by opening one; its child may not.
    if os.fork():
        os._exit(0)
    return Launcher(writer)


def _wait_for_word(reader: int, child: int) -> NoReturn:
    os.waitpid(child, 0)
    with open(reader, "rb") as channel:
        word = channel.read()
    if word == b"ready":
        os._exit(0)
    reason = word.decode("utf-8", "backslashreplace") or "the server ended before it was ready; see its log"
    print(reason, file=sys.stderr, flush=True)
    os._exit(1)


class PidFile:
    """A file with this process's id, locked as long as the process lives.

    A file whose process is gone holds no lock, and is taken over.
    """

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        self._file = -1

    def acquire(self) -> None:
        """Writes the file.

        Raises:
            ConfigError: another server holds it, or it cannot be written.
        """
        try:
            while self._file < 0:
                self._try()
        except OSError as error:
            raise ConfigError(
                f"Could not open pid file for writing: {self._path} ({error.strerror}). Choose another with --pid-file."
            ) from error

    def _try(self) -> None:
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            self._lock(file)
            if os.fstat(file).st_ino != self._path.stat().st_ino:
                return  # its owner removed it between our open and our lock: once more
            os.ftruncate(file, 0)
            os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
            self._file, file = file, -1
        except FileNotFoundError:
            return
        finally:
            if file >= 0:
                os.close(file)

    def _lock(self, file: int) -> None:
        owner = os.pread(file, 32, 0).decode("ascii", "replace").strip()
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owned = True
        else:
            # gearmand does not lock its file.
            owned = owner.isdigit() and int(owner) != os.getpid() and _program(int(owner)) == "gearmand"
        if owned:
            raise ConfigError(
                f"Another server runs already: process {owner or '?'} holds the pid file {self._path}. "
                "Stop it, or choose another with --pid-file."
            )

    def release(self) -> None:
        """Removes the file. May be called twice, and without `acquire`."""
        if self._file < 0:
            return
        with contextlib.suppress(FileNotFoundError):
            if os.fstat(self._file).st_ino == self._path.stat().st_ino:
                self._path.unlink()
        os.close(self._file)
        self._file = -1


def _program(pid: int) -> str:
    """The name of a running process; empty where there is none, or no /proc to tell."""
    try:
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip()
    except OSError:
        return ""
