"""The Store protocol: what a durable queue must do.

Owns the records that pass between the committer and a backend, and the contract.
A store knows no engine, no asyncio and no sockets of clients. All its methods are called from one thread at a
time: `open` and `load` before or while the server starts, `apply` from the committer's thread, `close` last.

docs/adding-a-store.md says how to write one; tests/stores/test_contract.py is its test.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple, Protocol

__all__ = ["Batch", "Key", "Store", "StoredJob"]


class Key(NamedTuple):
    """What names a stored job: unique among the live jobs of one store."""

    function: bytes
    unique: bytes
    """The client's unique. May be empty or ``-``, and then `number` alone tells the jobs apart."""
    number: int
    """The number in the job's handle."""


class StoredJob(NamedTuple):
    """A background job as it is kept.

    Attributes:
        number: the number in the handle: > 0, unique in this store for ever. 0 from `load` when the row was
            written by another program and has none: the engine gives it a new one, through `Batch.adds`.
        handle: the whole handle, as the client got it. Empty where number is 0.
        function: any bytes but NUL.
        unique: as the client sent it: at most 64 bytes, maybe empty, ``-`` or not UTF-8.
        workload: any bytes.
        priority: 0 high, 1 normal, 2 low.
        when: seconds since 1970 at which it may run; 0 for at once.
        reducer: empty for none.
        attempts: how often it was given to a worker that did not finish it.
    """

    number: int
    handle: bytes
    function: bytes
    unique: bytes
    workload: bytes
    priority: int = 1
    when: int = 0
    reducer: bytes = b""
    attempts: int = 0

    @property
    def key(self) -> Key:
        return Key(self.function, self.unique, self.number)


@dataclass(slots=True)
class Batch:
    """What is to be written in one transaction.

    A job never stands in `adds` and `dones` of one batch. `dones` go first: a job that ended and a new one with
    the same function and unique may share a batch. `adds` replace what stood under the same key, and under the
    same function and unique unless that is empty or ``-`` (gearmand: INSERT OR REPLACE), so that a batch may
    safely be applied twice. `dones`, `attempts` and `priorities` of jobs that are not there are no error.
    """

    adds: list[StoredJob] = field(default_factory=list)
    dones: list[Key] = field(default_factory=list)
    attempts: dict[Key, int] = field(default_factory=dict)
    """New values of `StoredJob.attempts`, for jobs that are stored already."""
    priorities: dict[Key, int] = field(default_factory=dict)
    """New values of `StoredJob.priority`, for jobs that are stored already."""
    next_number: int = 0
    """The number that the server gives next: jobs that are not stored have numbers, too. 0 where nobody knows."""

    @property
    def empty(self) -> bool:
        """Whether there is nothing in it to be written at once."""
        return not (self.adds or self.dones or self.attempts or self.priorities)

    @property
    def unused(self) -> int:
        """The first number that no job has had, as far as the batch tells."""
        return self.next_number or max((job.number for job in self.adds), default=0) + 1


class Store(Protocol):
    """A durable queue.

    `str` of a store names it in messages ("the file /var/q.db", "MySQL at db1:3306, table jobs.queue"), without
    its password.
    """

    options: ClassVar[Mapping[str, str]]
    """The long option names that `from_options` understands, without dashes, with a line of help for each."""

    @property
    def write_on_stop(self) -> bool:
        """gearmand's ``--store-queue-on-shutdown``: the server acknowledges background jobs without waiting for
        the store, lets the changes add up (an add and its done cancel), and applies them when it stops. What was
        loaded at the start stays stored until then: after a crash those jobs run again rather than being lost.
        The store itself does nothing different."""
        ...

    @classmethod
    def from_options(cls, options: Mapping[str, str], handle_prefix: bytes) -> "Store":
        """Makes a store from the options of the command line, file or environment.

        Args:
            options: long option names without dashes to their values, as ``{"libsqlite3-db": "/var/q.db"}``.
                Only what the user set; the defaults are the store's own.
            handle_prefix: what the handles of this server begin with, for example ``b"H:host:"``.

        Raises:
            ConfigError: an option is missing or wrong, or the driver is not installed (the text has the command
                that installs it).
        """
        ...

    def open(self) -> int:
        """Connects, creates or upgrades the tables, takes over what gearmand left.

        Returns:
            the first number that was never given to a job of this store.

        Raises:
            StoreLocked: another server has it open; the text names the file.
            StoreUnavailable: it cannot be reached now. The server tries again.
            StoreError: it can never work (a corrupt file, no permission): the server does not start.
        """
        ...

    def load(self) -> Iterator[StoredJob]:
        """All stored jobs, oldest first. Streams: memory does not grow with their number.

        Runs on its own connection where the backend needs that, so that `apply` may be called meanwhile; a job
        that `apply` adds during a load may or may not come.

        A row that cannot be understood is logged and left where it is; it stops nothing.

        Raises:
            StoreUnavailable: as in `open`.
        """
        ...

    def apply(self, batch: Batch) -> None:
        """Writes a batch durably: all of it or nothing, in few round trips, committed to disk on return.

        An empty batch, which comes now and then while there is nothing to write, asks whether the store is there
        and has what was written to it. (A store that cannot lose it alone does as with any other batch.)

        Raises:
            StoreUnavailable: nothing is sure to be written; the same batch may be applied again. The store
                connects anew by itself when that happens: there is no need to call `open` again.
            StoreEmptied: the same, and all that was written before is lost (a service without persistence was
                restarted). Raised once for each loss, and the store is usable then: the committer applies the
                batch again, and after it all live jobs.
            StoreRejected: a row of it can never be stored (too large, say). The committer halves the batch to
                find the row.

        Numbers below `Batch.unused` are not given again: the next `open` begins there, or later where the process was
        killed.
        """
        ...

    def close(self) -> None:
        """Releases everything. May be called twice."""
        ...
