"""How each kind of row is run on one server. Every run gets a server of its own, in a folder of its own.

Owns the calls of the load drivers. Knows no targets and no rounds.
"""

import json
import shutil
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Final

from benchmarks.build import BIN, BenchError, has_tls, program
from benchmarks.rows import Row, Shape
from benchmarks.samples import Sample
from benchmarks.servers import Server, Variant, free_port, start, wait_for

__all__ = ["drain", "durable", "folder", "http", "idle", "load", "memory", "register", "replay", "tls", "workers"]
__all__ += ["flat_functions", "flat_queue"]

_WARMUP: Final = 5_000
_FULL_SIZE: Final = frozenset({"drain", "register", "idle"})
"""Kinds whose cost depends on the number of jobs: fewer would be another row."""


@contextmanager
def folder() -> Iterator[Path]:
    """A folder beside the programs: a disk, where /tmp may be memory, and the same one for all servers."""
    BIN.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=BIN, prefix="run-") as path:
        yield Path(path)


def _options(shape: Shape) -> list[str]:
    given = [[f"--{name}"] if value is True else [f"--{name}", str(value)] for name, value in shape.items()]
    return [word for words in given for word in words]


def drive(
    server: Server, shape: Shape, jobs: int, warmup: int = 0, name: str = "load", port: int = 0, also: int = 0
) -> Sample:
    """Runs a driver against a server.

    Args:
        server: whose CPU is measured.
        shape: options of the driver.
        jobs: how many are measured.
        warmup: how many go before.
        name: of the driver.
        port: where it connects to, if not to the server's own port.
        also: a process whose CPU counts as the server's.

    Raises:
        BenchError: the driver failed: a server that answers wrongly gives no figures.
    """
    command = [str(program(name)), "--port", str(port or server.port), "--pid", str(server.pid)]
    command += ["--pid", str(also)] if also else []
    command += ["--jobs", str(jobs), "--warmup", str(warmup), *_options(shape)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise BenchError(f"the driver failed: {' '.join(command)}\n{result.stderr}")
    sample: Sample = json.loads(result.stdout.splitlines()[-1])
    return sample


def _jobs(row: Row, variant: Variant, scale: float) -> int:
    if row.kind in _FULL_SIZE:
        return row.jobs
    jobs = row.slow_jobs if row.slow_jobs and variant.threads is not None else row.jobs
    return max(int(jobs * scale), 200)


def _shape_for(row: Row, variant: Variant) -> Shape:
    """ALL_YOURS is a row of its own: gearmand answers it with an error, so its workers do without."""
    if row.name == "all-yours" and variant.threads is None:
        return {**row.shape, "all-yours": True}
    return row.shape


def load(row: Row, variant: Variant, scale: float) -> Sample:
    jobs = _jobs(row, variant, scale)
    with folder() as path, start(variant, path) as server:
        return drive(server, _shape_for(row, variant), jobs, min(_WARMUP, jobs // 10))


def drain(row: Row, variant: Variant, scale: float) -> Sample:
    jobs = _jobs(row, variant, scale)
    with folder() as path, start(variant, path) as server:
        drive(server, {"mode": "bg", "clients": 4, "window": 100}, jobs)
        return drive(server, row.shape, jobs)


def register(row: Row, variant: Variant, scale: float) -> Sample:
    """Registration counts with the jobs that come after it."""
    jobs = _jobs(row, variant, scale)
    with folder() as path, start(variant, path) as server:
        sample = drive(server, row.shape, jobs)
    sample["trips_cpu_us"] = sample["cpu_us"]
    share = 1 + sample["register_cpu_us"] / jobs / sample["cpu_us"]
    for figure in ("cpu_us", "user_us", "system_us"):  # the split is that of the round trips
        sample[figure] *= share
    sample["jobs_per_second"] = jobs / (sample["seconds"] + sample["register_seconds"])
    return sample


def idle(row: Row, variant: Variant, scale: float) -> Sample:
    jobs = _jobs(row, variant, scale)
    connections = int(row.shape["clients"]) + int(row.shape["workers"])
    with folder() as path, start(variant, path) as server:
        sample = drive(server, row.shape, jobs)
    sample["connection_bytes"] = (sample["rss_connected_kib"] - sample["rss_before_kib"]) * 1024 / connections
    return sample


def tls(row: Row, variant: Variant, scale: float) -> Sample:
    """TLS. Debian's gearmand takes --ssl but was built without TLS: stunnel stands before it, and its CPU counts."""
    if not has_tls():
        raise BenchError("The TLS row needs OpenSSL's headers: install libssl-dev.")
    jobs = _jobs(row, variant, scale)
    shape, warmup = {**row.shape, "tls": True}, min(_WARMUP, jobs // 10)
    with folder() as path:
        key, certificate = _certificate(path)
        if variant.ours:
            extra = ["--ssl", "--ssl-certificate", certificate, "--ssl-key", key]
            with start(variant, path, extra) as server:
                return drive(server, shape, jobs, warmup)
        with start(variant, path) as server, _stunnel(path, server.port, key, certificate) as (process, port):
            return drive(server, shape, jobs, warmup, port=port, also=process.pid)


def _certificate(path: Path) -> tuple[str, str]:
    key, certificate = str(path / "key.pem"), str(path / "certificate.pem")
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "2", "-subj", "/CN=localhost", "-keyout", key, "-out", certificate]
    subprocess.run(command, check=True, capture_output=True)
    return key, certificate


@contextmanager
def _stunnel(path: Path, target: int, key: str, certificate: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    if not shutil.which("stunnel"):
        raise BenchError("Debian's gearmand has no TLS of its own: install stunnel4 to compare with.")
    port = free_port()
    configuration = path / "stunnel.conf"
    configuration.write_text(
        f"foreground = quiet\npid =\ndebug = err\nsocket = l:TCP_NODELAY=1\nsocket = r:TCP_NODELAY=1\n"
        f"[gearmand]\naccept = 127.0.0.1:{port}\nconnect = 127.0.0.1:{target}\ncert = {certificate}\nkey = {key}\n"
    )
    with subprocess.Popen(["stunnel", str(configuration)], stderr=subprocess.DEVNULL) as process:
        try:
            wait_for(port, process)
            yield process, port
        finally:
            process.kill()


def _sqlite(path: Path) -> list[str]:
    return ["-q", "libsqlite3", "--libsqlite3-db", str(path / "queue.db")]


def durable(row: Row, variant: Variant, scale: float) -> Sample:
    jobs = _jobs(row, variant, scale)
    with folder() as path, start(variant, path, _sqlite(path)) as server:
        return drive(server, row.shape, jobs, min(_WARMUP, jobs // 10))


def memory(row: Row, variant: Variant, scale: float) -> Sample:
    jobs = _jobs(row, variant, scale)
    with folder() as path, start(variant, path) as server:
        sample = drive(server, row.shape, jobs)
    sample["job_bytes"] = (sample["rss_kib"] - sample["rss_before_kib"]) * 1024 / jobs
    return sample


@cache
def _stored_queue(jobs: int, size: int) -> Path:
    """A database as gearmand leaves it, with its own table; made once and kept."""
    target = BIN / f"queue-{jobs}x{size}.db"
    if target.exists():
        return target
    BIN.mkdir(exist_ok=True)
    unfinished = target.with_suffix(".part")
    unfinished.unlink(missing_ok=True)
    with sqlite3.connect(unfinished) as database:
        database.execute(
            "CREATE TABLE gearman_queue (unique_key TEXT, function_name TEXT, priority INTEGER, data BLOB, "
            "when_to_run INTEGER, PRIMARY KEY (unique_key, function_name))"
        )
        rows = ((f"u{number}", "bench0", 1, b"x" * size, 0) for number in range(jobs))
        database.executemany("INSERT INTO gearman_queue VALUES (?, ?, ?, ?, ?)", rows)
    database.close()
    unfinished.rename(target)
    return target


def replay(row: Row, variant: Variant, scale: float) -> Sample:
    """From the start of the program until its status shows every job."""
    jobs = _jobs(row, variant, scale)
    with folder() as path:
        shutil.copy(_stored_queue(jobs, int(row.shape["size"])), path / "queue.db")
        began = time.monotonic()
        with start(variant, path, _sqlite(path), deadline=1800) as server:
            while f"bench0\t{jobs}\t" not in server.ask("status"):
                if time.monotonic() - began > 1800:
                    raise BenchError(f"{variant.name} did not replay {jobs} jobs in half an hour")
                time.sleep(0.02)
            return {
                "jobs": jobs,
                "seconds": time.monotonic() - began,
                "cpu_us": server.cpu_seconds() * 1e6 / jobs,
                "rss_kib": server.memory_kib(),
                "peak_kib": server.memory_kib("VmHWM"),
            }


@contextmanager
def workers(server: Server, count: int) -> Iterator[None]:
    """Workers of the load driver, for a row whose clients are something else."""
    command = [str(program("load")), "--port", str(server.port), "--mode", "work", "--workers", str(count)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        if process.stdout.readline() != b"ready\n":
            raise BenchError("the workers of the load driver did not start")
        try:
            yield
        finally:
            process.kill()


def http(row: Row, variant: Variant, scale: float) -> Sample:
    jobs = _jobs(row, variant, scale)
    port = free_port()
    with (
        folder() as path,
        start(variant, path, ["-r", "http", "--http-port", str(port)]) as server,
        workers(server, int(row.shape["workers"])),
    ):
        wait_for(port, server.process)
        sample = drive(server, {"clients": row.shape["clients"]}, jobs, min(_WARMUP, jobs // 10), "httpload", port)
    if sample["other_answers"]:
        raise BenchError(f"{sample['other_answers']:.0f} requests were not answered with 200 and the result")
    return sample


def _flat(rates: dict[str, float]) -> Sample:
    """The slowest size beside the smallest one: 1 is perfectly flat."""
    first, *others = rates.values()
    return {**rates, "flatness": min(others) / first}


def flat_functions(row: Row, variant: Variant, scale: float) -> Sample:
    jobs = _jobs(row, variant, scale)
    rates = {}
    for functions in (10, 1_000, 100_000):
        with folder() as path, start(variant, path) as server:
            sample = drive(server, {**row.shape, "functions": functions}, jobs, max(functions, jobs // 10))
        rates[f"at_{functions}"] = sample["jobs_per_second"]
    return _flat(rates)


def flat_queue(row: Row, variant: Variant, scale: float) -> Sample:
    jobs = _jobs(row, variant, scale)
    rates = {}
    for queued in (1_000, int(1_000_000 * min(1, scale * 10))):
        with folder() as path, start(variant, path) as server:
            sample = drive(server, {**row.shape, "queued": queued}, jobs, min(_WARMUP, jobs // 10))
        rates[f"at_{queued}"] = sample["jobs_per_second"]
    return _flat(rates)
