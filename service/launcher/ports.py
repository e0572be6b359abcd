"""Whether the API's address can be listened on, asked before anything is started, and how to write that address."""

import errno
import socket

from service.errors import SettingError

EVERYWHERE = {"0.0.0.0", "::"}


def require_free_port(host: str, port: int) -> None:
    """Raise `SettingError` when `host`:`port` is in use or is not an address of this machine."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            # As the server will: connections of an earlier one that linger are no obstacle.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen()
    except OSError as error:
        raise SettingError(_obstacle(host, port, error)) from None


def _obstacle(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"Port {port} on {host} is in use by another program; "
            "stop that one, or choose another port with API_PORT, for example --set API_PORT=5051."
        )
    if error.errno == errno.EACCES:
        return f"Port {port} may not be opened by this user; choose one from 1024 with --set API_PORT=5051."
    return f"API_HOST is {host!r}, which is not an address of this machine ({error.strerror}); set it to 127.0.0.1."


def address_text(host: str, port: int) -> str:
    """The address to type into a browser."""
    name = socket.gethostname() if host in EVERYWHERE else host
    return f"http://[{name}]:{port}/" if ":" in name else f"http://{name}:{port}/"
