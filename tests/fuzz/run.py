"""Fuzzes a target with atheris: ``python -m tests.fuzz.run parser|engine [libFuzzer's arguments]``."""

import sys

import atheris

with atheris.instrument_imports(include=["geartrain.protocol", "geartrain.engine"]):
    from tests.fuzz.targets import TARGETS


def main() -> None:
    """Runs until libFuzzer's limits are reached, for ever without any."""
    if len(sys.argv) < 2 or sys.argv[1] not in TARGETS:
        sys.exit(f"usage: python -m tests.fuzz.run {'|'.join(TARGETS)} [corpus] [-max_total_time=SECONDS]")
    target = TARGETS[sys.argv.pop(1)]
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
