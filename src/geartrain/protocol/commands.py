"""The commands of the Gearman protocol, and the one table that describes them.

Owns the numbers, names, argument layouts and senders of all packet types.
Must not know jobs, sockets or what a command does.

Source: the protocol's text (PROTOCOL in gearmand) and gearmand's libgearman/command.cc.
"""

from enum import Enum, IntEnum
from typing import Final, NamedTuple

__all__ = ["LAYOUTS", "MAX_COMMAND", "Command", "Layout", "Sender", "markdown_table"]


class Command(IntEnum):
    """A packet type: the number on the wire."""

    CAN_DO = 1
    CANT_DO = 2
    RESET_ABILITIES = 3
    PRE_SLEEP = 4
    UNUSED = 5
    NOOP = 6
    SUBMIT_JOB = 7
    JOB_CREATED = 8
    GRAB_JOB = 9
    NO_JOB = 10
    JOB_ASSIGN = 11
    WORK_STATUS = 12
    WORK_COMPLETE = 13
    WORK_FAIL = 14
    GET_STATUS = 15
    ECHO_REQ = 16
    ECHO_RES = 17
    SUBMIT_JOB_BG = 18
    ERROR = 19
    STATUS_RES = 20
    SUBMIT_JOB_HIGH = 21
    SET_CLIENT_ID = 22
    CAN_DO_TIMEOUT = 23
    ALL_YOURS = 24
    WORK_EXCEPTION = 25
    OPTION_REQ = 26
    OPTION_RES = 27
    WORK_DATA = 28
    WORK_WARNING = 29
    GRAB_JOB_UNIQ = 30
    JOB_ASSIGN_UNIQ = 31
    SUBMIT_JOB_HIGH_BG = 32
    SUBMIT_JOB_LOW = 33
    SUBMIT_JOB_LOW_BG = 34
    SUBMIT_JOB_SCHED = 35
    SUBMIT_JOB_EPOCH = 36
    SUBMIT_REDUCE_JOB = 37
    SUBMIT_REDUCE_JOB_BACKGROUND = 38
    GRAB_JOB_ALL = 39
    JOB_ASSIGN_ALL = 40
    GET_STATUS_UNIQUE = 41
    STATUS_RES_UNIQUE = 42


MAX_COMMAND: Final = 42


class Sender(Enum):
    """Who may send a command."""

    CLIENT = "client"
    WORKER = "worker"
    ANY = "client or worker"
    SERVER = "server"
    BOTH = "worker and server"
    """The worker sends it, and the server passes it on to the clients."""
    NOBODY = "nobody"


class Layout(NamedTuple):
    """How a command's body is divided.

    Attributes:
        arguments: the names of the NUL-separated arguments, in order. Every argument is ended by a NUL,
            but for the last one of a command without data.
        data: whether opaque data follows the arguments.
        sender: who sends it.
    """

    arguments: tuple[str, ...]
    data: bool
    sender: Sender

    @property
    def parts(self) -> int:
        """The number of parts of the body: the arguments, and the data if there is any."""
        return len(self.arguments) + self.data


_SUBMIT: Final = Layout(("function", "unique"), True, Sender.CLIENT)
_REDUCE: Final = Layout(("function", "unique", "reducer", "aggregate"), True, Sender.CLIENT)
_WORK: Final = Layout(("handle",), True, Sender.BOTH)

LAYOUTS: Final[dict[Command, Layout]] = {
    Command.CAN_DO: Layout(("function",), False, Sender.WORKER),
    Command.CANT_DO: Layout(("function",), False, Sender.WORKER),
    Command.RESET_ABILITIES: Layout((), False, Sender.WORKER),
    Command.PRE_SLEEP: Layout((), False, Sender.WORKER),
    Command.UNUSED: Layout((), False, Sender.NOBODY),
    Command.NOOP: Layout((), False, Sender.SERVER),
    Command.SUBMIT_JOB: _SUBMIT,
    Command.JOB_CREATED: Layout(("handle",), False, Sender.SERVER),
    Command.GRAB_JOB: Layout((), False, Sender.WORKER),
    Command.NO_JOB: Layout((), False, Sender.SERVER),
    Command.JOB_ASSIGN: Layout(("handle", "function"), True, Sender.SERVER),
    Command.WORK_STATUS: Layout(("handle", "numerator", "denominator"), False, Sender.BOTH),
    Command.WORK_COMPLETE: _WORK,
    Command.WORK_FAIL: Layout(("handle",), False, Sender.BOTH),
    Command.GET_STATUS: Layout(("handle",), False, Sender.CLIENT),
    Command.ECHO_REQ: Layout((), True, Sender.ANY),
    Command.ECHO_RES: Layout((), True, Sender.SERVER),
    Command.SUBMIT_JOB_BG: _SUBMIT,
    Command.ERROR: Layout(("code", "text"), False, Sender.SERVER),
    Command.STATUS_RES: Layout(("handle", "known", "running", "numerator", "denominator"), False, Sender.SERVER),
    Command.SUBMIT_JOB_HIGH: _SUBMIT,
    Command.SET_CLIENT_ID: Layout(("id",), False, Sender.WORKER),
    Command.CAN_DO_TIMEOUT: Layout(("function", "timeout"), False, Sender.WORKER),
    Command.ALL_YOURS: Layout((), False, Sender.WORKER),
    Command.WORK_EXCEPTION: _WORK,
    Command.OPTION_REQ: Layout(("option",), False, Sender.CLIENT),
    Command.OPTION_RES: Layout(("option",), False, Sender.SERVER),
    Command.WORK_DATA: _WORK,
    Command.WORK_WARNING: _WORK,
    Command.GRAB_JOB_UNIQ: Layout((), False, Sender.WORKER),
    Command.JOB_ASSIGN_UNIQ: Layout(("handle", "function", "unique"), True, Sender.SERVER),
    Command.SUBMIT_JOB_HIGH_BG: _SUBMIT,
    Command.SUBMIT_JOB_LOW: _SUBMIT,
    Command.SUBMIT_JOB_LOW_BG: _SUBMIT,
    Command.SUBMIT_JOB_SCHED: Layout(
        ("function", "unique", "minute", "hour", "day_of_month", "month", "day_of_week"), True, Sender.CLIENT
    ),
    Command.SUBMIT_JOB_EPOCH: Layout(("function", "unique", "epoch"), True, Sender.CLIENT),
    Command.SUBMIT_REDUCE_JOB: _REDUCE,
    Command.SUBMIT_REDUCE_JOB_BACKGROUND: _REDUCE,
    Command.GRAB_JOB_ALL: Layout((), False, Sender.WORKER),
    Command.JOB_ASSIGN_ALL: Layout(("handle", "function", "unique", "reducer"), True, Sender.SERVER),
    Command.GET_STATUS_UNIQUE: Layout(("unique",), False, Sender.CLIENT),
    Command.STATUS_RES_UNIQUE: Layout(
        ("unique", "known", "running", "numerator", "denominator", "client_count"), False, Sender.SERVER
    ),
}
"""Every command of the protocol. The server's dispatch, the packers and docs/protocol.md are made from it."""


def markdown_table() -> str:
    """The table for docs/protocol.md (scripts/docs)."""
    rows = ["| | packet | from | body |", "|---:|---|---|---|"]
    for command, layout in LAYOUTS.items():
        names = list(layout.arguments) + (["*data*"] if layout.data else [])
        rows.append(f"| {int(command)} | `{command.name}` | {layout.sender.value} | {', '.join(names) or '-'} |")
    return "\n".join(rows)
