"""Who changed what, and when: one line of JSON a call, in a file that is only ever added to."""

from __future__ import annotations

import json
import logging
import os
from datetime import UTC, datetime
from pathlib import Path

log = logging.getLogger("serve")


class Audit:
    """The record of admin calls; it holds no bodies, no paths and no ids but the request's."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def is_writable(self) -> bool:
        """Tells whether a call can be recorded; one that cannot must not be made."""
        try:
            os.close(self._open())
        except OSError:
            return False
        return True

    def note(self, who: str, what: str, request_id: str, status: int) -> None:
        """Adds a line, to the file and to the log."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = json.dumps({"time": now, "who": who, "what": what, "request_id": request_id, "status": status}) + "\n"
        told = {"event": "audit", "token": who, "route": what, "request_id": request_id, "status": status}
        log.info("%s asked for %s and got %d", who, what, status, extra=told)
        try:
            file = self._open()
            try:
                os.write(file, line.encode())
            finally:
                os.close(file)
        except OSError as error:
            log.error("%s: the line of this call is lost (%s)", self.path, error.strerror, extra=told)

    def _open(self) -> int:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
