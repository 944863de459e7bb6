"""How the library rows are run: other people's clients and workers beside ours, over one and the same server.

Owns the programs in libraries/ and the environment with gear and pygearman. The side that is not compared, if there is
one, is the C load driver. The CPU is that of the client or worker, or of both, not of the server.
"""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Final

from benchmarks.build import PLAIN_PYTHON, ROOT, BenchError
from benchmarks.loads import drive, folder, workers
from benchmarks.rows import Row, Shape
from benchmarks.samples import Sample
from benchmarks.servers import VARIANTS, Variant, start

__all__ = ["client", "missing", "pair", "worker"]

_PROGRAMS: Final = Path(__file__).resolve().parent / "libraries"
_OTHERS: Final = ROOT / ".venv-bench"


@cache
def _server() -> Variant:
    """The cheapest of ours that is here: what it takes of the cores, the library that is measured does not have."""
    compiled = VARIANTS["compiled"]
    return VARIANTS["pure"] if compiled.missing() else compiled


@cache
def _others() -> str:
    """The interpreter with gear and pygearman, in an environment of its own: they are no part of geartrain."""
    python = _OTHERS / "bin" / "python"
    if not python.exists():
        subprocess.run([str(PLAIN_PYTHON), "-m", "venv", str(_OTHERS)], check=True)
    if subprocess.run([str(python), "-c", "import gear, gearman"], capture_output=True, check=False).returncode:
        subprocess.run([str(python), "-m", "pip", "install", "-q", "gear", "pygearman"], check=True)
    return str(python)


def _command(side: str, library: str) -> list[str]:
    if library == "php":
        return ["php", str(_PROGRAMS / f"{side}_php.php")]
    python = str(PLAIN_PYTHON) if library in ("sync", "asyncio") else _others()
    return [python, str(_PROGRAMS / f"{side}_{library}.py")]


@cache
def missing(library: str) -> str:
    """Why a library cannot be measured on this machine; empty when it can."""
    if library != "php":
        return ""
    probe = subprocess.run(["sh", "-c", "php -m | grep -qx gearman"], check=False)
    return "" if probe.returncode == 0 else "PHP's extension is not installed (Debian: php-cli php-gearman)"


@contextmanager
def _running(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            _expect(process, "ready")
            yield process
        finally:
            process.kill()


def _expect(process: subprocess.Popen[bytes], word: str) -> None:
    assert process.stdout is not None
    line = process.stdout.readline().decode().strip()
    if line != word:
        raise BenchError(f"its program broke off before it was {word}" + (f": {line}" if line else ""))


def _say(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    process.stdin.write(b"go\n")
    process.stdin.flush()


def _cpu(process: subprocess.Popen[bytes]) -> float:
    return time.clock_gettime((~process.pid << 3) | 2)


def client(row: Row, library: str, scale: float) -> Sample:
    """The library's client; the workers are the load driver's."""
    with folder() as path, start(_server(), path) as server, workers(server, 4):
        return _timed(row, library, server.port, _jobs(row, library, scale))


def pair(row: Row, library: str, scale: float) -> Sample:
    """The library's client and its worker."""
    worker = _command("worker", library)
    with folder() as path, start(_server(), path) as server, _running([*worker, str(server.port)]) as process:
        return _timed(row, library, server.port, _jobs(row, library, scale), process)


def _jobs(row: Row, library: str, scale: float) -> int:
    jobs = row.slow_jobs if library == "gear" and row.slow_jobs else row.jobs
    return max(int(jobs * scale), 50)


def _timed(row: Row, library: str, port: int, jobs: int, *others: subprocess.Popen[bytes]) -> Sample:
    """Runs the library's client. The CPU is its own, and that of others."""
    window = int(row.shape["window"])
    jobs = max(jobs // window, 1) * window
    with _running([*_command("client", library), str(port), str(jobs), str(window)]) as process:
        cpu, began = sum(map(_cpu, (process, *others))), time.perf_counter()
        _say(process)
        _expect(process, "done")
        seconds = time.perf_counter() - began
        cpu = sum(map(_cpu, (process, *others))) - cpu
    return {"jobs": jobs, "seconds": seconds, "jobs_per_second": jobs / seconds, "cpu_us": cpu * 1e6 / jobs}


def worker(row: Row, library: str, scale: float) -> Sample:
    """The library's worker; the client is the load driver's."""
    jobs = _jobs(row, library, scale)
    shape: Shape = {"mode": "fg", "clients": 1, "window": row.shape["window"], "workers": 0}
    command = _command("worker", library)
    with folder() as path, start(_server(), path) as server, _running([*command, str(server.port)]) as process:
        drive(server, shape, jobs // 10)
        before = _cpu(process)
        sample = drive(server, shape, jobs)
        cpu = _cpu(process) - before
    kept = ("jobs", "seconds", "jobs_per_second", "p50_us", "p99_us")
    return {**{figure: sample[figure] for figure in kept}, "cpu_us": cpu * 1e6 / jobs}
