"""The guests' languages: how a guest program is run in each, and what a client and a worker in each are called with.

Owns the interpreters and their libraries: finding them, and installing what npm has pinned. Must not know servers.
"""

import dataclasses
import fcntl
import functools
import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Callable

from tests.services import missing

from .programs import BIN, GUESTS, PACKAGES, Finished, compiled, find


@functools.cache
def php(script: str) -> list[str]:
    """The beginning of a command line that runs a guest in PHP."""
    program = find("php")
    modules = subprocess.run([program, "-m"], capture_output=True, text=True, timeout=20, check=True).stdout
    if "gearman" not in modules.split():
        missing("PHP's gearman extension", PACKAGES["php"])
    return [program, "-d", "display_errors=stderr", str(GUESTS / "php" / f"{script}.php")]


@functools.cache
def perl(script: str, module: str = "Gearman::Client") -> list[str]:
    """The beginning of a command line that runs a guest in Perl."""
    program = find("perl")
    if subprocess.run([program, f"-M{module}", "-e1"], capture_output=True, timeout=20, check=False).returncode:
        missing(f"Perl's {module}", PACKAGES["perl"])
    return [program, str(GUESTS / "perl" / f"{script}.pl")]


@functools.cache
def python(library: str) -> list[str]:
    """The beginning of a command line that runs a guest with gear or pygearman, in this interpreter."""
    module = {"gear": "gear", "pygearman": "gearman"}[library]
    if importlib.util.find_spec(module) is None:
        missing(f"{library} (pip install --group interop)", "python3-pip")
    # Their warnings are their own: we want their output.
    return [sys.executable, "-W", "ignore", str(GUESTS / "python" / f"with_{library}.py")]


@functools.cache
def node(script: str) -> list[str]:
    """The beginning of a command line that runs a guest in JavaScript."""
    _install_npm_packages()
    return [find("node"), "--no-warnings", str(GUESTS / "node" / f"{script}.js")]


def _install_npm_packages() -> None:
    """Installs what package-lock.json pins beside the guests, once."""
    folder = GUESTS / "node"
    npm = find("npm")
    BIN.mkdir(exist_ok=True)
    done_mark = BIN / "node-installed"
    with open(BIN / "node-lock", "w") as lock:  # several test processes may want to install at once
        fcntl.flock(lock, fcntl.LOCK_EX)
        pinned = (folder / "package-lock.json").read_text()
        if done_mark.exists() and done_mark.read_text() == pinned and (folder / "node_modules").exists():
            return
        argv = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--omit-lockfile-registry-resolved"]
        done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, timeout=100, check=False)
        if done.returncode:
            shutil.rmtree(folder / "node_modules", ignore_errors=True)
            missing(f"the npm package gearmanode (npm said: {done.stderr.strip()[-200:]})", "nodejs npm")
        done_mark.write_text(pinned)


@dataclasses.dataclass(frozen=True, slots=True)
class Language:
    """A guest's language.

    Attributes:
        worker: address and functions to the command line of a worker for them.
        call: address, function and workload to the command line of one foreground job.
        before: what stands before the result in the last line that the caller prints.
        failed: what the last line begins with when the job has failed.
    """

    worker: Callable[..., list[str]]
    call: Callable[[str, str, str], list[str]]
    before: str
    failed: str

    def result(self, done: Finished) -> str:
        """The job's result, from what the caller printed."""
        last = done.lines[-1]
        assert last.startswith(self.before), done
        return last.removeprefix(self.before)

    def has_failed(self, done: Finished) -> bool:
        return (done.errors.decode() if self.failed == "Job failed" else done.lines[-1]).startswith(self.failed)


def _tool(address: str, *words: str) -> list[str]:
    host, _, port = address.partition(":")
    return [find("gearman"), "-h", host, "-p", port, *words]


LANGUAGES = {
    "libgearman": Language(
        # old_reverse returns its result, as the others do; reverse sends it as data first.
        lambda address, *functions: [
            *[compiled("worker"), address],
            *("reverse:old_reverse" if name == "reverse" else name for name in functions),
        ],
        lambda address, function, workload: [compiled("call"), address, function, workload],
        "SUCCESS ",
        "WORK_FAIL",
    ),
    "php": Language(
        lambda address, *functions: [*php("worker"), address, *functions],
        lambda address, function, workload: [*php("call"), address, function, workload],
        "SUCCESS ",
        "WORK_FAIL",
    ),
    "perl": Language(
        lambda address, *functions: [*perl("worker"), address, *functions],
        lambda address, function, workload: [*perl("call"), address, function, workload],
        "RESULT ",
        "FAILED",
    ),
    "gearmanode": Language(
        lambda address, *functions: [*node("worker"), address, *functions],
        lambda address, function, workload: [*node("tasks"), address, f"{function}={workload}"],
        "complete 1 ",
        "fail 1",
    ),
    "gear": Language(
        lambda address, *functions: [*python("gear"), "worker", address, *functions],
        lambda address, function, workload: [*python("gear"), "call", address, "normal", "", f"{function}={workload}"],
        "complete 1 ",
        "fail 1",
    ),
    "pygearman": Language(
        lambda address, *functions: [*python("pygearman"), "worker", address, *functions],
        lambda address, function, workload: [
            *[*python("pygearman"), "call", address, "normal", ""],
            f"{function}={workload}",
        ],
        "1 COMPLETE ",
        "1 FAILED",
    ),
    "gearman": Language(  # Debian's tool does what a command does, so it can only reverse
        lambda address, *functions: _tool(address, "-w", *[f"-f{name}" for name in functions], "--", find("rev")),
        lambda address, function, workload: _tool(address, "-f", function, workload),
        "",
        "Job failed",
    ),
}
TELLING = sorted(set(LANGUAGES) - {"gearman"})
"""The languages whose workers can do all that the guests can: reverse, story, fail, gate, note."""
