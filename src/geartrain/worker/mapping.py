"""Jobs with a reducer: what the task sends goes to another function, and the results are put together.

libgearman calls this a partitioned function: for a job that names a reducer, each `send_data` of the mapping task
becomes a job of that reducer, and an aggregating function makes the result of the reducers' results.

Owns the jobs in between. Must not know connections: clients submit them.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

from geartrain.client.sync import Client, Task

__all__ = ["Aggregate", "Mapping"]

Aggregate: TypeAlias = Callable[[list[bytes]], Any]
"""Makes one result of the reducers' results, which come in the order in which their pieces were sent."""


class Mapping:
    """The jobs in between, of one job of a `Worker`.

    Args:
        client: submits them; its namespace must be empty, for the reducer's name has it already.
        reducer: the function.
    """

    def __init__(self, client: Client, reducer: bytes) -> None:
        self._client = client
        self._reducer = reducer
        self._tasks: list[Task] = []

    def add(self, piece: bytes) -> None:
        """Submits one piece."""
        self._tasks.append(self._client.submit(self._reducer, piece))

    def results(self) -> list[bytes]:
        """Waits for all. Raises the first error, as `Task.result` does."""
        return [task.result() for task in self._tasks]
