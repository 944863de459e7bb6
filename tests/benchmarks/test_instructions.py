"""The guard: a job must not cost more machine instructions than it did."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.timeout(400)  # callgrind is fifty times slower, and the machine may be busy
@pytest.mark.skipif(
    not shutil.which("valgrind") and not os.environ.get("CI"), reason="valgrind is not installed (Debian: valgrind)"
)
def test_a_job_costs_no_more_instructions_than_its_limit() -> None:
    command = [sys.executable, "-m", "benchmarks.instructions"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "instructions per job" in result.stdout
