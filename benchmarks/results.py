"""The results of all runs: benchmarks/results.json, which the table and the chart are made from.

Owns the file's form. A run of some rows replaces these rows and leaves the others.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks.samples import Sample

__all__ = ["Result", "read", "write"]


@dataclass
class Result:
    """What one row gave.

    Attributes:
        date: of the run, as 2026-11-21.
        scale: 1 at full size.
        machine: see machine.py.
        rounds: the samples of each round by variant.
        failures: why a variant gave no figures.
    """

    date: str
    scale: float
    machine: dict[str, str]
    rounds: dict[str, list[Sample]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)


def read(path: Path) -> dict[str, Result]:
    if not path.exists():
        return {}
    return {name: Result(**values) for name, values in json.loads(path.read_text()).items()}


def write(path: Path, results: dict[str, Result]) -> None:
    text = json.dumps({name: asdict(result) for name, result in results.items()}, indent=1)
    path.write_text(text + "\n")
