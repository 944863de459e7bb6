"""The queue in memory: gearmand's ``builtin``, and the twin of the durable stores in tests.

Owns a dict. Forgets everything with its process.
"""

from collections.abc import Iterator, Mapping
from typing import ClassVar

from geartrain.errors import StoreUnavailable
from geartrain.stores.base import Batch, Key, StoredJob

__all__ = ["MemoryStore"]


class MemoryStore:
    """Keeps jobs in this object, also over `close` and `open`.

    Attributes:
        unavailable: set it to a sentence, and `open`, `load` and `apply` raise `StoreUnavailable` with it until it
            is empty again: how a test takes the store away and gives it back.
        jobs: what is stored, by key.
        batches: how many batches were applied.
    """

    options: ClassVar[Mapping[str, str]] = {}
    write_on_stop: ClassVar[bool] = False

    def __init__(self) -> None:
        self.unavailable = ""
        self.jobs: dict[Key, StoredJob] = {}
        self.batches = 0
        self._next = 1

    @classmethod
    def from_options(cls, options: Mapping[str, str], handle_prefix: bytes) -> "MemoryStore":
        """Takes no options."""
        return cls()

    def __str__(self) -> str:
        return "memory"

    def open(self) -> int:
        """See `Store.open`."""
        self._check()
        return self._next

    def load(self) -> Iterator[StoredJob]:
        """See `Store.load`."""
        self._check()
        yield from list(self.jobs.values())

    def apply(self, batch: Batch) -> None:
        """See `Store.apply`."""
        self._check()
        jobs = self.jobs
        for key in batch.dones:
            jobs.pop(key, None)
        for job in batch.adds:
            jobs[job.key] = job
        self._next = max(self._next, batch.unused)
        for key, attempts in batch.attempts.items():
            if key in jobs:
                jobs[key] = jobs[key]._replace(attempts=attempts)
        for key, priority in batch.priorities.items():
            if key in jobs:
                jobs[key] = jobs[key]._replace(priority=priority)
        self.batches += 1

    def close(self) -> None:
        """See `Store.close`."""

    def _check(self) -> None:
        if self.unavailable:
            raise StoreUnavailable(self.unavailable)
