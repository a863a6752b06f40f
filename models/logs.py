"""Logging of every process: one line an event on stderr, as text or as JSON."""

from __future__ import annotations

import logging
import logging.config
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Self

from pythonjsonlogger.json import JsonFormatter

from models.environment import read_choice

LOG_FORMATS: Final = ("text", "json")
STDERR: Final = 2
LOG_LEVELS: Final = ("debug", "info", "warning", "error")

_SECRET_LOGGERS: Final = ("botocore", "aiobotocore", "s3fs", "fsspec")
"""Loggers that below WARNING write requests with their headers: tokens and key ids."""

_CONTROL_CHARACTERS: Final = {
    code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))
}


@dataclass(frozen=True)
class LogSettings:
    """Log format and level of a process.

    Attributes:
        format: ``text`` or ``json``, one object a line.
        level: the least serious level that is written.
    """

    format: str = "text"
    level: str = "info"

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Self:
        """Read LOG_FORMAT and LOG_LEVEL; an empty variable counts as unset.

        Raises:
            InvalidRequestError: a value cannot be used; the message names the variable.
        """
        return cls(
            format=read_choice(env, "LOG_FORMAT", cls.format, LOG_FORMATS),
            level=read_choice(env, "LOG_LEVEL", cls.level, LOG_LEVELS),
        )


class TextLines(logging.Formatter):
    """Log lines as text: time, level, logger, message; only tracebacks take more lines."""

    def __init__(self) -> None:
        """Set the line's layout."""
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatTime(  # noqa: N802
        self, record: logging.LogRecord, datefmt: str | None = None
    ) -> str:
        """The record's time, as in JSON."""
        return _utc(record.created)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        """The line; a client's text cannot end it and forge another one."""
        return super().formatMessage(record).translate(_CONTROL_CHARACTERS)


class JsonLines(JsonFormatter):
    """Log lines as JSON objects: the members of `TextLines` and the event's own."""

    def __init__(self) -> None:
        """Set the members' names."""
        names = {
            "asctime": "time",
            "levelname": "level",
            "name": "logger",
            "exc_info": "traceback",
        }
        fields = ("asctime", "levelname", "name", "message")
        super().__init__(fields, rename_fields=names)

    def formatTime(  # noqa: N802
        self, record: logging.LogRecord, datefmt: str | None = None
    ) -> str:
        """The record's time in UTC."""
        return _utc(record.created)


class StderrLines(logging.Handler):
    """A handler that writes each event to stderr in one piece, without a lock.

    logging's own handlers hold their lock while a line is written, and writing releases the
    interpreter's lock: under load every thread would wait for both.
    """

    def createLock(self) -> None:  # noqa: N802
        """No lock: one small write is atomic."""
        self.lock = None

    def emit(self, record: logging.LogRecord) -> None:
        """Write the line of *record*."""
        try:
            line = f"{self.format(record)}\n".encode(errors="backslashreplace")
            while line:
                line = line[os.write(STDERR, line) :]
        except Exception:
            self.handleError(record)


def logging_config(settings: LogSettings) -> dict[str, Any]:
    """The configuration for `logging.config.dictConfig` (and gunicorn)."""
    lines = JsonLines if settings.format == "json" else TextLines
    quiet = settings.level.upper() if settings.level == "error" else "WARNING"
    handler = {"()": StderrLines, "formatter": "lines"}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"lines": {"()": lines}},
        "handlers": {"stderr": handler},
        "loggers": {name: {"level": quiet} for name in _SECRET_LOGGERS},
        "root": {"level": settings.level.upper(), "handlers": ["stderr"]},
    }


def set_up_logging(settings: LogSettings) -> None:
    """Set up logging by *settings*, Python's warnings included."""
    logging.config.dictConfig(logging_config(settings))
    logging.captureWarnings(capture=True)


def _utc(seconds: float) -> str:
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
