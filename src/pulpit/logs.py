"""Log lines on standard error: one line for each thing that happened, for people or as JSON."""

import asyncio
import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any, Final

from pulpit.clock import iso_micro
from pulpit.text import escaped

_PLAIN: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}


class JsonLines(logging.Formatter):
    """One JSON object per record: time, level, logger, message, and the caller's `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        """Write the record."""
        line: dict[str, Any] = {
            "time": iso_micro(datetime.fromtimestamp(record.created, UTC)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {key: value for key, value in vars(record).items() if key not in _PLAIN}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class TextLines(logging.Formatter):
    """Time, level and message, then the details as `key=value`; a traceback follows, indented."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802 - logging's name
        """Format the time as everywhere else: ISO 8601 in UTC."""
        del datefmt
        return str(iso_micro(datetime.fromtimestamp(record.created, UTC)))

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """Format the line, with line ends and terminal control characters in foreign text escaped."""
        details = " ".join(f"{key}={value}" for key, value in vars(record).items() if key not in _PLAIN)
        return escaped(super().formatMessage(record) + (f" [{details}]" if details else ""))

    def formatException(self, ei: Any) -> str:  # noqa: N802 - the same
        """Write a traceback."""
        return "\n".join(f"  {escaped(line)}" for line in super().formatException(ei).split("\n"))


def _is_no_cut_off(record: logging.LogRecord) -> bool:
    """Whether a record is not about a request that a stop cut off, which uvicorn logs as if it were a bug."""
    return not (record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError))


def configure(level: str, style: str) -> None:
    """Log everything from `level` upwards to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if style == "json" else TextLines("%(asctime)s %(levelname)s %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # Their callers log these libraries' failures again, in one sentence.
    logging.getLogger("pika").setLevel(logging.CRITICAL)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    logging.getLogger("psycopg").setLevel(logging.ERROR)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    logging.getLogger("uvicorn.error").addFilter(_is_no_cut_off)
