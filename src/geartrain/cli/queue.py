"""`geartrain queue`: moves a durable queue between two stores, or into a file and out of it.

Owns the command line. How jobs are moved is the stores' (transfer.py, portable.py).
"""

import argparse
import contextlib
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Final, Self

from geartrain.cli.exits import Exit, guarded
from geartrain.cli.terminal import ProgressBar, say
from geartrain.errors import ConfigError
from geartrain.stores import find
from geartrain.stores.base import Batch, Key, Store, StoredJob
from geartrain.stores.portable import Reader, write
from geartrain.stores.transfer import Outcome, transfer

__all__ = ["HELP", "add_parser", "run"]

HELP: Final = "export, import or copy a durable queue"
_PROGRAM: Final = "geartrain queue"
_FILES: Final = frozenset(("libsqlite3-db", "libtokyocabinet-file"))

_EPILOG: Final = """\
A queue is named by its type and the options of that type, as gearmand has them, or their last words:
  sqlite db=/var/lib/gearmand/queue.db             postgres conninfo='host=db1 dbname=jobs' table=queue
  mysql host=db1 user=gearman db=jobs              redis server=cache1 prefix=_gear_
  memcached servers=m1:11211,m2:11211              tokyocabinet file=/var/lib/gearmand/queue.tch

examples:
  geartrain queue export jobs.json.gz --from sqlite db=queue.db
  geartrain queue import jobs.json.gz --to mysql host=db1 db=jobs password-file=/etc/gearman.password
  geartrain queue copy --from mysql host=db1 db=jobs --to sqlite db=/var/lib/gearmand/queue.db
  geartrain queue copy --move --from redis server=cache1 --to sqlite db=queue.db

Stop the servers of both queues before. A queue that a server of ours holds is refused; gearmand holds no lock, and
neither does anything on memcached. The command can be broken off and run again: what has arrived is not sent twice.

exit status:
  0  all went well
  1  a queue or file cannot be used; the sentence says which, and why
  2  the command line or a setting is wrong
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> argparse.ArgumentParser:
    """Adds the command to `geartrain`."""
    parser = subparsers.add_parser(
        "queue", help=HELP, description=HELP.capitalize() + ".", epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False,
    )  # fmt: skip
    actions = parser.add_subparsers(title="actions", metavar="ACTION", dest="action", required=True)
    for name, text, has_file, sides in (
        ("export", "write a queue into a file", True, ("from",)),
        ("import", "read a file into a queue", True, ("to",)),
        ("copy", "copy one queue into another", False, ("from", "to")),
    ):
        action = actions.add_parser(name, help=text, description=text.capitalize() + ".", allow_abbrev=False)
        if has_file:
            action.add_argument("file", metavar="FILE", help="one job in a line; - for standard input or output")
        for side in sides:
            action.add_argument(
                f"--{side}", dest=f"{side}_queue", nargs="+", metavar=("TYPE", "OPTION=VALUE"), required=True,
                help=f"the queue {side} which jobs come" if side == "from" else "the queue into which jobs go",
            )  # fmt: skip
        if name != "export":
            action.add_argument(
                "--merge", action="store_true",
                help="take no job for one that is there already: for the queues of two servers of one name",
            )  # fmt: skip
        if name != "import":
            action.add_argument(
                "--move", action="store_true", help="take the jobs out of the queue that they come from"
            )
    parser.set_defaults(run=run)
    return parser


@guarded(_PROGRAM)
def run(args: argparse.Namespace) -> int:
    """Runs the command and returns its exit status."""
    return {"export": _export, "import": _import, "copy": _copy}[args.action](args)


def _export(args: argparse.Namespace) -> int:
    with (
        _opened(args.from_queue, source=True) as (store, next_number),
        _Progress("exported", next_number) as progress,
    ):
        keys: list[Key] = []

        def jobs() -> Iterator[StoredJob]:
            for count, job in enumerate(store.load(), 1):
                if args.move:
                    keys.append(job.key)
                if count % 500 == 0:
                    progress(count, job.number)
                yield job

        count = write(args.file, jobs(), next_number)
        for start in range(0, len(keys), 1000):  # only now: the file is complete, and on the disk
            store.apply(Batch(dones=keys[start : start + 1000]))
    _tell(f"{_count(count)} exported from {store}")
    return Exit.OK


def _import(args: argparse.Namespace) -> int:
    reader = Reader(args.file)
    with contextlib.closing(reader), _Progress("imported", reader.next_number) as progress:
        outcome = _into(args.to_queue, reader.jobs(), reader.next_number, progress, merge=args.merge)
    _tell(_summary(outcome, "imported"))
    return Exit.OK


def _copy(args: argparse.Namespace) -> int:
    with (
        _opened(args.from_queue, source=True) as (store, next_number),
        _Progress("copied", next_number) as progress,
    ):
        source = store if args.move else None
        outcome = _into(args.to_queue, store.load(), next_number, progress, source, merge=args.merge)
    _tell(_summary(outcome, "moved" if args.move else "copied"))
    return Exit.OK


def _into(
    words: Sequence[str],
    jobs: Iterable[StoredJob],
    source_next: int,
    progress: "_Progress",
    source: Store | None = None,
    *,
    merge: bool,
) -> Outcome:
    """The jobs into the queue of these words; out of the source, where one is given."""
    jobs = iter(jobs)
    first = next(jobs, None)
    prefix = _default_prefix()
    if first is not None:
        # Handles that the target can tell from their numbers need no place of their own there.
        jobs = chain([first], jobs)
        if first.handle.endswith(b"%d" % first.number):
            prefix = first.handle.removesuffix(b"%d" % first.number)

    def moved(keys: list[Key]) -> None:
        if source is not None:
            source.apply(Batch(dones=keys))

    with _opened(words, prefix) as (target, target_next):
        return transfer(jobs, source_next, target, target_next, prefix, merge=merge, moved=moved, progress=progress)


@contextlib.contextmanager
def _opened(words: Sequence[str], prefix: bytes | None = None, *, source: bool = False) -> Iterator[tuple[Store, int]]:
    """The queue that the words name, and the number that it gives next. A source is not made where it is missing."""
    kind, options = words[0], words[1:]
    found = find(kind)
    if find("builtin") is found:
        raise ConfigError(f"{kind} keeps its queue in the server's memory: there is nothing to read or to write.")
    given = _options(kind, found.options, options)
    if source:
        for name in _FILES & given.keys():
            if not os.path.exists(given[name]):
                raise ConfigError(f"There is no queue file {given[name]}.")
    store = found.from_options(given, prefix or _default_prefix())
    next_number = store.open()
    try:
        yield store, next_number
    finally:
        store.close()


def _options(kind: str, known: Iterable[str], words: Sequence[str]) -> dict[str, str]:
    """Options by their whole names."""
    given: dict[str, str] = {}
    names = list(known)
    for word in words:
        name, equals, value = word.lstrip("-").partition("=")
        if not equals:
            raise ConfigError(
                f"{word!r} is no option=value of the queue. (A file's name stands before --from or --to.)"
            )
        fitting = [option for option in names if option == name or option.partition("-")[2] == name]
        if len(fitting) != 1:
            raise ConfigError(f"The queue type {kind} has no option {name!r}. It has: {', '.join(names)}.")
        given[fitting[0]] = value
    return given


def _default_prefix() -> bytes:
    return b"H:%b:" % os.uname().nodename.encode()


class _Progress:
    """The bar. How many jobs there are is not known before the end: guessed from their numbers, which go up."""

    def __init__(self, verb: str, next_number: int) -> None:
        self._bar = ProgressBar(sys.stderr, f"jobs {verb}")
        self._next = next_number
        self._first = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.clear()

    def __call__(self, count: int, number: int) -> None:
        if not self._first:
            self._first = max(number - count + 1, 1)
        whole, done = self._next - self._first, number - self._first + 1
        self._bar.update(count, max(round(count * whole / done), count) if 0 < done <= whole else 0)


def _count(number: int) -> str:
    return f"{number} job" if number == 1 else f"{number} jobs"


def _summary(outcome: Outcome, verb: str) -> str:
    text = f"{_count(outcome.written)} {verb}"
    for number, remark in (
        (outcome.present, "were there already"),
        (outcome.joined, "are one with a job that waits there under the same function and unique"),
        (outcome.renamed, "have a new handle, as theirs was taken"),
    ):
        if number:
            text += f"; {number} {remark}"
    return text


def _tell(text: str) -> None:
    say(text, program=_PROGRAM, style="green")
