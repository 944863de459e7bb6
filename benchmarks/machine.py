"""The facts of the machine and of the programs that the figures belong to. No names of hosts or users."""

import os
import platform
import re
import shutil
import subprocess
from pathlib import Path

from benchmarks.build import PLAIN_PYTHON

__all__ = ["facts"]


def _first_line(*command: str) -> str:
    if not shutil.which(command[0]):
        return "not installed"
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return next((line.strip() for line in (result.stdout + result.stderr).splitlines() if line.strip()), "unknown")


def _made_by() -> str:
    """Whose Python it is: one that was built without profile-guided optimisation costs a sixth more."""
    return "the distribution's" if PLAIN_PYTHON.resolve().is_relative_to("/usr/bin") else "another build"


def facts() -> dict[str, str]:
    """What stands under the tables."""
    processor = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    memory = re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text())
    return {
        "processor": f"{os.cpu_count()} x {processor[1] if processor else platform.machine()}",
        "memory": f"{int(memory[1]) // 1024 // 1024 + 1 if memory else 0} GiB",
        "kernel": "Linux " + ".".join(re.findall(r"\d+", platform.release())[:2]),
        "system": platform.freedesktop_os_release().get("PRETTY_NAME", "unknown"),
        "python": f"{_first_line(str(PLAIN_PYTHON), '--version').removeprefix('Python ')} ({_made_by()})",
        "gearmand": (re.search(r"\d[\w.]*", _first_line("gearmand", "--version")) or ["unknown"])[0],
        "driver": _first_line("gcc", "--version"),
    }
