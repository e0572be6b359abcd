"""gunicorn's configuration: `gunicorn -c python:api.server.gunicorn_config "api.app:create_app()"`.

One process with many threads: responses are short reads of one file, and a single process needs no shared metrics.
gunicorn reads this module's names as its settings, so it is the only module with effects on import: it determines the
address to listen on, and exits with a one-sentence error if that would be unsafe.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from api.app import settings_from_environment
from api.commands.wait import MAX_WAITING
from api.server import background
from api.server.arenas import limit_arenas
from api.server.gunicorn_parts import require_private_parts
from api.server.request_buffer import MAX_FIELD_BYTES, MAX_FIELDS, MAX_REQUEST_LINE_BYTES
from service.auth.hosts import require_safe_address
from service.config.settings import RunConfig
from service.errors import UserError, printable
from service.launcher.parent_death import end_with_parent
from service.launcher.termination import release_announcements

REQUEST_THREADS = 32
"""Threads left for requests that are answered immediately if all streams and waiting requests are in use."""


@contextmanager
def exiting_on_user_error() -> Iterator[None]:
    """Print the error and exit with its code if a setting is invalid or the address is unsafe."""
    try:
        yield
    except UserError as error:
        sys.stderr.write(f"Error: {printable(str(error))}\n")
        raise SystemExit(error.exit_code) from None


def safe_settings() -> RunConfig:
    """Return the settings of this process; exits if they are invalid, or if gunicorn is not as the worker needs it."""
    with exiting_on_user_error():
        require_private_parts()
        config = settings_from_environment()
        require_safe_address(config)
        background.receivers_of(config)
    return config


def listening_address(config: RunConfig) -> str:
    """Return the address to bind, `host:port`."""
    host = config.api_host.strip("[]")
    return f"[{host}]:{config.api_port}" if ":" in host else f"{host}:{config.api_port}"


_settings = safe_settings()

bind = listening_address(_settings)

worker_class = "api.server.worker.BufferedRequestWorker"

workers = 1
threads = _settings.api_streams + MAX_WAITING + REQUEST_THREADS
worker_connections = 600
"""Together with the files that threads open, this stays within the usual limit of 1024 descriptors per process."""
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
"""sendfile() has no timeout for a stalled client."""
forwarded_allow_ips = ""
"""X-Forwarded headers are handled in one place, by API_PROXIES."""
# The worker's heartbeat is a file; on a disk that hangs, a healthy server would be killed.
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None


def on_starting(server: Any) -> None:
    """Check the addresses before gunicorn listens: GUNICORN_CMD_ARGS may name others than API_HOST (gunicorn hook)."""
    with exiting_on_user_error():
        for address in server.cfg.address:
            if isinstance(address, tuple):  # otherwise a Unix socket or an inherited one
                require_safe_address(replace(_settings, api_host=address[0]))


def when_ready(_server: Any) -> None:
    """Let a Ctrl-C that came before gunicorn handled it take effect (gunicorn hook)."""
    release_announcements()


def post_fork(_server: Any, worker: Any) -> None:
    """Prepare a serving process, which ends when gunicorn's master has ended for any reason (gunicorn hook)."""
    end_with_parent(parent=worker.ppid)
    limit_arenas()


def post_worker_init(worker: Any) -> None:
    """Start the background threads in a serving process; they end with its last requests (gunicorn hook)."""
    background.start(worker.wsgi, _settings, lambda: not worker.alive)
