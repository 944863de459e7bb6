"""Dispatch: from a command's number to what the engine does. One table.

Owns how each request of the binary protocol is read and answered. Every request passes `receive`: the one place
where a rule on who may do what could stand.
"""

from collections.abc import Callable
from typing import Final, TypeAlias

from geartrain.engine import admin
from geartrain.engine.ending import finish
from geartrain.engine.engine import Engine
from geartrain.engine.job import RUNNING, Extra, Job, Pieces
from geartrain.engine.peer import Peer
from geartrain.engine.replies import ECHO_HEADS, NO_JOB, USUAL, completed, echoed, failed, forward, plain, status
from geartrain.engine.schedule import next_time
from geartrain.protocol.commands import LAYOUTS, MAX_COMMAND, Command
from geartrain.protocol.parser import TEXT, TOO_FEW, WRONG_MAGIC, Fault, Item

__all__ = ["HANDLERS", "receive", "receive_large", "refuse_stream"]

Handler: TypeAlias = Callable[[Engine, Peer, list[bytes]], None]
LargeHandler: TypeAlias = Callable[[Engine, Peer, list[bytes], Pieces], None]

_HIGH: Final = 0
_NORMAL: Final = 1
_LOW: Final = 2
_COMPLETE: Final = int(Command.WORK_COMPLETE)
_LEAST_TIMEOUT: Final = 1000
"""Milliseconds."""
_LARGE: Final = 4096
"""Bytes from which a workload is sent from where it lies, rather than copied behind its header."""


def receive(engine: Engine, peer: Peer, items: list[Item], now: float) -> None:
    """Does what a peer asked for.

    Args:
        engine: the engine.
        peer: who asks.
        items: what the parser found, in order.
        now: the time, in the engine's seconds.
    """
    engine.now = now
    handlers = HANDLERS
    for command, parts in items:
        handlers[command](engine, peer, parts)


def receive_large(engine: Engine, peer: Peer, item: Item, data: Pieces, now: float) -> None:
    """The same for a packet whose data came apart from it.

    Args:
        engine: the engine.
        peer: who asks.
        item: command and arguments; instead of its last part stands the data.
        data: the workload or the result.
        now: the time, in the engine's seconds.
    """
    engine.now = now
    _LARGE_TABLE[item[0]](engine, peer, item[1], data)


def refuse_stream(engine: Engine, peer: Peer, fault: Fault) -> None:
    """The stream cannot be read any further: says so where the protocol has a word for it, and closes.

    The job of a result that is too large ends. It would come back from every worker, for ever.
    """
    if _running(peer, fault.handle) is not None:
        _work_exception(engine, peer, [fault.handle, fault.text.encode()])
    if fault.code:
        engine.refuse(peer, fault.code, fault.text.encode())
    engine.close(peer)


# ---- clients


def _submitter(priority: int, background: bool) -> Handler:
    def submit(engine: Engine, peer: Peer, parts: list[bytes]) -> None:
        if len(parts) == 3:
            engine.submit(peer, parts[0], parts[1], parts[2], priority, background)
        else:
            engine.submit(peer, parts[0], parts[1], Pieces([*parts[2:]]), priority, background)

    return submit


def _large_submitter(priority: int) -> LargeHandler:
    def submit(engine: Engine, peer: Peer, parts: list[bytes], data: Pieces) -> None:
        engine.submit(peer, parts[0], parts[1], data, priority, background=False)

    return submit


def _submit_epoch(engine: Engine, peer: Peer, parts: list[bytes]) -> None:
    function, unique, epoch, workload = parts
    engine.submit(peer, function, unique, workload, _NORMAL, True, Extra(b"", max(_number(epoch), 0)))


def _submit_sched(engine: Engine, peer: Peer, parts: list[bytes]) -> None:
    function, unique, *fields, workload = parts
    when = next_time(fields, engine.wall_clock())
    if isinstance(when, str):
        engine.refuse(peer, b"INVALID_ARGUMENT", when.encode())
        return
    engine.submit(peer, function, unique, workload, _NORMAL, True, Extra(b"", when))


def _reducer(background: bool) -> Handler:
    def submit(engine: Engine, peer: Peer, parts: list[bytes]) -> None:
        function, unique, reducer, _, workload = parts
        engine.submit(peer, function, unique, workload, _NORMAL, background, Extra(reducer) if reducer else None)

    return submit


def _get_status(engine: Engine, peer: Peer, parts: list[bytes]) -> None:
    handle = parts[0].rstrip(b"\0")
    job = engine.jobs.get(handle)
    fields = (0, 0, 0, 0) if job is None else _progress(job)
    engine.send(peer, status(int(Command.STATUS_RES), handle, fields))


def _get_status_unique(engine: Engine, peer: Peer, parts: list[bytes]) -> None:
    unique = parts[0].rstrip(b"\0")
    job = engine.uniques.any(unique)
    clients = 0 if job is None or job.clients is None else len(job.clients)
    fields = (0, 0, 0, 0, 0) if job is None else (*_progress(job), clients)
    engine.send(peer, status(int(Command.STATUS_RES_UNIQUE), unique, fields))


def _progress(job: Job) -> tuple[int, int, int, int]:
    numerator, denominator = job.progress or (0, 0)
    return (1, int(job.state == RUNNING), numerator, denominator)


def _option(engine: Engine, peer: Peer, parts: list[bytes]) -> None:
    if _text_of(parts[0]).lower() == b"exceptions":
        peer.exceptions = True
        engine.send(peer, plain(int(Command.OPTION_RES), parts[0]))
    else:
        engine.refuse(peer, b"UNKNOWN_OPTION", b"Server does not recognize given option")


def _echo(engine: Engine, peer: Peer, parts: list[bytes]) -> None:
    data = parts[0]
    size = len(data)
    peer.out.append(ECHO_HEADS[size] + data if size < USUAL else echoed(data))
    if not peer.dirty:
        peer.dirty = True
        engine.dirty.append(peer)


# ---- workers


def _can_do(engine: Engine, peer: Peer, parts: list[bytes]) -> None:
    engine.can_do(peer, _text_of(parts[0]), 0.0)


def _can_do_timeout(engine: Engine, peer: Peer, parts: list[bytes]) -> None:
    timeout = _number(parts[1])
    # gearmand raises what is less than a second: those who count in seconds, as PHP's manual does, rely on it
    engine.can_do(peer, parts[0], max(timeout, _LEAST_TIMEOUT) / 1000 if timeout > 0 else 0.0)


def _cannot_do(engine: Engine, peer: Peer, parts: list[bytes]) -> None:
    engine.cannot_do(peer, _text_of(parts[0]))


def _reset(engine: Engine, peer: Peer, parts: list[bytes]) -> None:
    engine.roster.clear(peer)


def _pre_sleep(engine: Engine, peer: Peer, parts: list[bytes]) -> None:
    engine.wakeups.sleep(peer)


def _grabber(command: int) -> Handler:
    def grab(engine: Engine, peer: Peer, parts: list[bytes]) -> None:
        peer.flavour = command
        if not engine.grab(peer):
            peer.out.append(NO_JOB)
            if not peer.dirty:
                peer.dirty = True
                engine.dirty.append(peer)

    return grab


def _all_yours(engine: Engine, peer: Peer, parts: list[bytes]) -> None:
    peer.all_yours = True


def _set_client_id(engine: Engine, peer: Peer, parts: list[bytes]) -> None:
    peer.client_id = _text_of(parts[0])[:127] or b"-"


def _work_complete(engine: Engine, peer: Peer, parts: list[bytes]) -> None:
    handle = parts[0]
    running = peer.running
    job = running.get(handle) if running else None
    if job is None:
        engine.refuse(peer, b"JOB_NOT_FOUND", b"Job given in work result not found")
        return
    job.function.stats.completed += 1
    clients = job.clients
    if clients is not None:
        if len(parts) == 2 and len(parts[1]) < _LARGE:
            engine.tell(job, completed(handle, parts[1]))
        else:
            _pass_on(engine, job, _COMPLETE, Pieces([*parts[1:]]))
    finish(engine, job)


def _large_complete(engine: Engine, peer: Peer, parts: list[bytes], data: Pieces) -> None:
    job = _running(peer, parts[0])
    if job is None:
        engine.refuse(peer, b"JOB_NOT_FOUND", b"Job given in work result not found")
        return
    job.function.stats.completed += 1
    _pass_on(engine, job, _COMPLETE, data)
    finish(engine, job)


def _work_fail(engine: Engine, peer: Peer, parts: list[bytes]) -> None:
    job = _running(peer, parts[0].rstrip(b"\0"))
    if job is None:
        engine.refuse(peer, b"JOB_NOT_FOUND", b"Job given in work result not found")
        return
    job.function.stats.failed += 1
    engine.tell(job, failed(job.handle))
    finish(engine, job)


def _work_exception(engine: Engine, peer: Peer, parts: list[bytes]) -> None:
    job = _running(peer, parts[0])
    if job is None:
        engine.refuse(peer, b"JOB_NOT_FOUND", b"An exception was received for a job that does not exist")
        return
    job.function.stats.exceptions += 1
    if job.clients is not None:
        packet = forward(int(Command.WORK_EXCEPTION), job.handle, b"".join(parts[1:]))
        # gearmand ends this handle with a NUL, and libgearman's client, that does not know such a handle, hangs.
        failure = failed(job.handle)
        for client in job.clients:
            engine.send(client, packet if engine.options.exceptions or client.exceptions else failure)
    finish(engine, job)


def _work_status(engine: Engine, peer: Peer, parts: list[bytes]) -> None:
    job = _running(peer, parts[0])
    if job is None:
        engine.refuse(peer, b"JOB_NOT_FOUND", b"Job given in work result not found")
        return
    numerator, denominator = parts[1], parts[2].rstrip(b"\0")
    job.progress = (_unsigned(numerator), _unsigned(denominator))
    engine.tell(job, plain(int(Command.WORK_STATUS), b"\0".join((job.handle, numerator, denominator))))


def _large_passer(command: int) -> LargeHandler:
    def pass_on(engine: Engine, peer: Peer, parts: list[bytes], data: Pieces) -> None:
        job = _running(peer, parts[0])
        if job is None:
            engine.refuse(peer, b"JOB_NOT_FOUND", b"Job does not exist on server")
        else:
            _pass_on(engine, job, command, data)

    return pass_on


def _passer(command: int) -> Handler:
    large = _large_passer(command)

    def pass_on(engine: Engine, peer: Peer, parts: list[bytes]) -> None:
        large(engine, peer, parts, Pieces([*parts[1:]]))

    return pass_on


def _running(peer: Peer, handle: bytes) -> Job | None:
    return peer.running.get(handle) if peer.running else None


def _pass_on(engine: Engine, job: Job, command: int, data: Pieces) -> None:
    """Sends a worker's data to the clients of a job without a copy for each of them."""
    if job.clients is not None:
        size = len(data)
        head = forward(command, job.handle, b"")
        head = head[:8] + (len(job.handle) + 1 + size).to_bytes(4, "big") + head[12:]
        for client in job.clients:  # one after the other: a peer that submitted twice stands here twice
            engine.send(client, head)
            client.out += data.parts
            if size >= _LARGE:
                client.large = True


# ---- neither


def _text(engine: Engine, peer: Peer, parts: list[bytes]) -> None:
    admin.answer(engine, peer, parts[0])


def _wrong_magic(engine: Engine, peer: Peer, parts: list[bytes]) -> None:
    engine.refuse(peer, b"INVALID_MAGIC", b"Request magic expected")


def _too_few(engine: Engine, peer: Peer, parts: list[bytes]) -> None:
    command = Command(int(parts[0]))
    names = ", ".join(LAYOUTS[command].arguments + (("data",) if LAYOUTS[command].data else ()))
    engine.refuse(peer, b"INVALID_PACKET", f"{command.name} needs: {names}, each but the last ended by NUL".encode())


def _not_a_request(engine: Engine, peer: Peer, parts: list[bytes]) -> None:
    engine.refuse(peer, b"INVALID_COMMAND", b"Command not expected")


def _text_of(part: bytes) -> bytes:
    """An only argument up to its NUL: some programs end it with one."""
    return part.partition(b"\0")[0]


def _number(text: bytes) -> int:
    """C's atoi: the leading digits, 0 for none."""
    digits = text.strip()
    sign = 1
    if digits[:1] in (b"-", b"+"):
        sign = -1 if digits[:1] == b"-" else 1
        digits = digits[1:]
    end = 0
    while end < min(len(digits), 18) and digits[end : end + 1].isdigit():
        end += 1
    return sign * int(digits[:end] or b"0")


def _unsigned(text: bytes) -> int:
    return _number(text) & 0xFFFFFFFF


_TABLE: Final[dict[int, Handler]] = {
    Command.CAN_DO: _can_do,
    Command.CANT_DO: _cannot_do,
    Command.RESET_ABILITIES: _reset,
    Command.PRE_SLEEP: _pre_sleep,
    Command.SUBMIT_JOB: _submitter(_NORMAL, background=False),
    Command.GRAB_JOB: _grabber(Command.GRAB_JOB),
    Command.WORK_STATUS: _work_status,
    Command.WORK_COMPLETE: _work_complete,
    Command.WORK_FAIL: _work_fail,
    Command.GET_STATUS: _get_status,
    Command.ECHO_REQ: _echo,
    Command.SUBMIT_JOB_BG: _submitter(_NORMAL, background=True),
    Command.SUBMIT_JOB_HIGH: _submitter(_HIGH, background=False),
    Command.SET_CLIENT_ID: _set_client_id,
    Command.CAN_DO_TIMEOUT: _can_do_timeout,
    Command.ALL_YOURS: _all_yours,
    Command.WORK_EXCEPTION: _work_exception,
    Command.OPTION_REQ: _option,
    Command.WORK_DATA: _passer(Command.WORK_DATA),
    Command.WORK_WARNING: _passer(Command.WORK_WARNING),
    Command.GRAB_JOB_UNIQ: _grabber(Command.GRAB_JOB_UNIQ),
    Command.SUBMIT_JOB_HIGH_BG: _submitter(_HIGH, background=True),
    Command.SUBMIT_JOB_LOW: _submitter(_LOW, background=False),
    Command.SUBMIT_JOB_LOW_BG: _submitter(_LOW, background=True),
    Command.SUBMIT_JOB_SCHED: _submit_sched,
    Command.SUBMIT_JOB_EPOCH: _submit_epoch,
    Command.SUBMIT_REDUCE_JOB: _reducer(background=False),
    Command.SUBMIT_REDUCE_JOB_BACKGROUND: _reducer(background=True),
    Command.GRAB_JOB_ALL: _grabber(Command.GRAB_JOB_ALL),
    Command.GET_STATUS_UNIQUE: _get_status_unique,
    TEXT: _text,
    WRONG_MAGIC: _wrong_magic,
    TOO_FEW: _too_few,
}
_LARGE_TABLE: Final[dict[int, LargeHandler]] = {
    Command.SUBMIT_JOB: _large_submitter(_NORMAL),
    Command.SUBMIT_JOB_HIGH: _large_submitter(_HIGH),
    Command.SUBMIT_JOB_LOW: _large_submitter(_LOW),
    Command.WORK_DATA: _large_passer(Command.WORK_DATA),
    Command.WORK_WARNING: _large_passer(Command.WORK_WARNING),
    Command.WORK_COMPLETE: _large_complete,
}
"""The commands of `Parser.begun`."""
HANDLERS: Final[list[Handler]] = [_TABLE.get(number, _not_a_request) for number in range(MAX_COMMAND + 4)]
"""What is done for each command's number. What is not in the table is not a request: ERROR, as gearmand."""
