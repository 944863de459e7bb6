"""Events: the snapshot of each second, pushed to everybody who looks.

Owns the stream's form (server-sent events) and its economy: one snapshot is taken and written as JSON once a second
for any number of viewers, none where nobody looks. The first event of a viewer has every function; the later ones have
those that changed.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Final

from geartrain.http.snapshot import snapshot

if TYPE_CHECKING:
    from geartrain.server.server import JobServer

__all__ = ["Events"]

_EVERY: Final = 1.0
_BEHIND: Final = 5
"""Events that a viewer may be behind; one who reads no faster starts anew with a whole snapshot."""


class Events:
    """The stream of one server."""

    def __init__(self, server: "JobServer") -> None:
        self._server = server
        self._viewers: set[asyncio.Queue[bytes | None]] = set()
        self._task: asyncio.Task[None] | None = None
        self._last: dict[str, dict[str, Any]] = {}
        self._closed = False

    @property
    def viewers(self) -> int:
        return len(self._viewers)

    async def stream(self) -> AsyncIterator[bytes]:
        """The body of one viewer's answer, until the viewer or the server goes.

        Yields:
            whole events: ``event: snapshot`` with everything, then ``event: change`` each second, in which
            ``functions`` has the ones that changed and ``dropped`` the names of those that are gone.
        """
        queue: asyncio.Queue[bytes | None] = asyncio.Queue(_BEHIND)
        yield b"retry: 1000\n" + self._whole()
        self._viewers.add(queue)
        if self._task is None and not self._closed:
            self._task = asyncio.create_task(self._push())
        try:
            while not self._closed:
                event = await queue.get()
                if event is None:
                    return
                yield event
        finally:
            self._viewers.discard(queue)
            if not self._viewers and self._task is not None:
                self._task.cancel()
                self._task = None
                self._last = {}

    def close(self) -> None:
        """Ends all streams: the server stops."""
        self._closed = True
        for queue in self._viewers:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(None)

    def _whole(self) -> bytes:
        state = snapshot(self._server)
        if not self._viewers:
            self._last = {function["name"]: function for function in state["functions"]}
        return _event("snapshot", state)

    async def _push(self) -> None:
        while True:
            await asyncio.sleep(_EVERY)
            event = self._change()
            for queue in self._viewers:
                if not queue.full():
                    queue.put_nowait(event)
                    continue
                while not queue.empty():
                    queue.get_nowait()
                queue.put_nowait(_event("snapshot", snapshot(self._server)))

    def _change(self) -> bytes:
        state = snapshot(self._server)
        now = {function["name"]: function for function in state["functions"]}
        last = self._last
        state["functions"] = [function for name, function in now.items() if last.get(name) != function]
        state["dropped"] = [name for name in last if name not in now]
        self._last = now
        return _event("change", state)


def _event(name: str, data: dict[str, Any]) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n".encode()
