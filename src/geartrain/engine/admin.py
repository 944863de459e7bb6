"""The text protocol: what administrators and monitors ask.

Owns the commands, their words and the form of the answers, byte for byte as gearmand where programs parse them.

Source: gearmand's libgearman-server/text.cc, as seen on the wire of 1.1.20.
"""

import os
import re
from collections.abc import Callable
from typing import Final, TypeAlias

from geartrain.engine.ending import cancel
from geartrain.engine.engine import Engine
from geartrain.engine.job import Job
from geartrain.engine.peer import Peer

__all__ = ["COMMANDS", "answer"]

Command: TypeAlias = Callable[[Engine, Peer, list[bytes]], bytes]

_OK: Final = b"OK\r\n"
_LEADING_DIGITS: Final = re.compile(rb"\+?(\d{1,18})")
_MAX_ARGUMENTS: Final = 8
"""gearmand closes the connection on more."""


def answer(engine: Engine, peer: Peer, line: bytes) -> None:
    """Answers one line of the text protocol."""
    line = line.partition(b"\0")[0]  # gearmand reads a C string
    words = [word for word in line.split(b" ") if word]
    if len(words) > _MAX_ARGUMENTS:
        engine.send(peer, b"ERR TOO_MANY_ARGUMENTS At+most+8+words+are+understood\r\n")
        engine.close(peer)
        return
    word = words[0] if words and not line.startswith(b" ") else b""
    command = COMMANDS.get(word.lower())
    reply = None if command is None else command(engine, peer, words)
    if reply is None:
        reply = b"ERR UNKNOWN_COMMAND Unknown+server+command%b\r\n" % word
    engine.send(peer, reply)


def _workers(engine: Engine, peer: Peer, words: list[bytes]) -> bytes:
    lines = []
    for other in engine.peers:
        names = b"".join(b" " + function.name for function in reversed(other.functions or {}))
        lines.append(b"%d %b %b :%b\n" % (other.fd, other.address, other.client_id, names))
    lines.append(b".\n")
    return b"".join(lines)


def _status(engine: Engine, peer: Peer, words: list[bytes]) -> bytes:
    lines = [b"%b\t%d\t%d\t%d\n" % (f.name, f.total, f.running, f.workers) for f in engine.functions.values()]
    return b"".join(lines) + b".\n"


def _prioritystatus(engine: Engine, peer: Peer, words: list[bytes]) -> bytes:
    lines = [b"%b\t%d\t%d\t%d\t%d\n" % (f.name, *f.waiting, f.workers) for f in engine.functions.values()]
    return b"".join(lines) + b".\n"


def _show(engine: Engine, peer: Peer, words: list[bytes]) -> bytes:
    what = [word.lower() for word in words[1:]]
    if what == [b"jobs"]:
        jobs = engine.jobs.values()
        lines = [b"%b\t%d\t%d\t%d\n" % (j.handle, j.attempts, _ignored(j), j.background) for j in jobs]
    elif what == [b"unique", b"jobs"]:
        lines = [job.unique + b"\n" for job in engine.jobs.values()]
    elif not what:
        return b"ERR UNKNOWN_COMMAND Unknown+server+commandshow\r\n"
    else:
        return b"ERR UNKNOWN_SHOW_ARGUMENTS\r\n"
    return b"".join(lines) + b".\n"


def _ignored(job: Job) -> bool:
    """Whether nobody waits for its result: only a running job can be like that."""
    return job.clients is None and not job.background


def _cancel(engine: Engine, peer: Peer, words: list[bytes]) -> bytes:
    if len(words) < 3:
        return b"ERR UNKNOWN_COMMAND Unknown+server+commandcancel\r\n"
    if len(words) > 3 or words[1].lower() != b"job":
        return b"ERR UNKNOWN_ERROR\r\n"
    job = engine.jobs.get(words[2])
    if job is None:
        return b"ERR UNKNOWN_JOB\r\n"
    cancel(engine, job)
    return _OK


def _create(engine: Engine, peer: Peer, words: list[bytes]) -> bytes:
    if len(words) != 3 or words[1].lower() != b"function":
        return _incomplete(b"create")
    engine.function(words[2])
    return _OK


def _drop(engine: Engine, peer: Peer, words: list[bytes]) -> bytes:
    if len(words) != 3 or words[1].lower() != b"function":
        return _incomplete(b"drop")
    function = engine.functions.get(words[2])
    if function is None:
        return b"ERR function not found\r\n"
    if function.workers or function.running:
        return b"ERR there are still connected workers or executing clients\r\n"
    engine.drop_function(function)
    return _OK


def _maxqueue(engine: Engine, peer: Peer, words: list[bytes]) -> bytes:
    if len(words) < 2:
        return _incomplete(b"maxqueue")
    function = engine.functions.get(words[1])
    if function is not None:
        limits = [_limit(word) for word in words[2:5]]
        if len(limits) == 1:
            limits *= 3
        limits += [0] * (3 - len(limits))
        function.limits = (limits[0], limits[1], limits[2]) if any(limits) else None
    return _OK


def _limit(word: bytes) -> int:
    found = _LEADING_DIGITS.match(word)  # C's atoi; less than nought is no limit
    return int(found[1]) if found else 0


def _getpid(engine: Engine, peer: Peer, words: list[bytes]) -> bytes:
    return b"OK %d\n" % os.getpid()


def _verbose(engine: Engine, peer: Peer, words: list[bytes]) -> bytes:
    return b"OK %b\n" % engine.about.verbose


def _version(engine: Engine, peer: Peer, words: list[bytes]) -> bytes:
    return b"OK %b\n" % engine.about.version


def _shutdown(engine: Engine, peer: Peer, words: list[bytes]) -> bytes:
    about = engine.about
    graceful = len(words) == 2 and words[1].lower() == b"graceful"
    if len(words) > 1 and not graceful:
        return b"ERR UNKNOWN_SHUTDOWN_ARGUMENTS Use+shutdown+or+shutdown+graceful\r\n"
    if not peer.trusted and not about.allow_shutdown:
        return b"ERR PERMISSION_DENIED Shutdown+is+accepted+from+this+machine+only,+or+with+--allow-shutdown\r\n"
    about.shutdown(graceful)
    return _OK


def _incomplete(command: bytes) -> bytes:
    return b"ERR INVALID_ARGUMENTS An+incomplete+set+of+arguments+was+sent+to+this+command+%b\r\n" % command


COMMANDS: Final[dict[bytes, Command]] = {
    b"workers": _workers,
    b"status": _status,
    b"prioritystatus": _prioritystatus,
    b"show": _show,
    b"cancel": _cancel,
    b"create": _create,
    b"drop": _drop,
    b"maxqueue": _maxqueue,
    b"getpid": _getpid,
    b"verbose": _verbose,
    b"version": _version,
    b"shutdown": _shutdown,
}
"""The first words, which are understood in upper and lower case."""
