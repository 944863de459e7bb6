"""The server's log: gearmand's lines, or JSON, to a file, standard error or syslog.

Owns levels, formats and the file that SIGHUP opens anew. Knows nothing of what is logged; everybody logs through
`logging.getLogger("geartrain....")`. Passwords never reach a log line, because nobody hands them over.
"""

import json
import logging
import os
import sys
import time
from collections.abc import Mapping
from logging.handlers import SysLogHandler
from pathlib import Path
from textwrap import indent
from types import MappingProxyType
from typing import Any, Final, TextIO

from geartrain.server.config import Config

__all__ = ["LEVEL_NUMBERS", "NOTICE", "JsonFormatter", "Logs", "TextFormatter"]

NOTICE: Final = 25

LEVEL_NUMBERS: Final[Mapping[str, int]] = MappingProxyType(
    {
        "FATAL": 70,
        "ALERT": 60,
        "CRITICAL": logging.CRITICAL,
        "ERROR": logging.ERROR,
        "WARNING": logging.WARNING,
        "NOTICE": NOTICE,
        "INFO": logging.INFO,
        "DEBUG": logging.DEBUG,
    }
)
"""gearmand's levels, in the numbers of `logging`."""

_SYSLOG_SOCKET: Final = "/dev/log"
_PLAIN: Final = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}
_VISIBLE: Final = {code: f"\\x{code:02x}" for code in (*range(32), 127)}
"""Peers choose function names and uniques: no byte of theirs may start a line of its own."""

for _name in ("FATAL", "ALERT", "NOTICE"):
    logging.addLevelName(LEVEL_NUMBERS[_name], _name)


class TextFormatter(logging.Formatter):
    """gearmand's line: ``   INFO 2026-11-21 10:25:01.904202 [  main ] Listening on ...``, in local time."""

    def format(self, record: logging.LogRecord) -> str:
        # The fraction is cut, not rounded: 999.9999 ms must not become 1000.
        stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.created))
        micros = int(record.created % 1 * 1_000_000)
        thread = "main" if record.threadName == "MainThread" else record.threadName
        message = record.getMessage().translate(_VISIBLE)
        line = f"{record.levelname:>7} {stamp}.{micros:06d} [ {thread:>5} ] {message}"
        if record.exc_info:
            line += "\n" + indent(self.formatException(record.exc_info), " " * 8)
        return line


class JsonFormatter(logging.Formatter):
    """One JSON object in a line: time (UTC), level, logger, message, exception, and what `extra` added."""

    def format(self, record: logging.LogRecord) -> str:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        entry: dict[str, Any] = {
            "time": f"{stamp}.{int(record.created % 1 * 1_000_000):06d}Z",
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        entry |= {name: value for name, value in record.__dict__.items() if name not in _PLAIN}
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=_text_of)


def _text_of(value: object) -> str:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)


_FORMATTERS: Final[Mapping[str, type[logging.Formatter]]] = MappingProxyType(
    {"text": TextFormatter, "json": JsonFormatter}
)


class _FileHandler(logging.StreamHandler[TextIO]):
    """Appends to a file that another program may have renamed meanwhile."""

    def __init__(self, path: str) -> None:
        self.path = path
        super().__init__(self._open())

    def _open(self) -> TextIO:
        return Path(self.path).open("a", encoding="utf-8", errors="backslashreplace")

    def reopen(self) -> None:
        """Raises OSError, and goes on with the old file, when the new one cannot be opened."""
        fresh = self._open()
        old = self.setStream(fresh)
        if old is not None:
            old.close()

    def close(self) -> None:
        self.stream.close()
        super().close()


class _SyslogHandler(SysLogHandler):
    def mapPriority(self, levelName: str) -> str:
        return {"FATAL": "emerg", "ALERT": "alert", "NOTICE": "notice"}.get(levelName) or super().mapPriority(levelName)


class Logs:
    """Where the log goes, from start to `close`.

    Args:
        config: log_file, log_format, syslog and verbose are read.
        program: the name in syslog and in messages.

    A file that cannot be opened is no reason not to start: it says so and takes standard error, as gearmand does.
    """

    def __init__(self, config: Config, program: str, *, syslog_socket: str = _SYSLOG_SOCKET) -> None:
        self._logger = logging.getLogger("geartrain")
        self._file: _FileHandler | None = None
        self.on_terminal = False
        """Whether lines go to standard error."""
        self._handlers: list[logging.Handler] = []
        formatter = _FORMATTERS[config.log_format]()
        if config.log_file != "none":
            self._add(self._file_or_stderr(config.log_file, program), formatter)
        if config.syslog:
            self._add_syslog(syslog_socket, program, config.log_format)
        if not self._handlers:
            # Without any handler `logging` would print errors to standard error by itself.
            self._add(logging.NullHandler(), formatter)
        self._was = (self._logger.level, self._logger.propagate)
        self._logger.setLevel(LEVEL_NUMBERS[config.verbose])
        self._logger.propagate = False

    def _add_syslog(self, path: str, program: str, log_format: str) -> None:
        # The handler itself would start without a socket, and print a traceback for every line.
        if not Path(path).is_socket():
            print(f"{program}: Could not reach syslog at {path}: there is no such socket", file=sys.stderr)
            return
        syslog = _SyslogHandler(path, SysLogHandler.LOG_DAEMON)
        syslog.ident = f"{program}[{os.getpid()}]: "
        self._add(syslog, JsonFormatter() if log_format == "json" else logging.Formatter())

    def _file_or_stderr(self, path: str, program: str) -> logging.Handler:
        if path != "stderr":
            try:
                self._file = _FileHandler(path)
            except OSError as error:
                print(
                    f'{program}: Could not open log file "{path}", from "{Path.cwd()}", '
                    f"switching to stderr. ({error.strerror})",
                    file=sys.stderr,
                )
            else:
                return self._file
        self.on_terminal = True
        return logging.StreamHandler(sys.stderr)

    def _add(self, handler: logging.Handler, formatter: logging.Formatter) -> None:
        handler.setFormatter(formatter)
        self._handlers.append(handler)
        self._logger.addHandler(handler)

    def reopen(self) -> None:
        """Opens the log file anew, after a rotation. Where that fails, the old one goes on and says so."""
        if self._file is None:
            return
        try:
            self._file.reopen()
        except OSError as error:
            self._logger.error("The log file %s cannot be opened anew: %s", self._file.path, error.strerror)

    def close(self) -> None:
        """Ends logging and leaves `logging` as it was."""
        for handler in self._handlers:
            self._logger.removeHandler(handler)
            handler.close()
        self._handlers.clear()
        level, self._logger.propagate = self._was
        self._logger.setLevel(level)
