"""Plays transcripts by hand: ``python -m tests.transcripts.play [--on gearmand] [FILE] [-k WORDS]``."""

import argparse
import sys
import tempfile
from pathlib import Path

from .notation import SERVERS, parse
from .runner import Deviation, Player
from .servers import running

HERE = Path(__file__).parent


def main() -> int:
    """Plays what was asked for and prints each deviation."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("files", nargs="*", type=Path, default=sorted(HERE.glob("*.txt")))
    options.add_argument("--on", choices=SERVERS, action="append", help="the server (default: both)")
    options.add_argument("-k", default="", metavar="WORDS", help="only dialogues whose title holds this")
    chosen = options.parse_args()
    good = bad = 0
    for file in chosen.files:
        for dialogue in parse(file):
            if chosen.k not in dialogue.title:
                continue
            for name in chosen.on or SERVERS:
                server_options, steps = dialogue.for_server(name)
                with tempfile.TemporaryDirectory() as folder, running(name, server_options, Path(folder)) as server:
                    try:
                        Player(server).play(steps)
                    except Deviation as error:
                        bad += 1
                        print(f"{file.name}: {dialogue.title}\n  {error}\n", flush=True)
                    else:
                        good += 1
    print(f"{good} as written, {bad} not")
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())
