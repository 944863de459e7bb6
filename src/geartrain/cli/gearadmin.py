"""`gearadmin`: ask a job server, and tell it what to do, over its text protocol.

Owns the command line, which is that of the C tool and more, and what is printed.
"""

import argparse
import json
import socket
import sys
import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, NoReturn

from geartrain import __version__
from geartrain.cli.connection import add_tls_options, servers_at, tls_of
from geartrain.cli.exits import EXIT_STATUSES, Exit, describe, exit_for
from geartrain.cli.operations import OPERATIONS, Operation
from geartrain.cli.terminal import reader_left, say
from geartrain.client.admin import AdminClient
from geartrain.errors import ConfigError, GeartrainError, ServerError

__all__ = ["main"]

_ABBREVIABLE: Final = (
    *(f"--{operation.option}" for operation in OPERATIONS if operation.option not in ("maxqueue", "shutdown")),
    "--help",
    "--host",
    "--port",
    "--ssl",
)
"""The C tool's options. A word that was short for one of them still is, whatever options of ours it fits."""

_EPILOG: Final = f"""\
examples:
  gearadmin --status                        jobs, running jobs and workers of each function
  gearadmin --status --json                 the same for programs
  gearadmin --workers --watch=5             again every five seconds, until Ctrl-C
  gearadmin --maxqueue resize 1000          at most 1000 jobs in the queue
  gearadmin --maxqueue resize 500 300 100   at most so many of high, normal and low priority
  gearadmin -h queue.example.org --shutdown=graceful

exit status, as that of the C tool:
  0  answered, even where the server answered with an error; standard error tells
  1  no server could be reached, or the command line is wrong

exit status with --strict:
{EXIT_STATUSES}
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(message)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = _Parser(
        prog="gearadmin",
        usage="gearadmin [options] OPERATION ...",
        description="Asks a Gearman job server, and tells it what to do.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
    )
    result.add_argument("--help", action="store_true", help="print this help")
    result.add_argument("--version", action="store_true", help="print this tool's version")
    result.add_argument("-h", "--host", default="localhost", help="job server host (default: localhost)")
    result.add_argument("-p", "--port", default="4730", help="port number or service name (default: 4730)")
    result.add_argument("--json", action="store_true", help="print one JSON object")
    result.add_argument(
        "--watch", nargs="?", type=float, const=2.0, metavar="SECONDS", help="ask again and again (default: every 2 s)"
    )
    result.add_argument(
        "--timeout", type=float, default=10.0, metavar="SECONDS", help="how long to wait for an answer (default: 10)"
    )
    result.add_argument("--strict", action="store_true", help="an exit status for every kind of failure; see below")
    add_tls_options(result.add_argument_group("TLS"), "-S")
    group = result.add_argument_group("operations (several are done in this order)")
    for operation in OPERATIONS:
        settings = operation.arguments or {"action": "store_const", "const": ()}
        group.add_argument(f"--{operation.option}", help=operation.help, **settings)
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the tool and returns its exit status."""
    words = [_whole(word) for word in (sys.argv[1:] if argv is None else argv)]
    strict = "--strict" in words
    try:
        args, ignored = parser().parse_known_args(words)
        if args.help:
            parser().print_help()
            return Exit.OK
        if args.version:
            print(f"gearadmin {__version__} (geartrain)")
            return Exit.OK
        status = _administer(args, ignored)
    except GeartrainError as error:
        say(describe(error), program="gearadmin")
        status = exit_for(error)
    except KeyboardInterrupt:
        return Exit.OK if "--watch" in " ".join(words) else Exit.INTERRUPTED
    except BrokenPipeError:
        return reader_left()
    if strict:
        return status
    return Exit.OK if status in (Exit.OK, Exit.REFUSED) else Exit.FAILED


def _whole(word: str) -> str:
    name, equals, value = word.partition("=")
    if not name.startswith("--") or name == "--":
        return word
    fitting = [option for option in _ABBREVIABLE if option.startswith(name)]
    return f"{fitting[0]}{equals}{value}" if len(fitting) == 1 else word


def _administer(args: argparse.Namespace, ignored: Sequence[str]) -> Exit:
    for word in ignored:
        if word.startswith("-"):
            raise ConfigError(f"there is no option {word} (gearadmin --help prints help)")
        say(f"{word!r} is ignored: gearadmin takes options only", program="gearadmin", style="yellow")
    wanted = [(operation, words) for operation in OPERATIONS if (words := _words(args, operation)) is not None]
    if not wanted:
        raise ConfigError("no operation was given, for example --status (gearadmin --help prints help)")
    if args.watch is None:
        return _once(args, wanted)
    if args.watch <= 0:
        raise ConfigError(f"--watch={args.watch:g}: the time between two looks must be more than 0 seconds")
    return _watch(args, wanted)


def _words(args: argparse.Namespace, operation: Operation) -> list[str] | None:
    value = getattr(args, operation.option.replace("-", "_"))
    if value is None:
        return None
    return [value] if isinstance(value, str) else list(value)


def _once(args: argparse.Namespace, wanted: Sequence[tuple[Operation, Sequence[str]]]) -> Exit:
    servers = servers_at(args.host, _port(args.port))
    status = Exit.OK
    records: dict[str, Any] = {}
    with AdminClient(servers, timeout=args.timeout, **tls_of(args)._asdict()) as client:
        for operation, words in wanted:
            try:
                answer = operation.ask(client, words)
            except ServerError as error:
                status = Exit.REFUSED
                records[operation.option] = {"error": error.code, "text": error.text}
                if not args.json:
                    _print_error(operation, error)
            else:
                records[operation.option] = operation.data(answer)
                if not args.json:
                    # Names that are no UTF-8 come as surrogates, and leave as the bytes that they were.
                    sys.stdout.buffer.write(operation.text(answer).encode("utf-8", "surrogateescape"))
    if args.json:
        text = json.dumps(records, ensure_ascii=False, indent=None if args.watch else 2)
        print(text.encode("utf-8", "backslashreplace").decode())
    sys.stdout.flush()
    return status


def _print_error(operation: Operation, error: ServerError) -> None:
    sys.stdout.flush()  # so that both streams stay in order on one terminal
    text = error.text if error.code in ("ERR", error.text) else f"{error.code} {error.text}"
    print(f"Error: {text}", file=sys.stderr, flush=True)
    if operation.option == "shutdown" and error.code == "UNKNOWN_COMMAND":
        say("this server has no shutdown; stop its process instead (--getpid)", program="gearadmin")


def _watch(args: argparse.Namespace, wanted: Sequence[tuple[Operation, Sequence[str]]]) -> NoReturn:
    """Asks until Ctrl-C. A server that is away for a while ends nothing."""
    terminal = sys.stdout.isatty() and not args.json
    while True:
        started = time.monotonic()
        if terminal:
            print("\x1b[H\x1b[2J", end="")
        if not args.json:
            print(f"{args.host}:{args.port}  {datetime.now():%Y-%m-%d %H:%M:%S}", flush=True)
        try:
            _once(args, wanted)
        except ConfigError:
            raise
        except GeartrainError as error:
            say(describe(error), program="gearadmin")
        if not args.json:
            print(flush=True)
        time.sleep(max(0.0, started + args.watch - time.monotonic()))


def _port(text: str) -> int:
    if text.isascii() and text.isdigit():
        return int(text)
    try:
        return socket.getservbyname(text, "tcp")
    except OSError as error:
        raise ConfigError(f"the port {text!r} is neither a number nor the name of a service") from error


if __name__ == "__main__":
    raise SystemExit(main())
