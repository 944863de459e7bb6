"""A shell command as a worker's task: the workload is its input, its output is the job's result.

Owns the child process and its pipes, and what its end means for the job. Knows no servers and no command line.
"""

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import IO

from geartrain.cli.terminal import say
from geartrain.errors import GeartrainError, JobFailed
from geartrain.worker.job import Job

__all__ = ["CommandFailed", "CommandTask", "end_commands", "run_command"]

_running: set[int] = set()
"""Process groups of the commands that run. Each is entered and taken out by the thread that waits for it."""


class CommandFailed(GeartrainError):
    """The command did not end with exit status 0.

    Attributes:
        output: what it wrote before and what was not sent on yet.
    """

    def __init__(self, message: str, output: bytes = b"") -> None:
        super().__init__(message)
        self.output = output


class CommandTask:
    """A task function that runs a command for each job.

    Exit status 0 completes the job with the command's output. Any other, or a signal, sends the output as data and
    fails the job, as gearmand's tool does. The command finds the job's names in the environment:
    GEARTRAIN_FUNCTION, GEARTRAIN_HANDLE and GEARTRAIN_UNIQUE.

    Args:
        argv: the program and its arguments; no shell is involved.
        lines: whether each line of the output is sent at once.
        strip: whether those go without their newlines.
        program: whose messages these are, for standard error.
    """

    def __init__(self, argv: Sequence[str], *, lines: bool = False, strip: bool = False, program: str) -> None:
        self._argv = argv
        self._lines = lines
        self._strip = strip
        self._program = program

    def __call__(self, job: Job) -> bytes:
        names = {"FUNCTION": job.function, "HANDLE": job.handle, "UNIQUE": job.unique}
        environment = {f"GEARTRAIN_{name}": value.decode("utf-8", "surrogateescape") for name, value in names.items()}

        def send(line: bytes) -> None:
            job.send_data(line.removesuffix(b"\n") if self._strip else line)

        try:
            return run_command(self._argv, job.workload, send if self._lines else None, environment)
        except CommandFailed as failure:
            handle, function = environment["GEARTRAIN_HANDLE"], environment["GEARTRAIN_FUNCTION"]
            say(f"job {handle} for {function} failed: {failure}", program=self._program)
            if failure.output:
                job.send_data(failure.output)
            raise JobFailed(str(failure), handle=job.handle) from failure


def run_command(
    argv: Sequence[str],
    workload: bytes,
    on_line: Callable[[bytes], object] | None = None,
    environment: Mapping[str, str] | None = None,
) -> bytes:
    """Runs a command once.

    Its input is written by a thread of its own: a command that writes before it has read everything would stop
    for ever otherwise, as it does under gearmand's tool. It gets a process group of its own, so that Ctrl-C on the
    worker's terminal lets it finish.

    Args:
        argv: the program and its arguments.
        workload: its standard input. A command need not read it.
        on_line: is given each line of the output as soon as it is there, newline and all.
        environment: variables to add to ours.

    Returns:
        The output. Empty where ``on_line`` got it.

    Raises:
        CommandFailed: it could not be started, ended with another status than 0, or was killed by a signal.
    """
    pipe = subprocess.PIPE
    try:
        process = subprocess.Popen(
            argv, stdin=pipe, stdout=pipe, env={**os.environ, **(environment or {})}, process_group=0
        )
    except OSError as error:
        raise CommandFailed(f"{argv[0]} cannot be run: {error.strerror}") from error
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        _running.add(process.pid)
        feeder = threading.Thread(target=_feed, args=(process.stdin, workload), daemon=True)
        feeder.start()
        output = b""
        try:
            if on_line is None:
                output = process.stdout.read()
            else:
                for line in process.stdout:
                    on_line(line)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)  # whoever wanted the output is gone
            raise
        finally:
            status = process.wait()
            _running.discard(process.pid)
            feeder.join()
    if status:
        raise CommandFailed(f"{argv[0]} {_ending(status)}", output)
    return output


def end_commands() -> None:
    """Kills the commands that still run, with what they started. Their jobs are given to other workers."""
    for group in tuple(_running):
        with contextlib.suppress(ProcessLookupError):  # it has just ended
            os.killpg(group, signal.SIGKILL)


def _feed(stdin: IO[bytes], workload: bytes) -> None:
    try:
        with stdin:
            stdin.write(workload)
    except BrokenPipeError:
        return  # it does not want to read it all, like head: its own affair


def _ending(status: int) -> str:
    return f"was killed by signal {-status}" if status < 0 else f"ended with exit status {status}"
