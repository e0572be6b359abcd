"""How gunicorn serves the API: `gunicorn -c python:api.server.gunicorn_config "api.app:create_app()"`.

One process with many threads: answers are short reads of one file, and a single process needs no shared metrics.
gunicorn takes this module's names as its settings, so this is the one module that works when it is imported: it
decides the address to listen on, and ends the process with one sentence when that would be unsafe.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from api.alerts.webhook import WebhookTarget
from api.app import settings_from_environment
from api.commands.wait import MAX_WAITING
from api.server import background
from api.server.request_buffer import MAX_FIELD_BYTES, MAX_FIELDS, MAX_REQUEST_LINE_BYTES
from service.auth.hosts import require_safe_address
from service.config.settings import RunConfig
from service.errors import UserError

THREADS_FOR_ANSWERS = 32
"""For requests that are answered at once, whatever streams and waits there are."""


@contextmanager
def ending_in_one_sentence() -> Iterator[None]:
    """Print the reason and exit with its code when a setting is wrong or the address unsafe."""
    try:
        yield
    except UserError as error:
        sys.stderr.write(f"Error: {error}\n")
        raise SystemExit(error.exit_code) from None


def safe_settings() -> RunConfig:
    """The settings of this process, which ends when they are wrong."""
    with ending_in_one_sentence():
        config = settings_from_environment()
        require_safe_address(config)
        WebhookTarget.of(config)
    return config


def listening_address(config: RunConfig) -> str:
    """`host:port` to bind."""
    host = config.api_host.strip("[]")
    return f"[{host}]:{config.api_port}" if ":" in host else f"{host}:{config.api_port}"


_settings = safe_settings()

bind = listening_address(_settings)

worker_class = "api.server.worker.BufferedRequestWorker"

workers = 1
threads = _settings.api_streams + MAX_WAITING + THREADS_FOR_ANSWERS
worker_connections = 600
"""With the files that the threads open, within the 1024 descriptors that a process usually may have."""
limit_request_line = MAX_REQUEST_LINE_BYTES
limit_request_fields = MAX_FIELDS
limit_request_field_size = MAX_FIELD_BYTES
timeout = 60
graceful_timeout = 5
keepalive = 5
loglevel = "warning"

logger_class = "api.server.access_log.AccessLog"

control_socket_disable = True
sendfile = False
"""Its wait for a client that stalls has no end."""
forwarded_allow_ips = ""
"""Whose X-Forwarded headers are believed is decided in one place, by API_PROXIES."""
# The worker's sign of life is a file; on a disk that hangs, a healthy server would be killed.
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None


def on_starting(server: Any) -> None:
    """gunicorn's hook before it listens: GUNICORN_CMD_ARGS can name other addresses than API_HOST."""
    with ending_in_one_sentence():
        for address in server.cfg.address:
            if isinstance(address, tuple):  # else a socket in the file system, or one that is handed over
                require_safe_address(replace(_settings, api_host=address[0]))


def post_worker_init(worker: Any) -> None:
    """gunicorn's hook for a process that begins to serve; what is begun here ends with its last requests."""
    background.begin(worker.wsgi, _settings, lambda: not worker.alive)
