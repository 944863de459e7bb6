"""One server per queue: for a file, a lock beside it that vanishes with its process.

Owns the lock file. The database itself is not locked, so that gearmand and other tools can open it afterwards.
A database server's lock goes with the connection, and another server may take it before we are back: then what is in
our memory is not what is stored, and never will be again.
"""

import contextlib
import fcntl
import os

from geartrain.errors import StoreError, StoreLocked

__all__ = ["FileLock", "used_meanwhile"]


def used_meanwhile(store: object) -> str:
    """What to say when another server has had the queue since we lost the connection."""
    return (
        f"{store} was used by another server while this one was cut off from it: its jobs are not those in this "
        "server's memory any more. Stop one of the two, and restart the other to begin with what is stored."
    )


class FileLock:
    """An exclusive flock on ``<path>.lock``.

    flock belongs to the open file and not to the process: it also keeps two stores of one process apart, and
    closing the database elsewhere cannot drop it, as it would an fcntl lock.
    """

    __slots__ = ("_fd", "_path", "_subject")

    def __init__(self, subject: str) -> None:
        # The real path: one file reached by two names is still one file.
        self._subject = os.path.realpath(subject)
        self._path = self._subject + ".lock"
        self._fd = -1

    def acquire(self) -> None:
        """Takes the lock, or makes sure that it still stands for its path. May be called again.

        Raises:
            StoreLocked: another server has it; the text names the file and, where known, the process.
            StoreError: the lock file cannot be made.
        """
        if self._fd >= 0:
            if self._is_current(self._fd):
                return
            self.release()  # somebody removed the lock file: it keeps nobody out any more
        while True:
            try:
                fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            except OSError as exc:
                raise StoreError(f"The lock file {self._path} cannot be opened: {exc.strerror}.") from exc
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as exc:
                owner = os.pread(fd, 20, 0).decode("ascii", "replace").strip()
                os.close(fd)
                raise StoreLocked(
                    f"The queue {self._subject} is in use by another server"
                    f"{f' (process {owner})' if owner else ''}. Stop it, or give this one a file of its own."
                ) from exc
            except OSError as exc:
                os.close(fd)
                raise StoreError(f"The lock file {self._path} cannot be locked: {exc.strerror}.") from exc
            if self._is_current(fd):
                break
            os.close(fd)  # its last owner removed it between our open and our lock
        with contextlib.suppress(OSError):  # the process number is only for the message above
            os.ftruncate(fd, 0)
            os.pwrite(fd, b"%d\n" % os.getpid(), 0)
        self._fd = fd

    def release(self) -> None:
        """Gives the lock back and removes its file. May be called twice."""
        if self._fd < 0:
            return
        if self._is_current(self._fd):
            with contextlib.suppress(OSError):  # a folder that became read-only: the file may stay
                os.unlink(self._path)
        os.close(self._fd)
        self._fd = -1

    def _is_current(self, fd: int) -> bool:
        mine = os.fstat(fd)
        try:
            there = os.stat(self._path)
        except OSError:
            return False
        return (mine.st_dev, mine.st_ino) == (there.st_dev, there.st_ino)
