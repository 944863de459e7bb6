"""Events: the state of each second, pushed to everybody who looks.

Owns the stream's form (server-sent events) and its economy: one snapshot is taken and written as JSON once a second
for any number of viewers, none where nobody looks. The first event of a viewer has everything; the later ones have the
functions and workers that changed. What only grew older has not changed: whoever looks can count seconds too.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Final

from geartrain.http.snapshot import Cache, snapshot

if TYPE_CHECKING:
    from geartrain.http.history import History
    from geartrain.server.server import JobServer

__all__ = ["Events"]

_EVERY: Final = 1.0
_BEHIND: Final = 5
"""Events that a viewer may be behind; one who reads no faster starts anew with a whole snapshot."""
_DRIFT: Final = 0.5
"""Seconds that an age may differ from what a viewer makes of the last one before it is told again."""

_Row = dict[str, Any]


class Events:
    """The stream of one server.

    Args:
        server: started.
        history: whose samples of each second come along, for the charts.
        cache: for the snapshots, shared with others who take them in this thread.
    """

    def __init__(self, server: "JobServer", history: "History | None" = None, cache: Cache | None = None) -> None:
        self._server = server
        self._cache = Cache() if cache is None else cache
        self._history = history
        self._viewers: set[asyncio.Queue[bytes | None]] = set()
        self._task: asyncio.Task[None] | None = None
        self._functions = _Told("name", "oldest")
        self._workers = _Told("fd", "connected")
        self._sampled = 0.0
        self._closed = False

    @property
    def viewers(self) -> int:
        """How many look."""
        return len(self._viewers)

    async def stream(self) -> AsyncIterator[bytes]:
        """The body of one viewer's answer, until the viewer or the server goes.

        Yields:
            whole events: ``event: snapshot`` with everything that `snapshot` has but ``running``, which stands with
            the workers; then ``event: change`` each second, in which ``functions`` and ``workers`` have those that
            changed, ``dropped`` and ``left`` the names and descriptors of those that are gone, and ``samples`` the
            rows of the history's `FIELDS` since the event before.
        """
        if self._closed:
            return
        queue: asyncio.Queue[bytes | None] = asyncio.Queue(_BEHIND)
        queue.put_nowait(b"retry: 1000\n" + self._whole())
        self._viewers.add(queue)
        if self._task is None:
            self._task = asyncio.create_task(self._push())
        try:
            while (event := await queue.get()) is not None:
                yield event
        finally:
            self._viewers.discard(queue)
            if not self._viewers and self._task is not None:
                self._task.cancel()
                self._task = None
                self._functions.forget()
                self._workers.forget()

    def close(self) -> None:
        """Ends all streams: the server stops."""
        self._closed = True
        for queue in self._viewers:
            while not queue.empty():
                queue.get_nowait()
            queue.put_nowait(None)

    def _whole(self) -> bytes:
        state = self._look()
        now = state["time"]
        if self._viewers:  # all viewers hear of the same changes: what this one is shown may be ahead of the others
            self._functions.doubt(state["functions"], now)
            self._workers.doubt(state["workers"], now)
        else:
            self._functions.tell(state["functions"], now)
            self._workers.tell(state["workers"], now)
            self._sampled = now
        return _event("snapshot", state)

    def _look(self) -> _Row:
        state = snapshot(self._server, self._cache)
        del state["running"]  # the same jobs as the workers have
        return state

    async def _push(self) -> None:
        while True:
            await asyncio.sleep(_EVERY)
            state = self._look()
            event = self._change(state)
            whole = b""
            for queue in self._viewers:
                if queue.full():
                    while not queue.empty():
                        queue.get_nowait()
                    whole = whole or _event("snapshot", state)
                    queue.put_nowait(whole)
                else:
                    queue.put_nowait(event)

    def _change(self, state: _Row) -> bytes:
        now: float = state["time"]
        functions, dropped = self._functions.tell(state["functions"], now)
        workers, left = self._workers.tell(state["workers"], now)
        change = {**state, "functions": functions, "dropped": dropped, "workers": workers, "left": left}
        if self._history is not None:
            change["samples"] = self._history.since(self._sampled)
            self._sampled = now
        return _event("change", change)


class _Told:
    """What the viewers know of some rows.

    Args:
        key: the field that names a row.
        age: the field that grows by itself, second by second.
    """

    def __init__(self, key: str, age: str) -> None:
        self._key = key
        self._age = age
        self._rows: dict[Any, tuple[float, _Row]] = {}

    def tell(self, rows: list[_Row], now: float) -> tuple[list[_Row], list[Any]]:
        """Returns the rows that are news, and the keys of the rows that are gone."""
        key, age = self._key, self._age
        before = self._rows
        after: dict[Any, tuple[float, _Row]] = {}
        news = []
        for row in rows:
            name = row[key]
            known = before.get(name)
            if known is not None and _only_older(known[1], row, age, now - known[0]):
                after[name] = known
            else:
                after[name] = (now, row)
                news.append(row)
        self._rows = after
        return news, [name for name in before if name not in after]

    def doubt(self, rows: list[_Row], now: float) -> None:
        """A viewer came and was shown these rows: those that differ from what the others know are told again."""
        shown = {row[self._key]: row for row in rows}
        for name in [*self._rows, *(name for name in shown if name not in self._rows)]:
            known, row = self._rows.get(name), shown.get(name)
            if known is None or row is None or not _only_older(known[1], row, self._age, now - known[0]):
                self._rows[name] = (now, {})

    def forget(self) -> None:
        self._rows = {}


def _only_older(before: _Row, after: _Row, age: str, seconds: float) -> bool:
    """Whether all that changed is a row's age, and those of the jobs that it holds."""
    if not before:
        return False
    for name, value in after.items():
        old = before[name]
        if value == old:
            continue
        if name == age:
            if value is None or old is None or abs(value - old - seconds) > _DRIFT:
                return False
        elif name == "jobs":
            if len(value) != len(old) or not all(map(_same_job, old, value)):
                return False
        else:
            return False
    return True


def _same_job(before: _Row, after: _Row) -> bool:
    return all(value == before[name] for name, value in after.items() if name != "since")


def _event(name: str, data: _Row) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n".encode()
