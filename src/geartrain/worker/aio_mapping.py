"""Jobs with a reducer, for asyncio; see `mapping`."""

from geartrain.client.aio import AsyncClient, AsyncTask

__all__ = ["AsyncMapping"]


class AsyncMapping:
    """The jobs in between, of one job of an `AsyncWorker`; as `Mapping`."""

    def __init__(self, client: AsyncClient, reducer: bytes) -> None:
        self._client = client
        self._reducer = reducer
        self._tasks: list[AsyncTask] = []

    def add(self, piece: bytes) -> None:
        """Submits one piece."""
        self._tasks.append(self._client.submit(self._reducer, piece))

    async def results(self) -> list[bytes]:
        """Waits for all. Raises the first error, as `AsyncTask.result` does."""
        return [await task for task in self._tasks]
