"""`geartrain submit`: one job from the shell.

Owns the command line and what is printed. Times are read in times.py.
"""

import argparse
import base64
import json
import sys
import time
from typing import TYPE_CHECKING, Any, Final

from geartrain.cli.connection import add_server_options, servers_of, tls_of
from geartrain.cli.exits import EXIT_STATUSES, Exit, exit_for, guarded
from geartrain.cli.parsers import add_command
from geartrain.cli.terminal import Output, OutputFailed, ProgressBar, say
from geartrain.cli.times import moment, seconds
from geartrain.errors import ConfigError, GeartrainError, JobError, JobException, RequestTimeout

if TYPE_CHECKING:
    from geartrain.client.sync import Client, Task

__all__ = ["HELP", "add_parser", "run"]

HELP: Final = "submit a job, and wait for its result"

_LOOK: Final = 1.0
"""Seconds between two looks at the output."""
_PATIENCE: Final = 2.0
"""Seconds until somebody at a terminal is told that no worker has the job."""

_EPILOG: Final = f"""\
examples:
  geartrain submit reverse 'Hello, World'      print the result
  geartrain submit wc - < /etc/passwd          the workload is standard input
  geartrain submit resize photo.png -b         in the background: print the handle
  geartrain submit report --at 18:30           in the background, at half past six
  geartrain submit report --at 10m --unique r  in ten minutes, once
  geartrain submit reverse Hello --json        a JSON object instead of the bare result

exit status:
{EXIT_STATUSES}
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> argparse.ArgumentParser:
    """Adds the command to `geartrain`."""
    parser = add_command(subparsers, "submit", HELP, _EPILOG)
    parser.add_argument("function", metavar="FUNCTION")
    parser.add_argument(
        "workload",
        nargs="?",
        metavar="WORKLOAD",
        help="the job's data; - for standard input, which is also read where WORKLOAD is missing and it is no terminal",
    )
    parser.add_argument("-b", "--background", action="store_true", help="do not wait: print the handle and leave")
    parser.add_argument("-u", "--unique", metavar="KEY", help="jobs of one function with one key are one job")
    parser.add_argument("--priority", choices=("high", "normal", "low"), default="normal", help="default: normal")
    parser.add_argument(
        "--at",
        type=moment,
        metavar="WHEN",
        help="run not before: 10m, 1h30m, 18:30, 2026-12-24T18:30 or @SECONDS since 1970; implies --background",
    )
    parser.add_argument(
        "-t",
        "--timeout",
        type=seconds,
        metavar="TIME",
        help="give up after so long, for example 30s; a job to outlive this needs --background",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    add_server_options(parser)
    parser.set_defaults(run=run)
    return parser


@guarded("geartrain submit")
def run(args: argparse.Namespace) -> int:
    """Runs the command and returns its exit status."""
    from geartrain.client.sync import Client

    workload = _workload(args.workload)
    printer = _Printer(args.function, collect=args.json)
    started = time.monotonic()
    with Client(servers_of(args), **tls_of(args)._asdict()) as client:
        task = client.submit(
            args.function.encode("utf-8", "surrogateescape"),
            workload,
            unique=args.unique.encode("utf-8", "surrogateescape") if args.unique else None,
            priority=args.priority,
            background=args.background,
            at=args.at,
            on_data=printer.data,
            on_warning=printer.warning,
            on_status=printer.status,
        )
        error: GeartrainError | None = None
        try:
            final = _result(client, task, args.timeout, printer)
        except OutputFailed:
            raise
        except RequestTimeout:
            handle = task.handle.decode("utf-8", "backslashreplace")
            # A server drops a foreground job that nobody waits for, unless a worker has it already.
            known = f"; the job {handle} was given up" if handle else ""
            error = RequestTimeout(f"no result within {args.timeout:g} s{known}")
        except GeartrainError as problem:
            error = problem
    printer.bar.clear()
    if args.json:
        state = "timeout" if isinstance(error, RequestTimeout) else task.state.value
        answer = {"function": args.function, "handle": _text(task.handle), "state": state}
        if args.unique:
            answer["unique"] = args.unique
        if error is None and not task.background:
            answer |= _payload("result", b"".join([*printer.collected, final]))
        if task.warnings:
            answer["warnings"] = [_text(warning) for warning in task.warnings]
        if error is not None:
            answer["error"] = str(error)
        print(json.dumps(answer | {"seconds": round(time.monotonic() - started, 6)}, ensure_ascii=False))
    elif error is None:
        sys.stdout.buffer.write(final + b"\n" if task.background else final)
        if sys.stdout.isatty() and not task.background and final and not final.endswith(b"\n"):
            print()  # the shell's prompt goes on a line of its own
    else:
        say(_sentence(error), program="geartrain submit")
    sys.stdout.flush()
    return Exit.OK if error is None else exit_for(error)


def _result(client: "Client", task: "Task", timeout: float | None, printer: "_Printer") -> bytes:
    started = time.monotonic()
    deadline = None if timeout is None else started + timeout
    tell = sys.stderr.isatty()
    while not task.done:
        # Now and then the output is looked at: it may be gone while the job is still running.
        remaining = _LOOK if deadline is None else min(_LOOK, deadline - time.monotonic())
        task.wait(max(0.0, remaining))
        printer.output.check()
        if tell and not task.done and time.monotonic() - started >= _PATIENCE:
            tell = False
            _tell_where_it_is(client, task)
        if deadline is not None and not task.done and time.monotonic() >= deadline:
            raise RequestTimeout
    return task.result()


def _tell_where_it_is(client: "Client", task: "Task") -> None:
    """The first job of a newcomer often has no worker, and then silence looks like a fault."""
    state = client.job_status(task.handle) if task.handle else None
    if state is not None and state.known and not state.running:
        say("no worker has taken the job yet; waiting. Ctrl-C gives it up", program="geartrain submit")


def _workload(word: str | None) -> bytes:
    if word is None:
        return b"" if sys.stdin is None or sys.stdin.isatty() else sys.stdin.buffer.read()
    if word == "-":
        return sys.stdin.buffer.read()
    return word.encode("utf-8", "surrogateescape")


def _sentence(error: GeartrainError) -> str:
    if isinstance(error, JobException):
        return f"the worker reported an exception: {error}"
    if isinstance(error, (JobError, RequestTimeout, ConfigError)):
        return str(error)
    return f"{error}"


def _text(data: bytes) -> str:
    return data.decode("utf-8", "backslashreplace")


def _payload(name: str, data: bytes) -> dict[str, str]:
    """Text as text; what is none, as base64 under a name that says so."""
    try:
        return {name: data.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": base64.b64encode(data).decode()}


class _Printer:
    """Prints data as it comes, and the progress on a terminal.

    Attributes:
        bar: the progress bar.
        collected: the data, where it is not to be printed.
        output: where it is printed.
    """

    def __init__(self, function: str, *, collect: bool) -> None:
        self.bar = ProgressBar(sys.stderr, function)
        self.collected: list[bytes] = []
        self.output = Output()
        self._collect = collect

    def data(self, _: Any, data: bytes) -> None:
        if self._collect:
            self.collected.append(data)
            return
        self.bar.clear()
        self.output.write(sys.stdout.buffer, data)

    def warning(self, _: Any, data: bytes) -> None:
        if self._collect:
            return
        self.bar.clear()
        self.output.write(sys.stderr.buffer, data if data.endswith(b"\n") else data + b"\n")

    def status(self, _: Any, progress: Any) -> None:
        if not self._collect:
            self.bar.update(*progress)
