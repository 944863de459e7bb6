"""`gearman`: run jobs from the shell, or be a worker that runs a command for every job.

Owns the command line, which is that of the C tool, and the exit status. What is done in either mode is in
gearman_client.py and gearman_worker.py.
"""

import argparse
import getopt
import re
import sys
from collections.abc import Sequence
from typing import Final, NoReturn

from geartrain import __version__
from geartrain.cli.connection import add_tls_options
from geartrain.cli.exits import EXIT_STATUSES, Exit, describe, exit_for
from geartrain.cli.process import detach, pid_file
from geartrain.cli.terminal import reader_left, say
from geartrain.cli.times import whole
from geartrain.errors import GeartrainError

__all__ = ["main"]

SHORT: Final = "bc:f:h:HILnNp:Pst:u:vwi:dS"
"""The C tool's own getopt string."""
LONG: Final = (
    "help",
    "version",
    "strict",
    "ssl",
    "ssl-ca-file=",
    "ssl-certificate=",
    "ssl-key=",
    "ssl-no-check-hostname",
)

_EPILOG: Final = f"""\
examples:
  gearman -f wc < /etc/passwd           send standard input as one job, print the result
  gearman -f resize -b 1.png 2.png      two jobs in the background
  gearman -n -f check < hosts           a job for each line
  gearman -w -f wc -- wc -l             a worker: `wc -l` runs for every job, its input is the workload
  gearman -w -f upper -n -- tr a-z A-Z  a worker that sends each line of its output at once

The job server is that of -h and -p, else the list in GEARMAN_SERVER or GEARMAN_SERVERS ("host:port,host:port"),
else localhost:4730. With -S the environment's GEARMAND_CA_CERTIFICATE, GEARMAN_CLIENT_PEM and GEARMAN_CLIENT_KEY
stand in for --ssl-ca-file, --ssl-certificate and --ssl-key.

exit status, as that of the C tool:
  0  done, even where no server could be reached or the time limit passed; standard error tells
  1  a job failed, or the command line is wrong

exit status with --strict:
{EXIT_STATUSES}
"""


class _Parser(argparse.ArgumentParser):
    """Raises what is wrong with the command line instead of leaving the program."""

    def error(self, message: str) -> NoReturn:
        raise getopt.GetoptError(message)


def _milliseconds(text: str) -> float | None:
    """A time limit in seconds, from milliseconds. Negative: none, as in the C tool."""
    value = whole(text)
    return value / 1000 if value >= 0 else None


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = _Parser(
        prog="gearman",
        usage="gearman [options] [DATA ...]\n       gearman -w [options] [-- COMMAND [ARGUMENT ...]]",
        description="Sends jobs to a Gearman job server, or works for one.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
    )
    both = result.add_argument_group("both modes")
    both.add_argument("-f", dest="functions", action="append", metavar="FUNCTION", help="function; may be repeated")
    both.add_argument("-h", dest="host", metavar="HOST", help="job server host")
    both.add_argument("-p", dest="port", type=whole, metavar="PORT", help="job server port")
    both.add_argument(
        "-t",
        dest="timeout",
        type=_milliseconds,
        metavar="TIMEOUT",
        help="leave when nothing came from the server for so many milliseconds",
    )
    both.add_argument(
        "-n",
        dest="lines",
        action="store_true",
        help="client: a job for each line of the input; worker: send each line of the command's output at once",
    )
    both.add_argument("-N", dest="strip", action="store_true", help="the same, without the newlines")
    both.add_argument("-v", dest="verbose", action="store_true", help="print the handle of every job")
    both.add_argument("-i", dest="pid_file", metavar="PIDFILE", help="keep the process id in this file")
    both.add_argument("-d", dest="daemon", action="store_true", help="run detached from the terminal")
    add_tls_options(both, "-S")
    both.add_argument("--strict", action="store_true", help="an exit status for every kind of failure; see below")
    both.add_argument("-H", "--help", dest="help", action="store_true", help="print this help")
    both.add_argument("--version", action="store_true", help="print the version")

    client = result.add_argument_group("client mode")
    client.add_argument("-b", dest="background", action="store_true", help="run the jobs in the background")
    client.add_argument("-I", dest="priority", action="store_const", const="high", help="high priority")
    client.add_argument("-L", dest="priority", action="store_const", const="low", help="low priority")
    client.add_argument("-P", dest="prefix", action="store_true", help="put the function's name before all output")
    client.add_argument("-s", dest="no_input", action="store_true", help="an empty job; read no standard input")
    client.add_argument("-u", dest="unique", metavar="UNIQUE", help="unique key of the jobs")

    worker = result.add_argument_group("worker mode")
    worker.add_argument("-w", dest="worker", action="store_true", help="be a worker")
    worker.add_argument("-c", dest="count", type=whole, default=0, metavar="COUNT", help="leave after so many jobs")
    result.set_defaults(priority="normal")
    return result


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Reads the command line as the C tool's getopt does: clusters, options after operands, ``--``.

    Raises:
        getopt.GetoptError: it is wrong; the text says where.
    """
    options, operands = getopt.gnu_getopt(list(argv), SHORT, list(LONG))
    words: list[str] = []
    for option, value in options:
        # A value that begins with a dash must stay glued to its option, or argparse takes it for another one.
        long = option.startswith("--")
        words += [f"{option}={value}" if long else option + value] if value.startswith("-") else [option]
        if value and not value.startswith("-"):
            words.append(value)
        elif not value and _wants_value(option):
            words.append("")
    args = parser().parse_args(words)
    args.operands = operands
    args.lines = args.lines or args.strip
    return args


def _wants_value(option: str) -> bool:
    if option.startswith("--"):
        return f"{option[2:]}=" in LONG
    return f"{option[1:]}:" in SHORT


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the tool and returns its exit status."""
    words = sys.argv[1:] if argv is None else argv
    strict = "--strict" in words
    try:
        args = parse(words)
        if args.help:
            parser().print_help()
            return Exit.OK
        if args.version:
            print(f"gearman {__version__} (geartrain)")
            return Exit.OK
        if not args.functions:
            raise getopt.GetoptError("no function was given: name at least one with -f")
    except getopt.GetoptError as error:
        say(f"{error.msg} (gearman -H prints help)", program="gearman")
        if "--" not in words and any(re.match("-[a-zA-Z]*w", word) for word in words):
            say("a worker's command goes behind --, as in: gearman -w -f wc -- wc -l", program="gearman")
        return Exit.USAGE if strict else Exit.FAILED
    if args.daemon:
        detach()
    try:
        with pid_file(args.pid_file):
            status = _run(args)
    except GeartrainError as error:
        say(describe(error), program="gearman")
        status = exit_for(error)
        if status == Exit.USAGE and not strict:
            return Exit.FAILED
    except KeyboardInterrupt:
        status = Exit.INTERRUPTED
    except BrokenPipeError:
        return reader_left()
    return status if strict or status in (Exit.FAILED, Exit.INTERRUPTED) else Exit.OK


def _run(args: argparse.Namespace) -> Exit:
    # Imported here, so that help and mistakes in the command line are answered at once.
    if args.worker:
        from geartrain.cli.gearman_worker import work

        return work(args)
    from geartrain.cli.gearman_client import submit

    return submit(args)


if __name__ == "__main__":
    raise SystemExit(main())
