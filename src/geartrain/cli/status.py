"""`geartrain status`: what a job server is doing, once.

Owns the command line and the tables. The questions are asked by the library.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any, Final

from geartrain.cli.connection import add_server_options, servers_of, tls_of
from geartrain.cli.exits import EXIT_STATUSES, Exit, describe, exit_for, guarded
from geartrain.cli.parsers import add_command
from geartrain.cli.terminal import Style, counted, say, table
from geartrain.client.address import Server
from geartrain.client.admin import AdminClient
from geartrain.errors import ConfigError, GeartrainError, ServerError

__all__ = ["HELP", "add_parser", "run"]

HELP: Final = "show functions, workers and jobs of a server, or one job"
_TIMEOUT: Final = 10.0

_EPILOG: Final = f"""\
examples:
  geartrain status                       functions and workers
  geartrain status --jobs                and every job, with its handle
  geartrain status H:queue:17            one job: does it run, how far is it
  geartrain status --unique invoice-9    the same, by its unique key
  geartrain status --json | jq .         for programs
  geartrain status -s east,west          two servers, one after the other

exit status:
{EXIT_STATUSES}
A job that the server does not know (it has ended, or never was) is exit status 1.
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> argparse.ArgumentParser:
    """Adds the command to `geartrain`."""
    parser = add_command(subparsers, "status", HELP, _EPILOG)
    parser.add_argument("handle", nargs="?", metavar="HANDLE", help="a job's handle")
    parser.add_argument("-u", "--unique", metavar="KEY", help="a job's unique key")
    parser.add_argument("--jobs", action="store_true", help="list every job, too")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    add_server_options(parser)
    parser.set_defaults(run=run)
    return parser


@guarded("geartrain status")
def run(args: argparse.Namespace) -> int:
    """Runs the command and returns its exit status."""
    if args.handle and args.unique:
        raise ConfigError("a job is named by its handle or by --unique, not by both")
    servers = servers_of(args)
    if args.handle or args.unique:
        return _job(args, servers)
    status: int = Exit.OK
    answers: list[dict[str, Any]] = []
    for number, server in enumerate(servers):
        try:
            answers.append(_ask(args, server))
        except GeartrainError as error:
            say(describe(error), program="geartrain status")
            status = status or exit_for(error)
            answers.append({"server": str(server), "error": str(error)})
            continue
        if not args.json:
            _print(answers[-1], blank=number > 0)
    if args.json:
        _print_json(answers[0] if len(answers) == 1 else {"servers": answers})
    return status


def _ask(args: argparse.Namespace, server: Server) -> dict[str, Any]:
    """Everything about one server, as --json shows it."""
    with AdminClient(server, timeout=_TIMEOUT, **tls_of(args)._asdict()) as client:
        answer: dict[str, Any] = {"server": str(server), "version": client.version()}
        functions = {line.function: {**line._asdict(), "waiting": line.waiting} for line in client.status()}
        for line in _priorities(client):
            if line.function in functions:
                functions[line.function] |= {"high": line.high, "normal": line.normal, "low": line.low}
        answer["functions"] = [functions[name] for name in sorted(functions)]
        answer["workers"] = [line._asdict() for line in client.workers() if line.functions]
        if args.jobs:
            answer["jobs"] = [line._asdict() for line in client.show_jobs()]
        return answer


def _priorities(client: AdminClient) -> Sequence[Any]:
    try:
        return client.prioritystatus()
    except ServerError:  # gearmand before 1.1.10 and the Perl server do not know it
        return ()


def _print(answer: dict[str, Any], *, blank: bool) -> None:
    style = Style(sys.stdout)
    functions, workers = answer["functions"], answer["workers"]
    stuck = [number for number, f in enumerate(functions) if f["waiting"] and not f["workers"]]
    text = "\n" if blank else ""
    waiting, running = (sum(f[name] for f in functions) for name in ("waiting", "running"))
    text += (
        f"{style(answer['server'], 'bold')} (version {answer['version']}): {counted(waiting, 'job')} waiting, "
        f"{running} running, {counted(len(workers), 'worker')}\n"
    )
    if functions:
        names = ("high", "normal", "low")
        rows = [
            [f["function"], f["waiting"], *(f.get(name, "-") for name in names), f["running"], f["workers"]]
            for f in functions
        ]
        text += "\n" + table(
            ["FUNCTION", "WAITING", "HIGH", "NORMAL", "LOW", "RUNNING", "WORKERS"], rows, style, warn=stuck
        )
    for number in stuck:
        f = functions[number]
        text += style(f"no worker for {f['function']}: {counted(f['waiting'], 'job')} waiting\n", "yellow")
    if workers:
        rows = [[w["id"], w["address"], " ".join(w["functions"])] for w in workers]
        text += "\n" + table(["WORKER", "ADDRESS", "FUNCTIONS"], rows, style)
    if answer.get("jobs"):
        yes_no = ("no", "yes")
        rows = [[j["handle"], j["retries"], yes_no[j["persisted"]], yes_no[j["ignored"]]] for j in answer["jobs"]]
        text += "\n" + table(["JOB", "RETRIES", "PERSISTED", "IGNORED"], rows, style)
    _write(text)


def _job(args: argparse.Namespace, servers: Sequence[Server]) -> int:
    """One job. Every server is asked until one knows it."""
    from geartrain.client.sync import Client

    name: str = args.handle or args.unique
    key = name.encode("utf-8", "surrogateescape")
    problem: GeartrainError | None = None
    found = None
    for server in servers:
        try:
            with Client(server, timeout=_TIMEOUT, **tls_of(args)._asdict()) as client:
                found = client.job_status_unique(key) if args.unique else client.job_status(key)
        except GeartrainError as error:
            problem = error
            continue
        if found.known:
            break
    if problem is not None and (found is None or not found.known):
        raise problem  # the server that was not reached may be the one that knows
    assert found is not None
    kind = "unique" if args.unique else "handle"
    if args.json:
        answer = {kind: name, **found._asdict()}
        if kind == "handle":
            del answer["client_count"]  # the server tells it by unique only
        _print_json(answer)
    elif not found.known:
        _write(f"{name}: not known; it has ended, or never was\n")
    else:
        text = f"{name}: {'running' if found.running else 'waiting'}"
        if found.denominator:
            text += f", {found.numerator} of {found.denominator} ({found.progress.fraction:.0%})"
        if args.unique:
            text += f", {counted(found.client_count, 'client')}"
        _write(f"{text}\n")
    return Exit.OK if found.known else Exit.FAILED


def _print_json(answer: Any) -> None:
    _write(json.dumps(answer, ensure_ascii=False, indent=2) + "\n")


def _write(text: str) -> None:
    # Names that are no UTF-8 come as surrogates, and leave as the bytes that they were.
    sys.stdout.buffer.write(text.encode("utf-8", "surrogateescape"))
    sys.stdout.flush()
