"""`gearman` as a client: where the workloads come from, and where the results go.

Owns what is printed for a job, which is what the C tool prints. Knows nothing of the protocol.
"""

import argparse
import sys
import time
import uuid
from collections.abc import Iterator
from typing import Any, BinaryIO, Final

from geartrain.cli.connection import servers_at, tls_of
from geartrain.cli.exits import Exit, describe, exit_for
from geartrain.cli.terminal import Output, OutputFailed, ProgressBar, say
from geartrain.client.sync import Client, Task
from geartrain.errors import GeartrainError, JobException, JobFailed, NoServersAvailable, RequestTimeout

__all__ = ["submit"]

_CONNECT_TIMEOUT: Final = 10.0
_LOOK: Final = 1.0
"""Seconds between two looks at the output."""


def submit(args: argparse.Namespace) -> Exit:
    """Submits what the command line asks for and waits for the results.

    A job that fails does not keep the next one from being submitted. Without any server, the first is the last.

    Returns:
        The status of the first thing that went wrong.

    Raises:
        ConfigError: the servers or the TLS settings cannot be used.
    """
    printer = _Printer(args)
    with Client(
        servers_at(args.host, args.port),
        connect_timeout=_CONNECT_TIMEOUT if args.timeout is None else max(args.timeout, 0.001),
        **tls_of(args)._asdict(),
    ) as client:
        for workload in _workloads(args):
            try:
                _round(client, args, workload, printer)
            except OutputFailed:
                raise
            except NoServersAvailable as error:
                printer.problem(error)
                break
            except GeartrainError as error:
                printer.problem(error)
    return printer.status


def _workloads(args: argparse.Namespace) -> Iterator[bytes]:
    if args.operands:
        for word in args.operands:
            yield word.encode("utf-8", "surrogateescape")
    elif args.no_input:
        yield b""
    elif args.lines:
        for line in sys.stdin.buffer:
            yield line.removesuffix(b"\n") if args.strip else line
    else:
        yield sys.stdin.buffer.read()


def _round(client: Client, args: argparse.Namespace, workload: bytes, printer: "_Printer") -> None:
    """The workload to every function, side by side, until all are done."""
    printer.heard = time.monotonic()
    tasks = [
        client.submit(
            name.encode("utf-8", "surrogateescape"),
            workload,
            # As libgearman: without a unique (an empty one is none) every job gets one of its own.
            unique=(args.unique or str(uuid.uuid4())).encode("utf-8", "surrogateescape"),
            priority=args.priority,
            background=args.background,
            on_created=printer.created,
            on_data=printer.data,
            on_warning=printer.warning,
            on_status=printer.progress,
            on_complete=printer.complete,
            on_exception=printer.failed,
            on_fail=printer.failed,
        )
        for name in args.functions
    ]
    for task in tasks:
        _wait(task, args.timeout, printer)
    for task in tasks:
        printer.output.check()
        printer.failed(task)  # also where the connection was lost before anything could be called back


def _wait(task: Task, limit: float | None, printer: "_Printer") -> None:
    # The limit is for silence, not for the whole job: that is how libgearman counts it.
    while not task.done:
        remaining = None if limit is None else printer.heard + limit - time.monotonic()
        if remaining is not None and remaining <= 0:
            function = task.function.decode("utf-8", "backslashreplace")
            raise RequestTimeout(f"the time limit was reached: {function}: nothing came from the server")
        # Now and then the output is looked at: it may be gone while the job is still running.
        task.wait(_LOOK if remaining is None else min(remaining, _LOOK))
        printer.output.check()


class _Printer:
    """Prints what comes for the jobs.

    Attributes:
        heard: when something came last (monotonic seconds).
        status: what the tool's exit status will say.
        output: where it is printed.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        self.heard = time.monotonic()
        self.status = Exit.OK
        self.output = Output()
        self._prefix = args.prefix
        self._verbose = args.verbose
        self._bar = ProgressBar(sys.stdout, "progress")
        self._reported: set[Exception] = set()

    def _write(self, stream: BinaryIO, task: Task, data: bytes) -> None:
        self.heard = time.monotonic()
        self._bar.clear()
        self.output.write(stream, task.function + b": " + data if self._prefix else data)

    def created(self, task: Task) -> None:
        self.heard = time.monotonic()
        if self._verbose:
            self._bar.clear()
            self.output.write(sys.stdout.buffer, b"Task created: " + task.handle + b"\n")

    def data(self, task: Task, data: bytes) -> None:
        self._write(sys.stdout.buffer, task, data)

    def complete(self, task: Task) -> None:
        self._write(sys.stdout.buffer, task, task.result())

    def warning(self, task: Task, data: bytes) -> None:
        self._write(sys.stderr.buffer, task, data)

    def progress(self, task: Task, progress: Any) -> None:
        numerator, denominator = progress
        if self._bar.enabled:
            self.heard = time.monotonic()
            self._bar.update(numerator, denominator)
        elif denominator:
            self._write(sys.stdout.buffer, task, b"%d%% Complete\n" % (numerator * 100 // denominator))
        else:  # the C tool dies of this division
            self._write(sys.stdout.buffer, task, b"%d/0 Complete\n" % numerator)

    def failed(self, task: Task) -> None:
        error = task.error
        if error is None or error in self._reported:
            return
        self._reported.add(error)
        if isinstance(error, JobException):
            data = error.data if error.data.endswith(b"\n") else error.data + b"\n"
            self._write(sys.stderr.buffer, task, data)
            self._note(Exit.FAILED)
        elif isinstance(error, JobFailed):
            self._write(sys.stderr.buffer, task, b"Job failed\n")
            self._note(Exit.FAILED)
        elif isinstance(error, GeartrainError):
            self.problem(error)

    def problem(self, error: GeartrainError) -> None:
        """What went wrong with something else than the job itself."""
        self._bar.clear()
        say(describe(error), program="gearman")
        self._note(exit_for(error))

    def _note(self, status: Exit) -> None:
        self.status = self.status or status
