"""Builds the C programs, and finds the interpreters that the servers run on.

Owns benchmarks/bin and the paths of the environments. Knows no row and no server.
"""

import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Final

__all__ = ["BIN", "COMPILED_PYTHON", "PLAIN_PYTHON", "ROOT", "BenchError", "has_tls", "is_compiled", "program"]

HERE: Final = Path(__file__).resolve().parent
ROOT: Final = HERE.parent
BIN: Final = HERE / "bin"
_PLAIN: Final = ROOT / ".venv-plain" / "bin" / "python"
PLAIN_PYTHON: Final = _PLAIN if _PLAIN.exists() else Path(sys.executable)
"""Made by scripts/bench; without that, the interpreter that runs this."""
COMPILED_PYTHON: Final = ROOT / ".venv-compiled" / "bin" / "python"
"""Made by scripts/compile."""
_OPENSSL: Final = ("-lssl", "-lcrypto")


class BenchError(Exception):
    """Something that the yardstick needs is missing or went wrong; the text says what to do."""


@cache
def has_tls() -> bool:
    """Whether OpenSSL's headers are here: without them the TLS row is left out."""
    probe = subprocess.run(
        ["gcc", "-E", "-x", "c", "-", "-o", "/dev/null"],
        input=b"#include <openssl/ssl.h>\n",
        capture_output=True,
        check=False,
    )
    return probe.returncode == 0


@cache
def program(name: str) -> Path:
    """The C program of that name, built anew when its source is younger.

    Raises:
        BenchError: gcc is missing or refuses the source.
    """
    source, target = HERE / f"{name}.c", BIN / name
    newest = max(path.stat().st_mtime for path in (source, *HERE.glob("*.h")))
    if target.exists() and target.stat().st_mtime > newest:
        return target
    BIN.mkdir(exist_ok=True)
    flags = _OPENSSL if has_tls() else ("-DNO_TLS",)
    command = ["gcc", "-O2", "-Wall", "-Wextra", "-o", str(target), str(source), *flags]
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise BenchError("The load driver is written in C: install gcc.") from error
    if result.returncode:
        raise BenchError(f"gcc does not build {source.name}:\n{result.stderr}")
    return target


@cache
def is_compiled(python: Path) -> bool:
    """Whether the geartrain of that interpreter was compiled by mypyc."""
    script = "import geartrain.protocol.parser as parser; print(parser.__file__)"
    result = subprocess.run([str(python), "-c", script], capture_output=True, text=True, check=False, cwd="/")
    if result.returncode:
        raise BenchError(f"{python} cannot import geartrain:\n{result.stderr}")
    return result.stdout.strip().endswith(".so")
