"""What the processes say on standard error: a line a thing that happened, for people or as JSON."""

import json
import logging
import sys
from typing import Any, Final

from pulpit.clock import iso_micro, system_clock

_PLAIN: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}


class JsonLines(logging.Formatter):
    """One JSON object a record: time, level, logger, message, and what the caller put into `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        """Write the record."""
        line: dict[str, Any] = {
            "time": iso_micro(system_clock()),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {key: value for key, value in vars(record).items() if key not in _PLAIN}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class TextLines(logging.Formatter):
    """Time, level and message, and then the details as `key=value`."""

    def format(self, record: logging.LogRecord) -> str:
        """Write the record."""
        text = super().format(record)
        details = " ".join(f"{key}={value}" for key, value in vars(record).items() if key not in _PLAIN)
        first, newline, rest = text.partition("\n")
        return f"{first} [{details}]{newline}{rest}" if details else text


def configure(level: str, style: str) -> None:
    """Send everything from `level` upwards to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if style == "json" else TextLines("%(asctime)s %(levelname)s %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # What these say of failures is said again, in one sentence, by whoever called them.
    logging.getLogger("pika").setLevel(logging.CRITICAL)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
