"""The log of the HTTP process: printable lines on stderr, and gunicorn's access log as JSON lines.

The access log holds client, request and result; never a query string, a header or a token.

It is disabled unless gunicorn is given a destination: GUNICORN_CMD_ARGS="--access-logfile -".
"""

import json
import logging
import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from gunicorn.glogging import Logger  # type: ignore[import-untyped]

from api.http.auth import CLIENT_KEY
from service.errors import PrintableFormatter


class AccessLog(Logger):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn's logger with a JSON access log."""

    def setup(self, cfg: Any) -> None:
        """Configure gunicorn's loggers, and print the warnings of all others in the same way."""
        super().setup(cfg)
        for handler in self.error_log.handlers:
            handler.setFormatter(PrintableFormatter(self.error_fmt, self.datefmt))
        root = logging.getLogger()
        if not root.handlers:
            others = logging.StreamHandler()
            others.setFormatter(PrintableFormatter())
            root.addHandler(others)

    def access(self, resp: Any, _req: Any, environ: Mapping[str, Any], request_time: timedelta) -> None:
        """Write the log line of one response."""
        if not self.access_log_enabled:
            return
        line = {
            "time": round(time.time(), 3),
            "address": environ.get("REMOTE_ADDR"),
            "client": environ.get(CLIENT_KEY),
            "method": environ.get("REQUEST_METHOD"),
            "path": environ.get("PATH_INFO"),
            "status": int(str(resp.status).split(None, 1)[0]),
            "bytes": resp.sent,
            "seconds": request_time.total_seconds(),
        }
        self.access_log.info("%s", json.dumps(line))
