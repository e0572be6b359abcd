"""A real gunicorn on a free port of loopback, for the time of a `with`."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

import requests

from service.config.loader import NAMES
from service.config.settings import RENAMED
from tests.harness.forked import Process, StartPython

CONFIG = "python:api.server.gunicorn_config"
IMPORTED_BY_SERVERS = (
    "api.alerts.webhook", "api.app", "api.server.access_log", "api.server.background", "api.server.worker",
    "gunicorn.app.wsgiapp", "gunicorn.arbiter", "service.store.backends.postgres",
)  # fmt: skip
"""Without `CONFIG`, which reads the settings while it is imported."""
REPOSITORY = Path(__file__).resolve().parents[3]
START_SECONDS = 30.0


@dataclass(frozen=True)
class Server:
    """A running server."""

    url: str
    port: int
    process: Process
    log: IO[str]

    def said(self) -> str:
        """What the server has written to its log so far."""
        return said(self.log)


NEW_INTERPRETER: StartPython = partial(subprocess.Popen, text=True)
Serving = Callable[..., AbstractContextManager[Server]]
"""`serving` with a way to start servers."""


@contextmanager
def serving(
    root: Path,
    *,
    at_port: int | None = None,
    config: str = CONFIG,
    start_python: StartPython = NEW_INTERPRETER,
    **settings: str,
) -> Iterator[Server]:
    """Serve the run directory `root`; ended in any case."""
    port = at_port or free_port()
    # A file takes whatever is logged; a pipe that nobody reads would stop the server once it is full.
    with tempfile.TemporaryFile("w+") as log:
        process = _start(start_python, {"DATA_ROOT": str(root), "API_PORT": str(port), **settings}, log, config)
        try:
            url = f"http://127.0.0.1:{port}"
            _await_life(process, url, log)
            yield Server(url, port, process, log)
        finally:
            process.send_signal(signal.SIGINT)  # at once; SIGTERM would wait for clients, which has tests of its own
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def refused_start(start_python: StartPython, settings: dict[str, str]) -> tuple[int, str]:
    """Start gunicorn with settings that it does not take; returns its exit code and what it said."""
    with tempfile.TemporaryFile("w+") as log:
        code = _start(start_python, settings, log).wait(60)
        return code, said(log)


def lead_to(link: Path, root: Path) -> None:
    """Let a server whose DATA_ROOT is `link` serve the run directory `root` from now on, and nothing it kept before."""
    new = link.with_name(f"{link.name}.new")
    new.symlink_to(root)
    new.replace(link)


def said(log: IO[str]) -> str:
    """What is in a log that another process writes, whose place in the file is left alone."""
    return os.pread(log.fileno(), os.fstat(log.fileno()).st_size, 0).decode(errors="replace")


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def raw_answer(port: int, request: bytes) -> bytes:
    """What the server says to these bytes, until it closes the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        pieces = []
        while piece := connection.recv(65536):
            pieces.append(piece)
    return b"".join(pieces)


def _start(start_python: StartPython, settings: dict[str, str], log: IO[str], config: str = CONFIG) -> Process:
    """gunicorn with these settings and no others."""
    foreign = {*NAMES, *RENAMED}
    environment = {
        key: value for key, value in os.environ.items() if key not in foreign and not key.startswith("LEITSTAND_")
    }
    command = (sys.executable, "-m", "gunicorn", "-c", config, "api.app:create_app()")
    return start_python(command, env={**environment, **settings}, cwd=REPOSITORY, stderr=log)


def _await_life(process: Process, url: str, log: IO[str]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        assert process.poll() is None, f"gunicorn ended: {said(log)}"
        try:
            requests.get(f"{url}/livez", timeout=5).raise_for_status()
        except (requests.ConnectionError, requests.Timeout):
            assert time.monotonic() < deadline, f"gunicorn does not answer at {url}"
            time.sleep(0.02)
        else:
            return
