"""Which addresses the API may listen on: without a token, only those that no other machine can reach."""

from ipaddress import ip_address

from service.errors import SettingError
from service.settings import RunConfig


def require_safe_address(config: RunConfig) -> None:
    """Raise `SettingError` when API_HOST can be reached from elsewhere and there is no API_TOKEN."""
    if not config.api_token and not is_loopback(config.api_host):
        raise SettingError(
            f"API_HOST is {config.api_host!r}, which other machines can reach: set API_TOKEN, "
            "or set API_HOST to 127.0.0.1."
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"
