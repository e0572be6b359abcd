"""How gunicorn serves the API: `gunicorn -c python:api.gunicorn_config "api.app:create_app()"`.

One process with many threads: answers are short reads of one file, and a single process needs no shared metrics.
gunicorn takes this module's names as its settings, so this is the one module that works when it is imported: it
decides the address to listen on, and ends the process with one sentence when that would be unsafe.
"""

import sys
from pathlib import Path
from typing import Any

from api import background
from api.app import settings_from_environment
from api.waiting import MOST_WAITING
from api.webhooks import Receiver
from service.addresses import require_safe_address
from service.errors import UserError
from service.settings import RunConfig

THREADS_FOR_ANSWERS = 32
"""For requests that are answered at once, whatever streams and waits there are."""


def safe_settings() -> RunConfig:
    """The settings of this process.

    Prints the reason and exits with code 2 when a setting is wrong or the address unsafe.
    """
    try:
        config = settings_from_environment()
        require_safe_address(config)
        Receiver.of(config)
    except UserError as error:
        sys.stderr.write(f"Error: {error}\n")
        raise SystemExit(error.exit_code) from None
    return config


def listening_address(config: RunConfig) -> str:
    """`host:port` to bind."""
    host = config.api_host.strip("[]")
    return f"[{host}]:{config.api_port}" if ":" in host else f"{host}:{config.api_port}"


_settings = safe_settings()

bind = listening_address(_settings)
worker_class = "api.patient_worker.PatientWorker"
workers = 1
threads = _settings.api_streams + MOST_WAITING + THREADS_FOR_ANSWERS
worker_connections = 600
"""With the files that the threads open, within the 1024 descriptors that a process usually may have."""
limit_request_line = 4094
limit_request_fields = 64
limit_request_field_size = 8190
timeout = 60
graceful_timeout = 5
keepalive = 5
loglevel = "warning"
logger_class = "api.access_log.AccessLog"
control_socket_disable = True
sendfile = False
"""Its wait for a client that stalls has no end."""
forwarded_allow_ips = ""
"""Whose X-Forwarded headers are believed is decided in one place, by API_PROXIES."""
# The worker's sign of life is a file; on a disk that hangs, a healthy server would be killed.
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None


def post_worker_init(worker: Any) -> None:
    """gunicorn's hook for a process that begins to serve; what is begun here ends with its last requests."""
    background.begin(worker.wsgi, _settings, lambda: not worker.alive)
