"""What the sync and the asyncio client have in common: their settings, and tasks made from what a user says.

Owns the meaning of `submit`'s arguments. Must not know how anybody waits or connects.
"""

import os
import ssl as ssl_module
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Generic, TypeVar

from geartrain.client.address import Servers, parse_servers
from geartrain.client.pool import Pool
from geartrain.client.request import (
    Name,
    Payload,
    Priority,
    Schedule,
    When,
    epoch_of,
    function_bytes,
    name_bytes,
    payload_bytes,
    priority_of,
    submission,
    unique_for,
)
from geartrain.client.task import NO_CALLBACKS, BaseTask, Callbacks
from geartrain.client.tls import Tls

__all__ = ["BaseClient"]

T = TypeVar("T", bound=BaseTask)
_NAMES: Final = 4096
"""Function names that are kept checked and packed."""
File = str | os.PathLike[str]


class BaseClient(ABC, Generic[T]):
    """Settings of a client.

    Args:
        servers: ``"host1,host2:4730"`` or a list; without it GEARMAN_SERVERS, then localhost:4730. The first that
            can be reached is used, the others when it fails.
        timeout: seconds to wait for an answer, for every call that does not say otherwise; None waits for ever.
        connect_timeout: seconds to try one server, name look-up and TLS included.
        exceptions: whether to ask the server to pass on workers' exceptions; without it they are plain failures.
        namespace: put before every function name.
        ssl, ssl_ca_file, ssl_certificate, ssl_key, ssl_check_hostname: see `geartrain.client.tls.Tls`. With any of
            the first four, nothing is ever sent in plain text.

    Raises:
        ConfigError: a server or a TLS setting cannot be used.
    """

    _task_type: type[T]

    def __init__(
        self,
        servers: Servers = None,
        *,
        timeout: float | None = None,
        connect_timeout: float = 5.0,
        exceptions: bool = True,
        namespace: Name = b"",
        ssl: bool | ssl_module.SSLContext = False,
        ssl_ca_file: File | None = None,
        ssl_certificate: File | None = None,
        ssl_key: File | None = None,
        ssl_check_hostname: bool = True,
    ) -> None:
        self.pool = Pool(parse_servers(servers))
        self.timeout = timeout
        self.connect_timeout = connect_timeout
        self.exceptions = exceptions
        self.namespace = name_bytes(namespace, "namespace")
        self._tls = Tls(ssl, ssl_ca_file, ssl_certificate, ssl_key, ssl_check_hostname).context()
        self._names: dict[Name, tuple[bytes, bytes]] = {}  # function names on the wire, and without the namespace
        self._set_up()

    @abstractmethod
    def _set_up(self) -> None:
        """What the shell adds."""

    @abstractmethod
    def _start(self, tasks: Sequence[T]) -> None:
        """Sends tasks, all in one write where they fit."""

    def submit(
        self,
        function: Name,
        workload: Payload = b"",
        *,
        unique: Name | None = None,
        priority: Priority | str = Priority.NORMAL,
        background: bool = False,
        at: When | None = None,
        schedule: Schedule | None = None,
        reducer: Name | None = None,
        on_created: Callable[[Any], object] | None = None,
        on_data: Callable[[Any, bytes], object] | None = None,
        on_warning: Callable[[Any, bytes], object] | None = None,
        on_status: Callable[[Any, Any], object] | None = None,
        on_complete: Callable[[Any], object] | None = None,
        on_exception: Callable[[Any], object] | None = None,
        on_fail: Callable[[Any], object] | None = None,
    ) -> T:
        """Sends a job and returns at once.

        Args:
            function: the function's name.
            workload: what the worker gets; text goes as UTF-8.
            unique: jobs with the same function and unique are one job while it waits or runs. ``-``: the workload is
                the unique. ``#``: a hash of it. None: no unique, but background jobs get a random one.
            priority: high, normal or low.
            background: nobody waits for the result; the job survives this client.
            at: run not before this time (implies background).
            schedule: run once at the next minute that matches (implies background; geartrain's server only).
            reducer: the function that takes what the worker makes of the pieces.
            on_created, on_data, on_warning, on_status, on_complete, on_exception, on_fail: called with the task (and
                the bytes, or the `Progress`) as it goes on, by whoever waits on this client. Without on_exception an
                exception is on_fail's. With on_data, chunks are not kept for `result`.

        Raises:
            LocalProtocolError: the protocol cannot carry it.
            TypeError: the workload is neither bytes nor text.
        """
        task = self._make(
            function,
            payload_bytes(workload),
            unique,
            priority,
            background,
            at,
            schedule,
            reducer,
            Callbacks(on_created, on_data, on_warning, on_status, on_complete, on_exception, on_fail)
            if on_created or on_data or on_warning or on_status or on_complete or on_exception or on_fail
            else NO_CALLBACKS,
        )
        self._start((task,))
        return task

    def submit_many(
        self,
        function: Name,
        workloads: Iterable[Payload],
        *,
        priority: Priority | str = Priority.NORMAL,
        background: bool = False,
        on_complete: Callable[[Any], object] | None = None,
        on_fail: Callable[[Any], object] | None = None,
    ) -> list[T]:
        """Sends one job per workload, in as few writes as they fit into; as `submit` otherwise."""
        level = priority_of(priority)
        callbacks = Callbacks(complete=on_complete, fail=on_fail) if on_complete or on_fail else NO_CALLBACKS
        tasks = [
            self._make(function, payload_bytes(w), None, level, background, callbacks=callbacks) for w in workloads
        ]
        self._start(tasks)
        return tasks

    def _make(
        self,
        function: Name,
        workload: bytes,
        unique: Name | None,
        priority: Priority | str,
        background: bool = False,
        at: When | None = None,
        schedule: Schedule | None = None,
        reducer: Name | None = None,
        callbacks: Callbacks = NO_CALLBACKS,
    ) -> T:
        known = self._names.get(function)
        if known is None:
            wire = function_bytes(function, self.namespace)
            known = wire, wire[len(self.namespace) :]
            if len(self._names) < _NAMES:
                self._names[function] = known
        wire, bare = known
        if type(priority) is not Priority:
            priority = priority_of(priority)
        if at is not None or schedule is not None:
            background = True
        key = b"" if unique is None and not background else unique_for(unique, workload, background)
        if at is None and schedule is None and reducer is None:
            packet = submission(wire, key, workload, priority, background)
        else:
            packet = submission(
                wire,
                key,
                workload,
                priority,
                background,
                None if at is None else epoch_of(at),
                schedule,
                None if reducer is None else function_bytes(reducer, self.namespace),
            )
        return self._task_type(self, bare, key, packet, background, callbacks)
