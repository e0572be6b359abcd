"""HTTP client of the API for scripts and the command line: `from service.client import Client`.

Never reads a store or a run directory.
"""

from service.client.client import Client

__all__ = ["Client"]
