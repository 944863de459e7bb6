"""`geartrain work`: be a worker, with the functions of a Python module or with a command.

Owns the command line, and how the module's worker is found. What a worker does is the library's; starting again
after a change is reload.py's.
"""

import argparse
import asyncio
import importlib
import inspect
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from geartrain.cli.connection import add_server_options, servers_of, tls_of
from geartrain.cli.exits import Exit, guarded
from geartrain.cli.parsers import add_command
from geartrain.cli.times import seconds, whole
from geartrain.errors import ConfigError

__all__ = ["HELP", "add_parser", "run"]

HELP: Final = "run a worker: functions of a Python module, or a command per job"
_PROGRAM: Final = "geartrain work"

_EPILOG: Final = """\
examples:
  geartrain work wc -- wc -l                  `wc -l` runs for each job: workload in, result out
  geartrain work resize -c 4 -- ./resize.sh   at most four at once
  geartrain work tasks:worker                 the object `worker` of tasks.py
  geartrain work tasks:worker --reload        the same, started again after each change of a .py file

tasks.py:
  from geartrain import Worker

  worker = Worker()

  @worker.task("reverse")
  def reverse(job):
      return job.workload[::-1]

A command that ends with another exit status than 0 fails its job. It finds GEARTRAIN_FUNCTION, GEARTRAIN_HANDLE and
GEARTRAIN_UNIQUE in its environment.

SIGTERM or Ctrl-C: no more jobs are taken, those that run are finished. A second Ctrl-C, or the end of --stop-timeout,
gives them back to the server and kills their commands.
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> argparse.ArgumentParser:
    """Adds the command to `geartrain`."""
    usage = f"{_PROGRAM} [options] FUNCTION ... -- COMMAND [ARGUMENT ...]\n       {_PROGRAM} [options] MODULE:OBJECT"
    parser = add_command(subparsers, "work", HELP, _EPILOG, usage=usage, splits=True)
    parser.add_argument(
        "targets", nargs="+", metavar="FUNCTION", help="functions that the command can do, or MODULE:OBJECT"
    )
    parser.add_argument(
        "-c", "--concurrency", type=whole, metavar="N", help="jobs at once (default: 1, or the module's)"
    )
    parser.add_argument("--processes", type=whole, default=1, metavar="N", help="so many processes (default: 1)")
    parser.add_argument("--lines", action="store_true", help="send each line of the command's output at once")
    parser.add_argument(
        "--job-timeout", type=seconds, metavar="TIME", help="after so long the server gives a job to another worker"
    )
    parser.add_argument(
        "--stop-timeout", type=seconds, metavar="TIME", help="how long running jobs get when the worker is to stop"
    )
    parser.add_argument("--id", metavar="NAME", help="what the server shows for this worker")
    parser.add_argument("--reload", action="store_true", help="start again when a .py file changes (for development)")
    parser.add_argument("-q", "--quiet", action="store_true", help="log warnings and errors only")
    add_server_options(parser)
    parser.set_defaults(run=run)
    return parser


@guarded(_PROGRAM)
def run(args: argparse.Namespace) -> int:
    """Runs the command and returns its exit status."""
    logging.basicConfig(
        format="%(asctime)s %(levelname)s %(message)s",
        level=logging.WARNING if args.quiet else logging.INFO,
    )
    for option in ("concurrency", "processes"):
        if (value := getattr(args, option)) is not None and value < 1:
            raise ConfigError(f"--{option} {value}: at least 1")
    make = _of_command if args.command_line is not None else _of_module
    if args.command_line is None:
        _check_module_form(args)
    elif not args.command_line:
        raise ConfigError("there is no command behind --; as in: geartrain work wc -- wc -l")
    if not args.reload:
        return _work(args, make)
    from geartrain.cli.reload import run_with_reload

    # In a child of its own each time, so that the module is imported afresh.
    return run_with_reload(lambda: guarded(_PROGRAM)(lambda a: _work(a, make))(args), Path.cwd(), _PROGRAM)


def _work(args: argparse.Namespace, make: Callable[[argparse.Namespace], Any]) -> int:
    worker = make(args)
    if inspect.iscoroutinefunction(worker.work):
        if args.processes > 1:
            raise ConfigError("--processes is for Worker; run an AsyncWorker several times, or raise its concurrency")
        asyncio.run(_work_in_loop(worker))
    elif args.processes > 1:
        worker.work(processes=args.processes)
    else:
        worker.work()
    return Exit.OK


async def _work_in_loop(worker: Any) -> None:
    await worker.close()  # it counts its places anew when it connects: -c may have changed them
    await worker.work()


def _of_command(args: argparse.Namespace) -> Any:
    from geartrain.cli.command import CommandTask, end_commands
    from geartrain.worker.sync import Worker

    class CommandWorker(Worker):
        def work(self, processes: int = 1) -> None:
            try:
                super().work(processes)  # calls this method in each process
            finally:
                end_commands()  # what has not ended in time runs on another worker now

    settings: dict[str, Any] = {"concurrency": args.concurrency or 1, "client_id": args.id or b""}
    if args.stop_timeout is not None:
        settings["stop_timeout"] = args.stop_timeout
    worker = CommandWorker(servers_of(args), **settings, **tls_of(args)._asdict())
    task = CommandTask(args.command_line, lines=args.lines, program=_PROGRAM)
    for function in args.targets:
        worker.register(function.encode("utf-8", "surrogateescape"), task, timeout=args.job_timeout)
    return worker


def _check_module_form(args: argparse.Namespace) -> None:
    target = args.targets[0]
    module, colon, name = target.partition(":")
    if len(args.targets) > 1 or not (module and colon and name):
        raise ConfigError(
            f"{' '.join(args.targets)!r} is not MODULE:OBJECT; for functions give the command too, "
            f"as in: geartrain work {args.targets[0]} -- wc -l"
        )
    for option in ("lines", "job_timeout", "stop_timeout", "ssl", "ssl_ca_file", "ssl_certificate", "ssl_key"):
        if getattr(args, option):
            name = option.replace("_", "-")
            raise ConfigError(f"--{name} belongs to the form with a command; the module sets it for its worker itself")


def _of_module(args: argparse.Namespace) -> Any:
    """The module's worker, with the settings of the command line.

    Raises:
        ConfigError: there is no such module or object, or it is no worker.
    """
    from geartrain.worker.base import BaseWorker
    from geartrain.worker.sync import Worker

    if args.server:
        os.environ["GEARMAN_SERVERS"] = ",".join(args.server)  # for a worker that names no server itself
    module_name, _, name = args.targets[0].partition(":")
    worker = _find(module_name, name)
    if not isinstance(worker, BaseWorker):
        raise ConfigError(f"{args.targets[0]} is no Worker or AsyncWorker, it is {worker!r}")
    if not worker.functions:
        raise ConfigError(f'{args.targets[0]} has no functions; add one with @{name}.task("name")')
    if args.concurrency is not None:
        worker.concurrency = args.concurrency
        if isinstance(worker, Worker):
            worker.close()  # it counts its places anew when it connects
    if args.id is not None:
        worker.set_id(args.id)
    return worker


def _find(module_name: str, name: str) -> Any:
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name != module_name and not module_name.startswith(f"{error.name}."):
            raise  # the module is there; what it imports is not, and the traceback says where
        raise ConfigError(f"there is no module {module_name} in {os.getcwd()} or on Python's path") from error
    for part in name.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise ConfigError(f"the module {module_name} has no {name}{_hint(found)}") from None
    return found


def _hint(module: Any) -> str:
    from geartrain.worker.base import BaseWorker

    workers = [name for name, value in vars(module).items() if isinstance(value, BaseWorker)]
    return f"; did you mean {workers[0]}?" if workers else ""
