"""How gunicorn serves the API: `gunicorn -c python:api.gunicorn_config "api.app:create_app()"`.

One process with many threads: answers are short reads of one file, and a single process needs no shared metrics.
gunicorn takes this module's names as its settings, so this is the one module that works when it is imported: it
decides the address to listen on, and ends the process with one sentence when that would be unsafe.
"""

import sys
from pathlib import Path

from api.app import settings_from_environment
from service.addresses import require_safe_address
from service.errors import UserError


def listening_address() -> str:
    """`host:port` to bind. Prints the reason and exits with code 2 when a setting is wrong or the address unsafe."""
    try:
        config = settings_from_environment()
        require_safe_address(config)
    except UserError as error:
        sys.stderr.write(f"Error: {error}\n")
        raise SystemExit(error.exit_code) from None
    host = config.api_host.strip("[]")
    return f"[{host}]:{config.api_port}" if ":" in host else f"{host}:{config.api_port}"


bind = listening_address()
worker_class = "gthread"
workers = 1
threads = 64
timeout = 60
graceful_timeout = 5
keepalive = 5
loglevel = "warning"
control_socket_disable = True
# The worker's sign of life is a file; on a disk that hangs, a healthy server would be killed.
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None
