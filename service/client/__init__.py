"""HTTP client of the API for scripts and the command line: `from service.client import Client`.

Never reads a store or a run directory.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from service.client.client import Client

__all__ = ["Client"]


def __getattr__(name: str) -> Any:
    """Return `Client`, which is imported when it is asked for: it needs `requests`, and much here does not."""
    if name != "Client":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from service.client.client import Client

    return Client
