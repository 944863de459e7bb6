"""A shell command as a worker's task: the workload is its input, its output is the job's result.

Owns the child process and its pipes. Knows no servers; what becomes of the output is the caller's choice.
"""

import subprocess
import threading
from collections.abc import Callable, Sequence
from typing import IO

from geartrain.errors import GeartrainError

__all__ = ["CommandFailed", "run_command"]


class CommandFailed(GeartrainError):
    """The command did not end with exit status 0.

    Attributes:
        output: what it wrote before and what was not sent on yet.
    """

    def __init__(self, message: str, output: bytes = b"") -> None:
        super().__init__(message)
        self.output = output


def run_command(
    argv: Sequence[str],
    workload: bytes,
    on_line: Callable[[bytes], object] | None = None,
    environment: dict[str, str] | None = None,
) -> bytes:
    """Runs the command once.

    Its input is written by a thread of its own: a command that writes before it has read everything would stop
    for ever otherwise, as it does under gearmand's tool.

    Args:
        argv: the program and its arguments; no shell is involved.
        workload: its standard input. A command need not read it.
        on_line: is given each line of the output as soon as it is there, newline and all.
        environment: the whole environment of the command; None for ours.

    Returns:
        The output. Empty where ``on_line`` got it.

    Raises:
        CommandFailed: it could not be started, ended with another status than 0, or was killed by a signal.
    """
    try:
        process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
    except OSError as error:
        raise CommandFailed(f"{argv[0]} cannot be run: {error.strerror}") from error
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
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
            process.kill()  # whoever wanted the output is gone
            raise
        finally:
            status = process.wait()
            feeder.join()
    if status:
        raise CommandFailed(f"{argv[0]} {_ending(status)}", output)
    return output


def _feed(stdin: IO[bytes], workload: bytes) -> None:
    try:
        with stdin:
            stdin.write(workload)
    except BrokenPipeError:
        return  # it does not want to read it all, like head: its own affair


def _ending(status: int) -> str:
    return f"was killed by signal {-status}" if status < 0 else f"ended with exit status {status}"
