"""Events: the state of each second, pushed to everybody who looks.

Owns the stream's form (server-sent events) and its economy: one look is taken and written as JSON once a second for any
number of viewers, none where nobody looks, and fewer where a look takes long. The first event of a viewer has
everything; the later ones have the functions and workers that changed. What only grew older has not changed: whoever
looks can count seconds too.
"""

import asyncio
from collections.abc import AsyncIterator
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from geartrain.http.rows import Row, WorkerRow, text
from geartrain.http.snapshot import Look, Looks, write

if TYPE_CHECKING:
    from geartrain.http.history import History

__all__ = ["Events"]

_EVERY: Final = 1.0
_REST: Final = 4
"""The rest after an event is this many times as long as the event took, where a second is not: a look at very many
functions leaves the server most of its time."""
_LONGEST: Final = 4.0
"""Seconds of rest at most: the page takes six without a word for a lost connection."""
_BEHIND: Final = 5
"""Events that a viewer may be behind; one who reads no faster starts anew with a whole snapshot."""

_Key = TypeVar("_Key")
_AnyRow = TypeVar("_AnyRow")


class Events:
    """The stream of one server.

    Args:
        looks: at the server.
        history: whose samples of each second come along, for the charts.
    """

    def __init__(self, looks: Looks, history: "History | None" = None) -> None:
        self._looks = looks
        self._history = history
        self._viewers: set[asyncio.Queue[bytes | None]] = set()
        self._task: asyncio.Task[None] | None = None
        self._functions: _Told[bytes, Row] = _Told()
        self._workers: _Told[int, WorkerRow] = _Told()
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
        queue: asyncio.Queue[bytes | None] = asyncio.Queue(_BEHIND)
        look = await self._looks.look()
        if self._closed:
            return
        self._shown(look)  # nothing is told between the look and the next line: the later events begin where it ends
        self._viewers.add(queue)
        if self._task is None:
            self._task = asyncio.create_task(self._push())
        try:
            yield b"retry: 1000\n" + await _whole(look)
            while (event := await queue.get()) is not None:
                yield event
        finally:
            self._viewers.discard(queue)
            if not self._viewers and self._task is not None:
                self._task.cancel()
                self._task = None
                self._functions = _Told()
                self._workers = _Told()

    def close(self) -> None:
        """Ends all streams: the server stops."""
        self._closed = True
        for queue in self._viewers:
            while not queue.empty():
                queue.get_nowait()
            queue.put_nowait(None)

    def _shown(self, look: Look) -> None:
        if self._viewers:  # all viewers hear of the same changes: what this one is shown may be ahead of the others
            self._functions.doubt(look.functions)
            self._workers.doubt(look.workers)
        else:
            self._functions.tell(look.functions)
            self._workers.tell(look.workers)
            self._sampled = look.state["time"]

    async def _push(self) -> None:
        pause = _EVERY
        while True:
            await asyncio.sleep(pause)
            began = monotonic()
            look = await self._looks.look()
            viewers = list(self._viewers)  # whoever comes after this line is shown a later look
            event = await self._change(look)
            whole = b""
            for queue in viewers:
                if queue.full():
                    while not queue.empty():
                        queue.get_nowait()
                    whole = whole or await _whole(look)
                    queue.put_nowait(whole)
                else:
                    queue.put_nowait(event)
            pause = min(max(_EVERY, _REST * (monotonic() - began)), _LONGEST)

    async def _change(self, look: Look) -> bytes:
        functions, dropped = self._functions.tell(look.functions)
        workers, left = self._workers.tell(look.workers)
        more: dict[str, Any] = {"dropped": [text(name) for name in dropped], "left": left}
        if self._history is not None:
            more["samples"] = self._history.since(self._sampled)
            self._sampled = look.state["time"]
        return _event("change", await write(look, functions, workers, **more))


class _Told(Generic[_Key, _AnyRow]):
    """What the viewers know of some rows: which ones they were told last."""

    def __init__(self) -> None:
        self._rows: dict[_Key, _AnyRow | None] = {}

    def tell(self, rows: dict[_Key, _AnyRow]) -> tuple[list[_AnyRow], list[_Key]]:
        """Returns the rows that are news, and the keys of the rows that are gone."""
        before = self._rows
        self._rows = {**rows}
        return [row for key, row in rows.items() if before.get(key) is not row], list(before.keys() - rows.keys())

    def doubt(self, rows: dict[_Key, _AnyRow]) -> None:
        """A viewer came and was shown these rows: those that differ from what the others know are told again."""
        for key, row in rows.items():
            if self._rows.get(key) is not row:
                self._rows[key] = None


async def _whole(look: Look) -> bytes:
    return _event("snapshot", await write(look, look.functions.values(), look.workers.values()))


def _event(name: str, data: str) -> bytes:
    return f"event: {name}\ndata: {data}\n\n".encode()
