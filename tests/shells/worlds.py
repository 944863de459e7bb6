"""The two worlds, with one face: a test calls the same names, and waits, in ordinary code and in asyncio.

The asyncio world runs its loop in a thread of its own. What a test calls there runs in that loop; coroutines are
waited for; tasks come back with the same face.
"""

import asyncio
import inspect
import threading
from collections.abc import Callable, Iterator
from typing import Any, Self

from geartrain import AsyncClient, AsyncTask, AsyncWorker, Client, Worker

PATIENCE = 20.0


class SyncWorld:
    """Ordinary code: nothing to do."""

    name = "sync"

    def client(self, *args: Any, **settings: Any) -> Any:
        settings.setdefault("timeout", PATIENCE)
        return Client(*args, **settings)

    def worker(self, *args: Any, **settings: Any) -> "Working":
        return Working(Worker(*args, **settings), lambda worker: worker.work)

    def close(self) -> None:
        pass


class AioWorld:
    """A loop in a thread."""

    name = "asyncio"

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, name="the asyncio world", daemon=True)
        self.thread.start()

    def call(self, function: Callable[..., Any], *args: Any, **settings: Any) -> Any:
        """Runs a function in the loop, and waits for it."""

        async def run() -> Any:
            result = function(*(_inside(a) for a in args), **settings)
            return await result if inspect.isawaitable(result) and not isinstance(result, AsyncTask) else result

        result = asyncio.run_coroutine_threadsafe(run(), self.loop).result(PATIENCE * 3)
        return self.outside(result)

    def outside(self, value: Any) -> Any:
        if isinstance(value, AsyncTask):
            return Outside(self, value)
        if isinstance(value, list):
            return [self.outside(v) for v in value]
        if hasattr(value, "__anext__"):
            return self.iterate(value)
        return value

    def iterate(self, iterator: Any) -> Iterator[Any]:
        while True:
            try:
                yield self.call(iterator.__anext__)
            except StopAsyncIteration:
                return

    def client(self, *args: Any, **settings: Any) -> Any:
        settings.setdefault("timeout", PATIENCE)
        return Outside(self, AsyncClient(*args, **settings))

    def worker(self, *args: Any, **settings: Any) -> "Working":
        worker = AsyncWorker(*args, **settings)
        return Working(worker, lambda worker: lambda: self.call(worker.work), self)

    def close(self) -> None:
        self.call(_wait_for_the_rest)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(PATIENCE)
        self.loop.close()


async def _wait_for_the_rest() -> None:
    rest = asyncio.all_tasks() - {asyncio.current_task()}
    assert not rest, f"these were left running: {rest}"


def _inside(value: Any) -> Any:
    if isinstance(value, Outside):
        return value._inside
    if isinstance(value, (list, tuple)):
        return type(value)(_inside(v) for v in value)
    return value


class Outside:
    """An object of the loop, for code outside."""

    def __init__(self, world: AioWorld, inside: Any) -> None:
        self._world = world
        self._inside = inside

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._inside, name)
        if not callable(value):
            return value
        return lambda *args, **settings: self._world.call(value, *args, **settings)

    def __iter__(self) -> Iterator[Any]:
        return self._world.iterate(self._inside.__aiter__())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Outside) and self._inside is other._inside

    def __hash__(self) -> int:
        return id(self._inside)


class Working:
    """A worker that works in a thread, as a context manager."""

    def __init__(self, worker: Any, work: Callable[[Any], Callable[[], None]], world: AioWorld | None = None) -> None:
        self.worker = worker
        self._work = work(worker)
        self._world = world
        self._thread: threading.Thread | None = None
        self.problem: BaseException | None = None

    def register(self, *args: Any, **settings: Any) -> None:
        self.call(self.worker.register, *args, **settings)

    def unregister(self, *args: Any) -> None:
        self.call(self.worker.unregister, *args)

    def set_id(self, *args: Any) -> None:
        self.call(self.worker.set_id, *args)

    def call(self, function: Callable[..., Any], *args: Any, **settings: Any) -> Any:
        if self._world is None:
            return function(*args, **settings)
        return self._world.call(function, *args, **settings)

    def work_once(self, timeout: float | None = None) -> Any:
        return self.call(self.worker.work_once, timeout)

    def close(self) -> None:
        self.call(self.worker.close)

    def start(self) -> Self:
        self._thread = threading.Thread(target=self._run, name="a worker", daemon=True)
        self._thread.start()
        return self

    def _run(self) -> None:
        try:
            self._work()
        except BaseException as error:
            self.problem = error

    def stop(self) -> None:
        self.worker.stop()

    def join(self, seconds: float = PATIENCE) -> bool:
        """Waits until `work` has returned. Returns whether it has."""
        assert self._thread is not None
        self._thread.join(seconds)
        if self.problem is not None:
            raise self.problem
        return not self._thread.is_alive()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
        assert self.join(), "the worker did not stop"
