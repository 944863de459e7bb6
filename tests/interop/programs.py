"""Programs of other people: finding them, running them, ending them.

Owns processes, their environment and the C compiler. Must not know servers.
"""

import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.services import missing

GUESTS = Path(__file__).parent / "guests"
BIN = Path(__file__).parent / "bin"
TIME_LIMIT = 15.0
"""Seconds that a program may take before it is killed and the test fails."""

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where other people's programs are: not the virtual environment, that has our own `gearman`."""


PACKAGES = {
    "gearmand": "gearman-job-server",
    "gearman": "gearman-tools",
    "gearadmin": "gearman-tools",
    "gcc": "gcc libc6-dev libgearman-dev",
    "php": "php-cli php-gearman",
    "perl": "perl libgearman-client-perl",
    "node": "nodejs",
    "npm": "npm",
    "openssl": "openssl",
    "socat": "socat",
    "rev": "bsdextrautils",
}


def find(name: str) -> str:
    """The path of somebody else's program, or of a command that workers run. Skips the test where it is missing."""
    path = shutil.which(name, path=SYSTEM_PATH)
    if path is None:
        missing(name, PACKAGES[name])
        raise AssertionError
    return path


def clean_environment(more: Mapping[str, str]) -> dict[str, str]:
    """The environment without the variables that steer Gearman programs, and with some more."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("GEARMAN", "PYTHON"))}
    return {**kept, "LC_ALL": "C.UTF-8", **more}


class Finished:
    """How a program ended."""

    def __init__(self, argv: Sequence[str], code: int, output: bytes, errors: bytes) -> None:
        self.argv = list(argv)
        self.code = code
        self.output = output
        self.errors = errors

    @property
    def lines(self) -> list[str]:
        """What it printed, line by line."""
        return self.output.decode("utf-8", "backslashreplace").splitlines()

    def __repr__(self) -> str:
        told = f"--- output\n{self.output!r}\n--- errors\n{self.errors!r}"
        return f"{' '.join(self.argv)}: exit {self.code}\n{told}"


class Program:
    """A program in the background, in a process group of its own, with its output in files."""

    def __init__(self, argv: Sequence[str], environment: Mapping[str, str], stdin: bytes = b"") -> None:
        self.argv = list(argv)
        with contextlib.ExitStack() as opened:
            source = opened.enter_context(tempfile.TemporaryFile())
            source.write(stdin)
            source.seek(0)
            self._output = opened.enter_context(tempfile.TemporaryFile())
            self._errors = opened.enter_context(tempfile.TemporaryFile())
            self._process = subprocess.Popen(
                self.argv,
                stdin=source,
                stdout=self._output,
                stderr=self._errors,
                env=environment,
                start_new_session=True,
            )
            self._files = opened.pop_all()

    @property
    def pid(self) -> int:
        return self._process.pid

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def output(self) -> bytes:
        """What it has printed so far."""
        return _whole(self._output.fileno())

    def lines(self) -> list[str]:
        return self.output().decode("utf-8", "backslashreplace").splitlines()

    def errors(self) -> str:
        return _whole(self._errors.fileno()).decode("utf-8", "backslashreplace")

    def __repr__(self) -> str:
        return f"{' '.join(self.argv)}\n--- output\n{self.output()!r}\n--- errors\n{self.errors()}"

    def finish(self, timeout: float = TIME_LIMIT) -> Finished:
        """Waits for its end.

        Raises:
            AssertionError: it did not end in time; the text has what it printed.
        """
        try:
            code = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"it did not end within {timeout:g} s: {self!r}") from None
        return Finished(self.argv, code, self.output(), self.errors().encode())

    def send_signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def kill(self) -> None:
        """Ends it and all that it started, at once."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def stop(self) -> None:
        """Ends it: politely, then at once."""
        if self.is_alive():
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(3)
        self.kill()

    def close(self) -> None:
        self.stop()
        self._files.close()


def _whole(descriptor: int) -> bytes:
    return os.pread(descriptor, os.fstat(descriptor).st_size, 0)


def compiled(name: str) -> str:
    """The path of a guest program in C, compiled against libgearman, newly if its source has changed."""
    source = GUESTS / "libgearman" / f"{name}.c"
    header = GUESTS / "libgearman" / "guest.h"
    if not Path("/usr/include/libgearman/gearman.h").exists():
        missing("libgearman's header", "libgearman-dev")
    compiler = find("gcc")
    digest = hashlib.sha256(source.read_bytes() + header.read_bytes()).hexdigest()[:12]
    program = BIN / f"{name}-{digest}"
    if not program.exists():
        BIN.mkdir(exist_ok=True)
        # Several test processes may compile at once: each into a folder of its own.
        with tempfile.TemporaryDirectory(dir=BIN) as folder:
            fresh = Path(folder, name)
            flags = ["-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror"]
            argv = [compiler, *flags, "-o", str(fresh), str(source), "-lgearman"]
            done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
            assert done.returncode == 0, f"{source.name} does not compile:\n{done.stderr}"
            fresh.replace(program)
    return str(program)
