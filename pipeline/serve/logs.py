"""The server's log: lines for people, or one JSON object a line for what collects logs."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Any

PLAIN = "%(asctime)s %(levelname)s %(name)s: %(message)s"
FIELDS = ("event", "request_id", "route", "method", "status", "milliseconds", "token", "counts")
"""What a line may say beside its sentence. None holds what a client sent but the request's id, checked before."""


class JsonLines(logging.Formatter):
    """One object a line: time, level, sentence, and the fields that were given."""

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, Any] = {"time": moment.replace("+00:00", "Z"), "level": record.levelname.lower()}
        line |= {"logger": record.name, "event": "said"}
        line |= {name: getattr(record, name) for name in FIELDS if hasattr(record, name)}
        line["message"] = record.getMessage()
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def set_up(log_format: str) -> None:
    """Writes everything that is logged to stderr in that format."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if log_format == "json" else logging.Formatter(PLAIN))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
