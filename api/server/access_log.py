"""gunicorn's access log as JSON lines: client, request and result; never a query string, a header or a token.

Disabled unless gunicorn is given a destination: GUNICORN_CMD_ARGS="--access-logfile -".
"""

import json
import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from gunicorn.glogging import Logger  # type: ignore[import-untyped]

from api.http.auth import CLIENT_KEY


class AccessLog(Logger):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn's logger with a JSON access log."""

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
