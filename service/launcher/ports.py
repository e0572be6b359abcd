"""Checks before a start that the API can listen on its address, and formats that address as a URL."""

import errno
import socket

from service.errors import SettingError

ALL_INTERFACES = {"0.0.0.0", "::"}


def require_free_port(host: str, port: int) -> None:
    """Raise `SettingError` if `host`:`port` is in use or is not an address of this machine."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            # Like the server: lingering connections of an earlier server do not block the port.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen()
    except OSError as error:
        raise SettingError(_reason(host, port, error)) from None


def _reason(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"Port {port} on {host} is in use, by another program or by Leitstand itself; "
            "stop that one, or choose another port with API_PORT, for example --set API_PORT=5051."
        )
    if error.errno == errno.EACCES:
        return f"Port {port} may not be opened by this user; choose one from 1024 with --set API_PORT=5051."
    return f"API_HOST is {host!r}, which is not an address of this machine ({error.strerror}); set it to 127.0.0.1."


def address_text(host: str, port: int) -> str:
    """Return the URL to open in a browser."""
    name = socket.gethostname() if host in ALL_INTERFACES else host
    return f"http://[{name}]:{port}/" if ":" in name else f"http://{name}:{port}/"
