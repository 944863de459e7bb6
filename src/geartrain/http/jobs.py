"""The API's part for jobs: search, inspect, submit, cancel, give another priority.

Owns how a job looks in JSON and the search, which must not stop the server on a queue of a million jobs.
"""

import asyncio
import time
from base64 import b64decode
from collections.abc import AsyncIterator
from itertools import islice
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from geartrain.engine import ending
from geartrain.engine.job import ENDED, MEMORY, RUNNING, Extra, Job
from geartrain.engine.schedule import next_time
from geartrain.http.inside import ask
from geartrain.http.responses import readable
from geartrain.http.routes import ApiError, Asked, Parameter, Route
from geartrain.http.rows import text

if TYPE_CHECKING:
    from geartrain.engine.engine import Engine

__all__ = ["PRIORITIES", "ROUTES", "STATES", "find_job", "shown_job"]

PRIORITIES: Final = ("high", "normal", "low")
STATES: Final = ("delayed", "queued", "running")
MAX_WORKLOAD: Final = 1 << 20
"""Bytes of a workload that an answer shows."""
_SLICE: Final = 2000
"""Jobs that are looked at before others have their turn."""
_MOST: Final = 1000
_SCHEDULE: Final = ("minute", "hour", "day", "month", "weekday")


def shown_job(job: Job, workload: bool = False) -> dict[str, Any]:
    """A job in JSON: times in seconds since 1970, durations in seconds, sizes in bytes."""
    now = monotonic()
    numerator, denominator = job.progress or (0, 0)
    worker = job.worker
    running = job.state == RUNNING
    shown: dict[str, Any] = {
        "handle": text(job.handle),
        "function": text(job.function.name),
        "unique": text(job.unique),
        "state": STATES[job.state] if job.state < ENDED else "ended",
        "priority": PRIORITIES[job.priority],
        "background": job.background,
        "durable": job.durable > MEMORY,
        "submitted": time.time() - (now - job.submitted),
        "age": now - job.submitted,
        "since": now - job.started if running else None,
        "attempts": job.attempts,
        "numerator": numerator,
        "denominator": denominator,
        "at": job.when or None,
        "reducer": text(job.reducer),
        "clients": len(job.clients or ()),
        "size": len(job.data),
        "worker": None if worker is None else {"id": text(worker.client_id), "address": text(worker.address)},
    }
    if workload:
        shown |= readable("workload", job.workload[:MAX_WORKLOAD])
        shown["cut"] = len(job.data) > MAX_WORKLOAD
    return shown


def find_job(asked: Asked) -> Job:
    """The live job whose handle stands in the path.

    Raises:
        ApiError: there is none.
    """
    job = asked.server.engine.jobs.get(asked.names[0])
    if job is None:
        raise ApiError(404, "UNKNOWN_JOB", f"There is no job {text(asked.names[0])[:100]}: it has ended, or never was.")
    return job


# ---- search


async def search(asked: Asked) -> dict[str, Any]:
    """Jobs that match all that is asked for."""
    query = asked.query
    wanted = _Filter(query)
    limit = asked.number("limit", 100, _MOST)
    found: list[dict[str, Any]] = []
    last = ""
    async for job in _walk(asked.server.engine, query.get("after", "").encode(), query.get("order") == "newest"):
        if wanted(job):
            if len(found) >= limit:
                return {"jobs": found, "after": last}
            last = text(job.handle)
            found.append(shown_job(job))
    return {"jobs": found, "after": None}


class _Filter:
    """What a search asks for. Parts of names do, but for the function: that is one of a list."""

    def __init__(self, query: dict[str, str]) -> None:
        self._function = query.get("function", "").encode()
        self._handle = query.get("handle", "").encode()
        self._unique = query.get("unique", "").encode()
        self._priority = _index("priority", query.get("priority", ""), PRIORITIES)
        self._state = _index("state", query.get("state", ""), STATES)

    def __call__(self, job: Job) -> bool:
        return (
            (not self._function or job.function.name == self._function)
            and (self._state is None or job.state == self._state)
            and (self._priority is None or job.priority == self._priority)
            and (not self._handle or self._handle in job.handle)
            and (not self._unique or self._unique in job.unique)
        )


async def _walk(engine: "Engine", after: bytes, newest: bool) -> AsyncIterator[Job]:
    """All jobs, in slices: between two of them the server serves others, and jobs may end."""
    order = reversed(engine.jobs) if newest else iter(engine.jobs)
    if after:
        handles = list(order)
        try:
            start = handles.index(after) + 1
        except ValueError:  # it has ended since: go on where it would stand
            number = _number(after)
            start = next((i for i, h in enumerate(handles) if (_number(h) < number) == newest), len(handles))
        order = islice(handles, start, None)
    whole = bool(after)
    while handles := list(islice(order, _SLICE)):
        for handle in handles:
            job = engine.jobs.get(handle)
            if job is not None:
                yield job
        if not whole:  # most searches need no more than the first slice: a copy of a million handles takes a while
            order, whole = iter(list(order)), True
        await asyncio.sleep(0)


def _number(handle: bytes) -> int:
    digits = handle[handle.rfind(b":") + 1 :]
    return int(digits) if digits.isdigit() else 0


def _index(name: str, value: str, values: tuple[str, ...]) -> int | None:
    if not value:
        return None
    if value not in values:
        raise ApiError(400, "INVALID_ARGUMENT", f"{name} is one of {', '.join(values)}, not {value[:40]!r}.")
    return values.index(value)


# ---- one job


async def inspect(asked: Asked) -> dict[str, Any]:
    """One job with its workload."""
    return shown_job(find_job(asked), workload=True)


async def cancel(asked: Asked) -> dict[str, Any]:
    """Ends a job; a worker that has it is not stopped, but nobody hears of it any more."""
    job = find_job(asked)
    shown = shown_job(job)
    ending.cancel(asked.server.engine, job)
    asked.server.changed()
    return shown


async def change(asked: Asked) -> dict[str, Any]:
    """Gives a job another priority."""
    job = find_job(asked)
    value = asked.body.get("priority")
    priority = _index("priority", value if isinstance(value, str) else repr(value), PRIORITIES)
    if job.state == RUNNING:
        raise ApiError(409, "RUNNING", "A worker has this job already: its priority matters no more.")
    assert priority is not None
    asked.server.engine.change_priority(job, priority)
    asked.server.changed()
    return shown_job(job)


async def status(asked: Asked) -> dict[str, Any]:
    """What GET_STATUS and GET_STATUS_UNIQUE tell."""
    engine = asked.server.engine
    handle, unique = asked.query.get("handle", ""), asked.query.get("unique", "")
    if bool(handle) == bool(unique):
        raise ApiError(400, "INVALID_ARGUMENT", "Ask for a handle, or for a unique.")
    job = engine.jobs.get(handle.encode()) if handle else engine.uniques.any(unique.encode())
    numerator, denominator = (0, 0) if job is None or job.progress is None else job.progress
    return {
        "handle": handle if job is None else text(job.handle),
        "unique": unique if job is None else text(job.unique),
        "known": job is not None,
        "running": job is not None and job.state == RUNNING,
        "numerator": numerator,
        "denominator": denominator,
        "clients": 0 if job is None else len(job.clients or ()),
    }


# ---- submit


async def submit(asked: Asked) -> dict[str, Any]:
    """A background job. It is acknowledged when it is safe, as on the Gearman port."""
    body = asked.body
    function = _text(body, "function").encode()
    if not function or b"\0" in function:
        raise ApiError(400, "INVALID_ARGUMENT", "function is the name of the function, without NUL bytes.")
    unique = _text(body, "unique").encode()
    if b"\0" in unique:
        raise ApiError(400, "INVALID_ARGUMENT", "A unique cannot hold a NUL byte.")
    workload = _workload(body)
    priority = _index("priority", _text(body, "priority") or "normal", PRIORITIES)
    assert priority is not None
    reducer = _text(body, "reducer").encode()
    when = _when(body)
    extra = Extra(reducer, when) if reducer or when else None
    if asked.server.engine.draining:
        raise ApiError(503, "SHUTDOWN", "The server is about to stop.")
    # Not a packet through dispatch: no packet can hold a time and a priority both.
    parts = await ask(
        asked.server, lambda engine, peer: engine.submit(peer, function, unique, workload, priority, True, extra)
    )
    return {"handle": text(parts[0]), "at": when or None}


def _text(body: dict[str, Any], name: str) -> str:
    value = body.get(name, "")
    if not isinstance(value, str):
        raise ApiError(400, "INVALID_ARGUMENT", f"{name} is a string.")
    return value


def _workload(body: dict[str, Any]) -> bytes:
    if "workload_base64" not in body:
        return _text(body, "workload").encode("utf-8", "surrogatepass")
    try:
        return b64decode(_text(body, "workload_base64"), validate=True)
    except ValueError as error:
        raise ApiError(400, "INVALID_ARGUMENT", f"workload_base64 is not base64: {error}.") from error


def _when(body: dict[str, Any]) -> int:
    """Seconds since 1970, 0 for at once: from ``at``, ``delay`` or ``schedule``."""
    given = [name for name in ("at", "delay", "schedule") if body.get(name) is not None]
    if not given:
        return 0
    if len(given) > 1:
        raise ApiError(400, "INVALID_ARGUMENT", f"Give one of {', '.join(given)}.")
    value = body[given[0]]
    if given[0] == "schedule":
        if not isinstance(value, dict) or not set(value) <= set(_SCHEDULE):
            raise ApiError(400, "INVALID_ARGUMENT", f"schedule is an object of {', '.join(_SCHEDULE)}.")
        when = next_time([str(value.get(name, "")).encode() for name in _SCHEDULE], time.time())
        if isinstance(when, str):
            raise ApiError(400, "INVALID_ARGUMENT", when)
        return when
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1 << 40:
        raise ApiError(400, "INVALID_ARGUMENT", f"{given[0]} is a number of seconds.")
    return int(value) if given[0] == "at" else int(time.time() + value + 0.999)


_ONE: Final = {404: "No live job has this handle."}

ROUTES: Final = (
    Route(
        method="GET",
        path="/jobs",
        handler=search,
        answer="JobPage",
        help="Search the live jobs.",
        query=(
            Parameter("function", "Jobs of this function."),
            Parameter("handle", "Jobs whose handle contains this."),
            Parameter("unique", "Jobs whose unique contains this."),
            Parameter("state", "Jobs in this state.", values=STATES),
            Parameter("priority", "Jobs of this priority.", values=PRIORITIES),
            Parameter("order", "Which come first.", values=("oldest", "newest")),
            Parameter("limit", f"How many at most: 100 if not given, never more than {_MOST}.", "integer"),
            Parameter("after", "Go on behind this handle: what the page before had as `after`."),
        ),
    ),
    Route(
        method="POST",
        path="/jobs",
        handler=submit,
        body="NewJob",
        answer="Submitted",
        status=201,
        help="Submit a background job, now or for later. Answers when it is safe.",
        errors={503: "The queue is full, or its store takes nothing at the moment."},
    ),
    Route(
        method="GET",
        path="/jobs/{handle}",
        handler=inspect,
        answer="Job",
        errors=_ONE,
        help="One job and its workload.",
    ),
    Route(
        method="DELETE",
        path="/jobs/{handle}",
        handler=cancel,
        answer="Job",
        errors=_ONE,
        help="Cancel a job. Its clients are told that it failed; a worker that has it is not stopped.",
    ),
    Route(
        method="PATCH",
        path="/jobs/{handle}",
        handler=change,
        body="JobChange",
        answer="Job",
        errors={**_ONE, 409: "A worker has it already."},
        help="Give a waiting job another priority.",
    ),
    Route(
        method="GET",
        path="/status",
        handler=status,
        answer="Status",
        help="A job's status by its handle or its unique, as GET_STATUS and GET_STATUS_UNIQUE tell it.",
        query=(Parameter("handle", "The handle."), Parameter("unique", "Or the unique.")),
    ),
)
