"""What the service says about itself, on stderr: text for people, or JSON, an object a line.

Never in it: payloads, query strings, names out of events, headers, keys. A request is told by its
route template.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Any, Final, TextIO

# Members of a log record that become members of the JSON object; whatever else a library hangs on
# a record stays out.
FIELDS: Final = (
    "request_id",
    "method",
    "route",
    "status",
    "code",
    "milliseconds",
    "caller",
)
_OURS: Final = "lodeline"
_LIBRARIES: Final = ("uvicorn", "uvicorn.error", "opentelemetry")


class JsonFormatter(logging.Formatter):
    """One object a line: `time`, `level`, `logger`, `message`, and the `FIELDS` that are known."""

    def format(self, record: logging.LogRecord) -> str:
        """Write one record."""
        body: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        for name in FIELDS:
            value = getattr(record, name, None)
            if value is not None:
                body[name] = value
        if record.exc_info:
            body["exception"] = self.formatException(record.exc_info)
        return json.dumps(body, ensure_ascii=False)


class TextFormatter(logging.Formatter):
    """One line for people; a traceback below it."""

    def format(self, record: logging.LogRecord) -> str:
        """Write one record."""
        text = f"{_time(record)} {record.levelname.lower()} {record.name}: {record.getMessage()}"
        request_id = getattr(record, "request_id", None)
        if request_id is not None:
            text += f" request_id={request_id}"
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        return text


def _time(record: logging.LogRecord) -> str:
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    return f"{whole}.{int(record.msecs):03d}Z"


def configure_diagnostics(*, form: str, level: str, stream: TextIO | None = None) -> None:
    """Send what our loggers and those of the libraries below say to a stream.

    Args:
        form: `text` or `json`.
        level: least level told, of ours; libraries speak from `warning` on.
        stream: stderr, unless told otherwise.
    """
    handler = logging.StreamHandler(sys.stderr if stream is None else stream)
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    for name in (_OURS, *_LIBRARIES):
        logger = logging.getLogger(name)
        for old in list(logger.handlers):
            logger.removeHandler(old)
        logger.propagate = name.rpartition(".")[0] in _LIBRARIES
        if not logger.propagate:
            logger.addHandler(handler)
        logger.setLevel(level.upper() if name == _OURS else logging.WARNING)
