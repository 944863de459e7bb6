"""The facts of the machine and of the programs that the figures belong to. No names of hosts or users."""

import os
import platform
import re
import shutil
import subprocess
from pathlib import Path

from benchmarks.build import COMPILED_PYTHON

__all__ = ["facts"]


def _first_line(*command: str) -> str:
    if not shutil.which(command[0]):
        return "not installed"
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return next((line.strip() for line in (result.stdout + result.stderr).splitlines() if line.strip()), "unknown")


def facts() -> dict[str, str]:
    """What stands under the tables."""
    processor = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    memory = re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text())
    found = {
        "processor": f"{os.cpu_count()} x {processor[1] if processor else platform.machine()}",
        "memory": f"{int(memory[1]) // 1024 // 1024 + 1 if memory else 0} GiB",
        "kernel": "Linux " + ".".join(re.findall(r"\d+", platform.release())[:2]),
        "system": platform.freedesktop_os_release().get("PRETTY_NAME", "unknown"),
        "python": platform.python_version(),
        "gearmand": (re.search(r"\d[\w.]*", _first_line("gearmand", "--version")) or ["unknown"])[0],
        "driver": _first_line("gcc", "--version"),
    }
    if COMPILED_PYTHON.exists():
        found["compiled on"] = _first_line(str(COMPILED_PYTHON), "--version")
    return found
