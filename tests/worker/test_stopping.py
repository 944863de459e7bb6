"""SIGTERM at the worst moment: the process has it, and the thread that waits is not interrupted by it."""

import contextlib
import os
import signal
import subprocess
import sys

import pytest

from geartrain import AdminClient
from geartrain.testing import Server

from ..services import wait_until

# A signal that another thread gets is like one that comes just before the main thread begins to wait.
PROGRAM = """
import signal, sys, threading
from geartrain import Worker

def signal_when_told():
    sys.stdin.read()
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
    forever.wait()

forever = threading.Event()
threading.Thread(target=signal_when_told, daemon=True).start()
worker = Worker(sys.argv[1])
worker.register("f", lambda job: job.workload)
worker.work(processes=int(sys.argv[2]))
"""


@pytest.mark.parametrize("processes", [1, 2])
def test_a_signal_that_comes_just_before_the_wait_is_not_slept_over(processes: int) -> None:
    with Server() as server:
        argv = [sys.executable, "-c", PROGRAM, server.address, str(processes)]
        with subprocess.Popen(argv, stdin=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True) as worker:
            try:
                wait_until(lambda: _workers(server) == processes, "the worker's registration")
                worker.communicate(timeout=20)  # closes its standard input
                assert worker.returncode == 0
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(worker.pid, signal.SIGKILL)  # its children too


def _workers(server: Server) -> int:
    with AdminClient(server.address) as admin:
        return sum(line.workers for line in admin.status())
