"""The yardstick: its table, its verdicts, and one quick run over a real server."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from benchmarks.bench import KINDS, LIBRARY_KINDS
from benchmarks.chart import draw
from benchmarks.report import page
from benchmarks.results import Result, read, write
from benchmarks.rows import LIBRARIES, ROWS
from benchmarks.samples import BEST, ITSELF, SHIPPED, Target, judge
from benchmarks.servers import VARIANTS

ROOT = Path(__file__).resolve().parents[2]
ROUNDS = {
    SHIPPED: [{"cpu_us": 20.0, "jobs_per_second": 100.0}, {"cpu_us": 40.0, "jobs_per_second": 50.0}],
    "gearmand-t1": [{"cpu_us": 16.0, "jobs_per_second": 90.0}, {"cpu_us": 20.0, "jobs_per_second": 40.0}],
    "pure": [{"cpu_us": 10.0, "jobs_per_second": 150.0}, {"cpu_us": 20.0, "jobs_per_second": 75.0}],
    "compiled": [{"cpu_us": 8.0, "jobs_per_second": 300.0}, {"cpu_us": 10.0, "jobs_per_second": 150.0}],
}
MACHINE = {"processor": "1 x something"}


def test_every_row_can_be_run_and_judged() -> None:
    for row in ROWS.values():
        assert row.kind in KINDS or row.kind in LIBRARY_KINDS
        assert all(name in VARIANTS or name in LIBRARIES for name in row.variants)
        for target in row.targets:
            assert target.variant in row.variants
            assert target.against in (*row.variants, BEST, ITSELF)


@pytest.mark.parametrize(
    ("target", "value", "reached"),
    [
        (Target("pure", "cpu_us", SHIPPED, 0.7), 0.5, True),
        (Target("pure", "cpu_us", SHIPPED, 0.4), 0.5, False),
        (Target("compiled", "cpu_us", BEST, 0.5), 0.5, True),
        (Target("compiled", "jobs_per_second", BEST, 3, at_least=True), 3.0, True),
        (Target("compiled", "jobs_per_second", BEST, 4, at_least=True), 3.0, False),
        (Target("pure", "cpu_us", ITSELF, 15), 15.0, True),
        (Target("pure", "cpu_us", "floor", 1.5), None, None),
        (Target("pure", "flatness", ITSELF, 0.8, at_least=True), None, None),
    ],
)
def test_a_target_is_judged_by_the_median_of_the_rounds(target: Target, value: float | None, reached: bool) -> None:
    verdict = judge(ROUNDS, target)
    assert verdict.value == value
    assert verdict.reached is reached


def test_best_is_the_best_gearmand_in_each_figure() -> None:
    cheapest = judge(ROUNDS, Target("compiled", "cpu_us", BEST, 1))  # -t 1
    fastest = judge(ROUNDS, Target("compiled", "jobs_per_second", BEST, 1, at_least=True))  # -t 4
    assert (cheapest.value, fastest.value) == (0.5, 3.0)


def test_results_survive_the_file_and_become_a_page_and_a_chart(tmp_path: Path) -> None:
    result = Result("2026-11-21", 1.0, MACHINE, {name: list(samples) for name, samples in ROUNDS.items()})
    result.failures["gearmand-t0"] = "it was not here"
    write(tmp_path / "results.json", {"ten": result})
    results = read(tmp_path / "results.json")
    assert results == {"ten": result}

    text = page(results)
    assert "| round trip, 10 clients x 20 in flight, 10 workers | pure: <= 0.55 of D's cpu_us | 0.5 | reached |" in text
    assert "gearmand-t0: it was not here" in text

    picture = ET.fromstring(draw(results))
    bars = picture.findall(".//{http://www.w3.org/2000/svg}rect[@rx='1']")
    assert len(bars) == 4


@pytest.mark.skipif(not shutil.which("gcc") and not os.environ.get("CI"), reason="gcc is not installed")
def test_a_quick_run_measures_a_real_server() -> None:
    command = [sys.executable, "-m", "benchmarks.bench", "--quick", "--row", "window", "--variant", "pure"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "µs CPU" in result.stdout
    assert "jobs/s" in result.stdout
