"""The gate of a client program: says that it is ready, waits for the word, runs, says that it is done, waits again.

So that whoever measures it reads its CPU clock before and after the jobs, and not while it starts or ends.
"""

import sys
from collections.abc import Callable

PORT = int(sys.argv[1])
JOBS = int(sys.argv[2]) if len(sys.argv) > 2 else 0
WINDOW = int(sys.argv[3]) if len(sys.argv) > 3 else 1
WORKLOAD = b"x" * 64


def pass_through(warm_up: Callable[[], object], run: Callable[[], object]) -> None:
    warm_up()
    print("ready", flush=True)
    sys.stdin.readline()
    run()
    print("done", flush=True)
    sys.stdin.readline()
