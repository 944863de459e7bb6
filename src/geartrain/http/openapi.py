"""The OpenAPI document, made from the API's table.

Owns the schemas of what goes in and comes out. Knows no handlers.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from geartrain.http.routes import Route

__all__ = ["document"]

_TEXT: Final = {"type": "string"}
_NUMBER: Final = {"type": "number"}
_COUNT: Final = {"type": "integer", "minimum": 0}
_FLAG: Final = {"type": "boolean"}
_PRIORITY: Final = {"type": "string", "enum": ["high", "normal", "low"]}


def _or_null(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {**schema, "type": [schema["type"], "null"]}


def _object(required: Mapping[str, Any], optional: Mapping[str, Any] | None = None, help: str = "") -> dict[str, Any]:  # noqa: A002
    schema: dict[str, Any] = {"type": "object", "properties": {**required, **(optional or {})}}
    if required:
        schema["required"] = list(required)
    if help:
        schema["description"] = help
    return schema


def _list(name: str) -> dict[str, Any]:
    return {"type": "array", "items": {"$ref": f"#/components/schemas/{name}"}}


_LIMIT: Final = {"type": ["integer", "null"], "minimum": 0, "description": "null or 0: no limit"}
_WORKLOAD: Final = {
    "workload": {**_TEXT, "description": "The data as text, sent as UTF-8."},
    "workload_base64": {**_TEXT, "description": "Or the data in base64, for what is not UTF-8."},
}

SCHEMAS: Final[dict[str, dict[str, Any]]] = {
    "Error": _object({"error": _object({"code": _TEXT, "message": _TEXT})}),
    "Server": _object(
        {
            "version": _TEXT, "compat": _TEXT, "pid": _COUNT, "host": _TEXT, "verbose": _TEXT,
            "started": {**_NUMBER, "description": "seconds since 1970"}, "uptime": _NUMBER,
            "addresses": {"type": "array", "items": _TEXT}, "http": {"type": "array", "items": _TEXT}, "ready": _FLAG,
            "draining": _FLAG, "replaying": _FLAG, "queue_type": _TEXT,
            "store_down": {**_TEXT, "description": "why the store takes nothing; empty while it works"},
            "jobs": _COUNT, "running": _COUNT, "functions": _COUNT, "connections": _COUNT,
            "job_retries": {**_COUNT, "description": "how often a job is given to a worker; 0: no limit"},
            "exceptions": _FLAG, "max_packet": _COUNT, "tls": _FLAG,
        }
    ),
    "Shutdown": _object({}, {"graceful": {**_FLAG, "default": False}}),
    "Snapshot": {
        "type": "object",
        "description": "time, server, store, totals, functions, workers and running: all that changes each second",
    },
    "Live": _object({"live": _FLAG}),
    "Ready": _object({"ready": _FLAG, "reasons": {"type": "array", "items": _TEXT}}),
    "Function": _object(
        {
            "name": {**_TEXT, "description": "what is not UTF-8 is escaped: use path to ask for it"},
            "path": _TEXT,
            "total": {**_COUNT, "description": "waiting, running and delayed jobs together"},
            "running": _COUNT, "waiting": _object({"high": _COUNT, "normal": _COUNT, "low": _COUNT}), "delayed": _COUNT,
            "workers": _COUNT, "oldest": {**_or_null(_NUMBER), "description": "seconds the oldest job has waited"},
            "maxqueue": {"$ref": "#/components/schemas/MaxQueue"},
            "counters": {"type": "object", "additionalProperties": _COUNT, "description": "since the server's start"},
        }
    ),
    "FunctionPage": _object({"functions": _list("Function"), "total": _COUNT}),
    "MaxQueue": _object(
        {}, {"high": _LIMIT, "normal": _LIMIT, "low": _LIMIT, "all": {**_LIMIT, "writeOnly": True}},
        "Jobs of a function, queued and running, above which submissions of a priority are refused.",
    ),
    "Worker": _object(
        {
            "fd": {"type": "integer"}, "address": _TEXT, "id": _TEXT,
            "connected": {**_NUMBER, "description": "seconds"}, "sleeping": _FLAG,
            "functions": {
                "type": "array",
                "items": _object({"name": _TEXT, "timeout": {**_or_null(_NUMBER), "description": "seconds"}}),
            },
            "jobs": {"type": "array", "items": {"type": "object"}}, "waits_for": _COUNT,
        }
    ),
    "WorkerPage": _object({"workers": _list("Worker"), "total": _COUNT}),
    "Job": _object(
        {
            "handle": _TEXT, "function": _TEXT, "unique": _TEXT,
            "state": {**_TEXT, "enum": ["delayed", "queued", "running"]}, "priority": _PRIORITY, "background": _FLAG,
            "durable": _FLAG, "submitted": {**_NUMBER, "description": "seconds since 1970"},
            "age": {**_NUMBER, "description": "seconds"},
            "since": {**_or_null(_NUMBER), "description": "seconds since a worker got it"}, "attempts": _COUNT,
            "numerator": _COUNT, "denominator": _COUNT,
            "at": {**_or_null(_NUMBER), "description": "seconds since 1970 before which it does not run"},
            "reducer": _TEXT, "clients": _COUNT, "size": {**_COUNT, "description": "bytes of the workload"},
            "worker": _or_null({"type": "object", "properties": {"id": _TEXT, "address": _TEXT}}),
        },
        {**_WORKLOAD, "cut": {**_FLAG, "description": "the workload is longer than what is shown"}},
    ),
    "JobPage": _object({"jobs": _list("Job"), "after": {**_or_null(_TEXT), "description": "null: the last page"}}),
    "JobChange": _object({"priority": _PRIORITY}),
    "NewJob": _object(
        {"function": _TEXT},
        {
            **_WORKLOAD,
            "unique": {**_TEXT, "description": "64 bytes at most; - makes the workload the key; empty joins nothing"},
            "priority": {**_PRIORITY, "default": "normal"}, "reducer": _TEXT,
            "at": {**_NUMBER, "description": "seconds since 1970"},
            "delay": {**_NUMBER, "description": "seconds from now"},
            "schedule": _object(
                {}, {name: {"type": ["string", "integer"]} for name in ("minute", "hour", "day", "month", "weekday")},
                "The next minute that matches all of it; weekday 0 is Monday.",
            ),
        },
    ),
    "Submitted": _object({"handle": _TEXT, "at": _or_null(_NUMBER)}),
    "Status": _object(
        {
            "handle": _TEXT, "unique": _TEXT, "known": _FLAG, "running": _FLAG, "numerator": _COUNT,
            "denominator": _COUNT, "clients": _COUNT,
        }
    ),
    "Session": _object(
        {"token": {**_FLAG, "description": "whether the server has one"}, "read": _FLAG, "change": _FLAG, "call": _FLAG}
    ),
    "LogIn": _object({"token": _TEXT}),
    "History": {"type": "object", "description": "samples of the last hours"},
}  # fmt: skip
"""By name, as the routes use them."""


def document(root: str, version: str, routes: Sequence[Route]) -> dict[str, Any]:
    """The whole document, for OpenAPI 3.1.

    Args:
        root: what all paths begin with.
        version: of the server.
        routes: the table.
    """
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(root + route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "geartrain",
            "version": version,
            "description": "The job server's API. Functions are called beside it: POST /NAME with the workload.",
        },
        "paths": paths,
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "session": {"type": "apiKey", "in": "cookie", "name": "geartrain-session"},
            },
        },
        "security": [{}, {"token": []}, {"session": []}],
    }


def _operation(route: Route) -> dict[str, Any]:
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": _TEXT} for name in re.findall(r"\{(\w+)\}", route.path)
    ]
    for parameter in route.query:
        schema: dict[str, Any] = {"type": parameter.kind}
        if parameter.values:
            schema["enum"] = list(parameter.values)
        parameters.append({"name": parameter.name, "in": "query", "description": parameter.help, "schema": schema})
    words = re.sub(r"\{(\w+)\}", r"\1", route.path).strip("/").replace("/", "_").replace(".", "_")
    operation: dict[str, Any] = {
        "operationId": f"{route.method.lower()}_{words}",
        "summary": route.help,
        "responses": {str(route.status): _response("Success", route.answer)},
    }
    for status, text in route.errors.items():
        operation["responses"][str(status)] = _response(text, "Error")
    operation["responses"]["default"] = _response("An error.", "Error")
    if parameters:
        operation["parameters"] = parameters
    if route.body:
        operation["requestBody"] = {"required": True, "content": _content(route.body)}
    return operation


def _response(text: str, schema: str) -> dict[str, Any]:
    return {"description": text, "content": _content(schema)} if schema else {"description": text}


def _content(schema: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
