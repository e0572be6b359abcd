"""A real nginx for the time of a `with`."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
START_SECONDS = 20.0

MAIN = """daemon off;
pid {place}/nginx.pid;
error_log {place}/error.log;
{user}
events {{}}
http {{
    client_body_temp_path {place}/body;
    proxy_temp_path {place}/proxy;
    fastcgi_temp_path {place}/fastcgi;
    uwsgi_temp_path {place}/uwsgi;
    scgi_temp_path {place}/scgi;
    {http}
}}
"""


def replaced(text: str, changes: dict[str, str]) -> str:
    """A configuration with its ports, names and places changed to those of a test; each must be there."""
    for ours, here in changes.items():
        assert ours in text
        text = text.replace(ours, here)
    return text


@contextmanager
def running_nginx(http: str, place: Path, port: int) -> Iterator[None]:
    """nginx with `http` in its http block, its files in `place`; it listens on `port`."""
    user = "user root;" if os.geteuid() == 0 else ""
    (place / "nginx.conf").write_text(MAIN.format(place=place, user=user, http=http))
    process = subprocess.Popen(
        [str(NGINX), "-p", str(place), "-c", str(place / "nginx.conf"), "-e", str(place / "error.log")],
        stderr=subprocess.DEVNULL,
    )
    try:
        _await_port(process, port, place)
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


def _await_port(process: "subprocess.Popen[bytes]", port: int, place: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        assert process.poll() is None, (place / "error.log").read_text()
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
        except OSError:
            assert time.monotonic() < deadline, "nginx does not listen"
            time.sleep(0.02)
        else:
            return
