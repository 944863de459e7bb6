"""The stored corpus, and a short run of the fuzzer on each target. For as long as one likes: scripts/fuzz."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.targets import TARGETS

HERE = Path(__file__).parent
SECONDS = int(os.environ.get("GEARTRAIN_FUZZ_SECONDS", "10"))


@pytest.mark.parametrize("target", TARGETS)
def test_the_corpus_holds(target: str) -> None:
    entries = sorted((HERE / "corpus" / target).iterdir())
    assert entries
    for entry in entries:
        try:
            TARGETS[target](entry.read_bytes())
        except Exception as error:
            raise AssertionError(f"{entry} shows a fault: {error!r}") from error


@pytest.mark.parametrize("target", TARGETS)
def test_a_short_run_finds_nothing(target: str, tmp_path: Path) -> None:
    if importlib.util.find_spec("atheris") is None:
        message = "atheris is not installed: pip install --group fuzz (Python 3.11 to 3.14)"
        if os.environ.get("CI") and sys.version_info < (3, 15):
            pytest.fail(message)
        pytest.skip(message)
    found = tmp_path / "found"
    found.mkdir()
    command = [sys.executable, "-m", "tests.fuzz.run", target, str(found), str(HERE / "corpus" / target)]
    limits = [f"-max_total_time={SECONDS}", f"-artifact_prefix={tmp_path}/", "-rss_limit_mb=1024", "-timeout=10"]
    run = subprocess.run([*command, *limits], cwd=HERE.parents[1], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-3000:]
    assert "Done " in run.stderr
