"""The guard against a slide: how many machine instructions a job costs in the parser and the engine.

Owns the counting and the limits by version of Python (instructions.json); what is counted is in loops.py. Callgrind
counts instructions, not seconds, so that a busy machine counts the same. Two runs of different lengths are compared:
their difference is free of the interpreter's start. Pure Python only; bench.py measures the rest.

    python -m benchmarks.instructions              counts and compares with the limits
    python -m benchmarks.instructions --update     sets the limits of this version of Python anew
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from benchmarks.build import ROOT, BenchError
from benchmarks.loops import LONG, LOOPS

__all__ = ["count", "main"]

LIMITS: Final = Path(__file__).with_name("instructions.json")
VERSION: Final = f"{sys.version_info.major}.{sys.version_info.minor}"
ROOM: Final = 1.05
"""A limit stands so much above what was counted: another patch release of Python counts a little differently."""
SHORT: Final = 400
_ENVIRONMENT: Final = {
    "PATH": os.environ.get("PATH", ""),
    "PYTHONHASHSEED": "0",
    "PYTHONPATH": os.pathsep.join((str(ROOT / "src"), str(ROOT))),  # the sources, whatever is installed
}
_CALLGRIND: Final = ("valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null")


def _run(loop: str, jobs: int, *before: str) -> str:
    command = [*before, sys.executable, "-S", "-m", "benchmarks.loops", loop, str(jobs)]
    result = subprocess.run(command, cwd=ROOT, env=_ENVIRONMENT, capture_output=True, text=True, check=False)
    if result.returncode:
        raise BenchError(f"the loop {loop!r} failed:\n{result.stdout}\n{result.stderr}")
    return result.stderr


def _collected(loop: str, jobs: int) -> int:
    """Instructions of a whole process that runs a loop."""
    found = re.search(r"Collected : (\d+)", _run(loop, jobs, *_CALLGRIND))
    if not found:
        raise BenchError(f"callgrind says nothing of {loop!r}")
    return int(found[1])


def count(loop: str) -> int:
    """Instructions per job of one of `LOOPS`.

    Raises:
        BenchError: valgrind is missing, or the loop failed.
    """
    if not shutil.which("valgrind"):
        raise BenchError("Instructions are counted by callgrind: install valgrind.")
    return round((_collected(loop, LONG) - _collected(loop, SHORT)) / (LONG - SHORT))


def _limits() -> dict[str, dict[str, int]]:
    limits: dict[str, dict[str, int]] = json.loads(LIMITS.read_text()) if LIMITS.exists() else {}
    return limits


def _compare(update: bool) -> int:
    limits = _limits()
    before = limits.get(VERSION, {})
    _run("echo", SHORT)  # writes the byte code: compiling must not count in one run and not in the other
    with ThreadPoolExecutor(2) as pool:
        counted = dict(zip(LOOPS, pool.map(count, LOOPS), strict=True))
    if update:
        limits[VERSION] = {loop: round(number * ROOM) for loop, number in counted.items()}
        LIMITS.write_text(json.dumps(dict(sorted(limits.items())), indent=1) + "\n")
    slower = False
    for loop, number in counted.items():
        limit = limits.get(VERSION, {}).get(loop)
        verdict = f"limit {limit:,}" if limit else f"no limit for Python {VERSION} yet: set it with --update"
        if limit and number > limit:
            slower = True
            verdict += f": {number / limit * ROOM - 1:.1%} more than when the limit was set"
        was = f" (before: {before[loop]:,})" if update and loop in before else ""
        print(f"{loop}: {number:,} instructions per job, {verdict}{was}")
    return int(slower)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command. Returns the exit status: 1 when a loop costs too much, 2 when nothing was counted."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.instructions", description="Counts instructions per job."
    )
    parser.add_argument("--update", action="store_true", help="set the limits of this version of Python")
    try:
        return _compare(parser.parse_args(arguments).update)
    except BenchError as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
