"""`gearman` as a worker: a command for every job, or the workloads on standard output.

Owns the tool's rounds: how many jobs, how long to wait for one. Knows nothing of the protocol.
"""

import argparse
import logging
import signal
import sys
from types import FrameType

from geartrain.cli.command import CommandTask
from geartrain.cli.connection import servers_at, tls_of
from geartrain.cli.exits import Exit
from geartrain.cli.terminal import say
from geartrain.errors import ConfigError
from geartrain.worker.job import Job
from geartrain.worker.sync import Worker

__all__ = ["work"]


def work(args: argparse.Namespace) -> Exit:
    """Works until SIGTERM, SIGINT or the end of -c. The job that runs then is finished.

    Raises:
        ConfigError: the servers, the TLS settings or a function cannot be used.
    """
    if args.count < 0:
        raise ConfigError(f"-c {args.count}: the number of jobs cannot be negative; 0 is without end")
    # What the library has to say (a server that is away, an exception) goes where the tool's own words go.
    logging.basicConfig(format="gearman: %(message)s", level=logging.WARNING)
    worker = Worker(servers_at(args.host, args.port), stop_timeout=None, **tls_of(args)._asdict())
    task = CommandTask(args.operands, lines=args.lines, strip=args.strip, program="gearman") if args.operands else _show
    rounds = _Rounds(worker, args.count)

    def counted(job: Job) -> bytes:
        try:
            return task(job)
        finally:
            rounds.over()  # well or not

    for name in args.functions:
        worker.register(name.encode("utf-8", "surrogateescape"), counted)
    if args.timeout is None:
        worker.work()
        return Exit.OK
    return _with_limit(worker, rounds, args.timeout, args.strict)


def _show(job: Job) -> bytes:
    sys.stdout.buffer.write(job.workload)
    sys.stdout.buffer.flush()
    return b""


class _Rounds:
    """Counts down what -c counts: jobs, and the times that none came within -t.

    The C tool counts a job that fails twice, and so leaves too early; here it is one.
    """

    def __init__(self, worker: Worker, count: int) -> None:
        self._worker = worker
        self._left = count
        self._endless = count == 0

    def over(self) -> None:
        """A round is over. After the last the worker takes no more jobs."""
        self._left -= 1
        if not self:
            self._worker.stop()

    def __bool__(self) -> bool:
        """Whether there are more."""
        return self._endless or self._left > 0


def _with_limit(worker: Worker, rounds: _Rounds, timeout: float, strict: bool) -> Exit:
    """Rounds of at most so many seconds. --strict leaves after the first in vain, the C tool goes on."""
    stopped = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal stopped
        if stopped:
            raise KeyboardInterrupt  # the second time means now
        stopped = True
        worker.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    with worker:
        while rounds and not stopped:
            if worker.work_once(timeout) or stopped:
                continue
            say(f"the time limit was reached: no job came within {timeout:g} s", program="gearman")
            if strict:
                return Exit.TIMEOUT
            rounds.over()
    return Exit.OK
