"""Connections that end when the other machine is silent for long: cut off, without power, or frozen as a whole.

Linux tries for a quarter of an hour to reach a machine that does not answer, and for ever where nothing is to be sent.
Timeouts of torch do not help: in torch 2.13, calls of its store wait without end for a server that has fallen silent.
"""

import ipaddress
import os
import socket
import sys
from contextlib import suppress

SILENCE_SECONDS = 60
IDLE_SECONDS, PROBE_SECONDS = 20, 10
OPTIONS = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, IDLE_SECONDS),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, PROBE_SECONDS),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, (SILENCE_SECONDS - IDLE_SECONDS) // PROBE_SECONDS),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1000 * SILENCE_SECONDS),
)
FILES = "/proc/self/fd"


def limit_silence() -> int:
    """Let each open TCP connection to another machine end after `SILENCE_SECONDS` without an answer; return how many.

    A process that is stopped does not count as silent, because its kernel answers. Only on Linux.
    """
    return sum(_limit(int(name)) for name in os.listdir(FILES)) if sys.platform == "linux" else 0


def _limit(descriptor: int) -> bool:
    """Limit the silence of one open file, if it is such a connection; return whether it is."""
    with suppress(OSError):  # closed meanwhile, or not connected
        if not os.readlink(f"{FILES}/{descriptor}").startswith("socket:"):
            return False
        with socket.socket(fileno=os.dup(descriptor)) as connection:
            is_meant = connection.type == socket.SOCK_STREAM and _leads_away(connection)
            for level, option, value in OPTIONS if is_meant else ():
                connection.setsockopt(level, option, value)
            return is_meant
    return False


def _leads_away(connection: socket.socket) -> bool:
    """Return True if a socket is connected to another address than its own. Raises `OSError` if to none."""
    if connection.family not in {socket.AF_INET, socket.AF_INET6}:
        return False
    peer = ipaddress.ip_address(connection.getpeername()[0].partition("%")[0])
    return peer != ipaddress.ip_address(connection.getsockname()[0].partition("%")[0])
