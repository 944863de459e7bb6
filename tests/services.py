"""Temporary real servers for tests: PostgreSQL, MariaDB, Redis, memcached and Debian's gearmand.

Each is a context manager over a `Service` on a free port of 127.0.0.1 with its data in a temporary folder, and ends
with the test, also where the test process is killed. Where the program is missing the test is skipped with the name
of the Debian package; with CI=true that is an error, so that nothing is skipped there unseen.
"""

import contextlib
import ctypes
import ctypes.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from glob import glob
from pathlib import Path
from random import SystemRandom

import pytest

__all__ = [
    "Service",
    "free_port",
    "gearmand",
    "mariadb",
    "memcached",
    "postgres",
    "program",
    "redis",
    "tokyocabinet",
    "wait_until",
]

_PR_SET_PDEATHSIG = 1


def missing(what: str, package: str) -> None:
    """Skips the test; in CI fails it."""
    text = f"{what} is not installed: apt-get install {package}"
    if os.environ.get("CI", "").casefold() in {"1", "true", "yes"}:
        pytest.fail(text)
    pytest.skip(text)


def program(name: str, package: str, *folders: str) -> str:
    """The path of a program, looked for in folders before PATH."""
    path = ":".join([*folders, os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
    found = shutil.which(name, path=path)
    if found is None:
        missing(name, package)
        raise AssertionError
    return found


def tokyocabinet() -> None:
    """Tokyo Cabinet is no server: a library, which has to be there."""
    if ctypes.util.find_library("tokyocabinet") is None:
        missing("Tokyo Cabinet's library", "libtokyocabinet9")


_random = SystemRandom()  # tests that are repeatable set the other one to the same start in each process


def free_port() -> int:
    """A TCP port of 127.0.0.1 that was free a moment ago.

    It is none of those that the system gives out: while a server is down between two starts, its port must not become
    some client's.
    """
    try:
        first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except FileNotFoundError:  # not Linux
        first = 32768
    while True:
        port = _random.randrange(first // 2, first)
        with socket.socket() as sock, contextlib.suppress(OSError):  # somebody has it
            sock.bind(("127.0.0.1", port))
            return port


@contextlib.contextmanager
def silent_port() -> Iterator[int]:
    """A TCP port of 127.0.0.1 that refuses connections, and that nobody else gets meanwhile."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


def listens(path: Path) -> bool:
    """Whether somebody answers on a unix socket."""
    with socket.socket(socket.AF_UNIX) as sock:
        return sock.connect_ex(str(path)) == 0


def wait_until(condition: Callable[[], object], what: str, seconds: float = 20.0) -> None:
    """Waits for a condition; fails with `what` after the deadline."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} seconds: {what}")
        time.sleep(0.01)


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


class Service:
    """A server process that can be stopped, killed, frozen and started again on its port with its data."""

    def __init__(self, argv: Sequence[str], port: int, folder: Path, user: str | None = None) -> None:
        self.port = port
        self.folder = folder
        self.argv = list(argv)
        self.ready: Callable[[], bool] = lambda: _answers(port)
        self._user = user
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def output(self) -> str:
        """What the server has printed."""
        return (self.folder / "output").read_text("utf-8", "replace")

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Starts it and waits until it answers."""
        with open(self.folder / "output", "ab") as output:
            self._process = subprocess.Popen(
                self.argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=self.folder,
                user=self._user, group=None if self._user is None else pwd.getpwnam(self._user).pw_gid,
                extra_groups=None if self._user is None else [], preexec_fn=_die_with_parent,
            )  # fmt: skip

        def started() -> bool:
            assert self.running, f"{self.argv[0]} ended with {self._process and self._process.poll()}:\n{self.output}"
            return self.ready()

        wait_until(started, f"{self.argv[0]} answers on port {self.port}", 60)

    def send(self, number: int) -> None:
        """Sends it a signal."""
        os.kill(self.pid, number)

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Ends it, in order or (SIGKILL) not, and waits until it is gone."""
        if self._process is not None:
            children = self._children() if self.running else []
            self._process.send_signal(number)
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(20)
            self._process = None
            # PostgreSQL's notice the death of the first, and go; until then no new one can start.
            wait_until(lambda: not any(map(_alive, children)), "the processes of the server have gone")

    def kill(self) -> None:
        """kill -9."""
        self.stop(signal.SIGKILL)

    def freeze(self) -> None:
        """Keeps its connections open and answers nothing."""
        self._signal_all(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal_all(signal.SIGCONT)

    def _signal_all(self, number: int) -> None:
        for pid in (self.pid, *self._children()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def _children(self) -> list[int]:
        """PostgreSQL has a process for each connection, with a process group of its own."""
        try:
            return [int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]
        except FileNotFoundError:  # it has just ended
            return []


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


@contextlib.contextmanager
def _service(
    argv: Callable[[int, Path], Sequence[str]],
    user: str | None = None,
    setup: Callable[[Path], None] | None = None,
    ready: Callable[[int], bool] = _answers,
) -> Iterator[Service]:
    folder = Path(tempfile.mkdtemp(prefix="geartrain-test-"))
    try:
        if os.geteuid() != 0:
            user = None
        if user is not None:
            shutil.chown(folder, user)
        if setup is not None:
            setup(folder)
        port = free_port()
        service = Service(argv(port, folder), port, folder, user)
        service.ready = lambda: ready(port)
        try:
            service.start()
            yield service
        finally:
            if service.running:
                service.thaw()
            service.kill()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run(argv: Sequence[str], folder: Path, user: str | None) -> None:
    user = user if os.geteuid() == 0 else None
    group = None if user is None else pwd.getpwnam(user).pw_gid
    subprocess.run(argv, check=True, cwd=folder, user=user, group=group, stdout=subprocess.DEVNULL)


@contextlib.contextmanager
def postgres() -> Iterator[Service]:
    """PostgreSQL: user postgres without a password, database postgres."""
    folders = sorted(glob("/usr/lib/postgresql/*/bin"), reverse=True)
    initdb = program("initdb", "postgresql", *folders)
    server = program("postgres", "postgresql", *folders)
    check = program("pg_isready", "postgresql", *folders)

    def setup(folder: Path) -> None:
        argv = [initdb, "-D", str(folder / "data"), "-A", "trust", "-U", "postgres", "-E", "UTF8", "--no-sync"]
        _run(argv, folder, "postgres")

    def argv(port: int, folder: Path) -> list[str]:
        return [server, "-D", str(folder / "data"), "-p", str(port), "-k", str(folder), "-h", "127.0.0.1"]

    def ready(port: int) -> bool:
        return subprocess.run([check, "-q", "-h", "127.0.0.1", "-p", str(port)], check=False).returncode == 0

    with _service(argv, "postgres", setup, ready) as service:
        yield service


@contextlib.contextmanager
def mariadb(*options: str) -> Iterator[Service]:
    """MariaDB: user root without a password, database test."""
    install = program("mariadb-install-db", "mariadb-server")
    server = program("mariadbd", "mariadb-server")

    def setup(folder: Path) -> None:
        argv = [install, "--no-defaults", f"--datadir={folder / 'data'}", "--auth-root-authentication-method=normal"]
        _run([*argv, "--skip-test-db", f"--tmpdir={folder}"], folder, "mysql")
        (folder / "data" / "test").mkdir(mode=0o700, exist_ok=True)
        if os.geteuid() == 0:
            shutil.chown(folder / "data" / "test", "mysql", "mysql")

    def argv(port: int, folder: Path) -> list[str]:
        return [
            server, "--no-defaults", f"--datadir={folder / 'data'}", f"--port={port}", "--bind-address=127.0.0.1",
            f"--socket={folder / 'socket'}", f"--pid-file={folder / 'pid'}", "--skip-name-resolve",
            f"--tmpdir={folder}", *options,
        ]  # fmt: skip

    with _service(argv, "mysql", setup) as service:
        yield service


@contextlib.contextmanager
def redis(*options: str) -> Iterator[Service]:
    """Redis without a password, with its append-only file synced at each write."""
    server = program("redis-server", "redis-server")

    def argv(port: int, folder: Path) -> list[str]:
        durable = ["--save", "", "--appendonly", "yes", "--appendfsync", "always"]
        return [server, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), *durable, *options]

    with _service(argv) as service:
        yield service


@contextlib.contextmanager
def memcached(*options: str) -> Iterator[Service]:
    """memcached; forgets everything when it is stopped."""
    server = program("memcached", "memcached")

    def argv(port: int, folder: Path) -> list[str]:
        return [server, "-u", "nobody", "-l", "127.0.0.1", "-p", str(port), "-m", "512", "-M", *options]

    with _service(argv) as service:
        yield service


@contextlib.contextmanager
def gearmand(*options: str) -> Iterator[Service]:
    """Debian's gearmand, the C server."""
    server = program("gearmand", "gearman-job-server", "/usr/sbin")

    def argv(port: int, folder: Path) -> list[str]:
        return [server, "-L", "127.0.0.1", "-p", str(port), "-l", "stderr", "--verbose", "INFO", *options]

    with _service(argv) as service:
        yield service
