"""geartrain: Gearman in Python.

The public names, each loaded when it is first used (PEP 562), so that ``import geartrain`` costs nothing:

    Client, AsyncClient     submit jobs and wait for them
    Worker, AsyncWorker     run jobs
    AdminClient             ask a job server how it is
    Task, AsyncTask         a job, as its client sees it
    Job, AsyncJob           a job, as its worker sees it
    Priority, Schedule      how and when
    JobStatus, Progress     how far
    and every exception of `geartrain.errors`
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from geartrain.client.address import Server
    from geartrain.client.admin import AdminClient
    from geartrain.client.aio import AsyncClient, AsyncTask
    from geartrain.client.request import Priority, Schedule
    from geartrain.client.sync import Client, Task
    from geartrain.client.task import JobStatus, Progress, TaskState
    from geartrain.errors import (
        ConfigError,
        ConnectionLost,
        GeartrainError,
        JobError,
        JobException,
        JobFailed,
        LocalProtocolError,
        NoServersAvailable,
        ProtocolError,
        RemoteProtocolError,
        RequestTimeout,
        ServerError,
    )
    from geartrain.worker.aio import AsyncJob, AsyncWorker
    from geartrain.worker.job import Job
    from geartrain.worker.sync import Worker

_PLACES = {
    "geartrain.client.address": ("Server",),
    "geartrain.client.admin": ("AdminClient",),
    "geartrain.client.aio": ("AsyncClient", "AsyncTask"),
    "geartrain.client.request": ("Priority", "Schedule"),
    "geartrain.client.sync": ("Client", "Task"),
    "geartrain.client.task": ("JobStatus", "Progress", "TaskState"),
    "geartrain.errors": (
        "ConfigError",
        "ConnectionLost",
        "GeartrainError",
        "JobError",
        "JobException",
        "JobFailed",
        "LocalProtocolError",
        "NoServersAvailable",
        "ProtocolError",
        "RemoteProtocolError",
        "RequestTimeout",
        "ServerError",
    ),
    "geartrain.worker.aio": ("AsyncJob", "AsyncWorker"),
    "geartrain.worker.job": ("Job",),
    "geartrain.worker.sync": ("Worker",),
}
_WHERE = {name: module for module, names in _PLACES.items() for name in names}

__all__ = [
    "AdminClient",
    "AsyncClient",
    "AsyncJob",
    "AsyncTask",
    "AsyncWorker",
    "Client",
    "ConfigError",
    "ConnectionLost",
    "GeartrainError",
    "Job",
    "JobError",
    "JobException",
    "JobFailed",
    "JobStatus",
    "LocalProtocolError",
    "NoServersAvailable",
    "Priority",
    "Progress",
    "ProtocolError",
    "RemoteProtocolError",
    "RequestTimeout",
    "Schedule",
    "Server",
    "ServerError",
    "Task",
    "TaskState",
    "Worker",
    "__version__",
]


def __getattr__(name: str) -> Any:
    module = _WHERE.get(name)
    if module is None:
        raise AttributeError(f"module 'geartrain' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
