"""A real gunicorn on a free port of loopback, for the time of a `with`."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests

from service.config import NAMES
from service.settings import RENAMED

COMMAND = (sys.executable, "-m", "gunicorn", "-c", "python:api.gunicorn_config", "api.app:create_app()")
REPOSITORY = Path(__file__).resolve().parents[2]
START_SECONDS = 30.0


@dataclass(frozen=True)
class Server:
    """A running server."""

    url: str
    port: int
    process: subprocess.Popen[str]


@contextmanager
def serving(root: Path, *, at_port: int | None = None, **settings: str) -> Iterator[Server]:
    """Serve the run directory `root`; ended in any case."""
    port = at_port or free_port()
    process = start({"DATA_ROOT": str(root), "API_PORT": str(port), **settings})
    try:
        url = f"http://127.0.0.1:{port}"
        _await_life(process, url)
        yield Server(url, port, process)
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        assert process.stderr is not None
        process.stderr.close()


def start(settings: dict[str, str]) -> subprocess.Popen[str]:
    """gunicorn with these settings and no others."""
    foreign = {*NAMES, *RENAMED}
    environment = {
        key: value for key, value in os.environ.items() if key not in foreign and not key.startswith("LEITSTAND_")
    }
    return subprocess.Popen(COMMAND, env={**environment, **settings}, cwd=REPOSITORY, stderr=subprocess.PIPE, text=True)


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


def _await_life(process: subprocess.Popen[str], url: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        assert process.poll() is None, f"gunicorn ended: {process.stderr.read() if process.stderr else ''}"
        try:
            requests.get(f"{url}/livez", timeout=5).raise_for_status()
        except requests.ConnectionError:
            assert time.monotonic() < deadline, f"gunicorn does not answer at {url}"
            time.sleep(0.05)
        else:
            return
