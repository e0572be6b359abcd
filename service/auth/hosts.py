"""Checks of the API's address and host names: without a token, only this machine may reach the API."""

import re
from ipaddress import ip_address

from service.auth.tokens import read_tokens, token_file_path
from service.config.settings import RunConfig
from service.errors import SettingError

_NAME = re.compile(r"[a-z0-9]([a-z0-9._-]*[a-z0-9])?")


def require_safe_address(config: RunConfig) -> None:
    """Check that only this machine can reach the API if there is no token.

    Raises `SettingError` if other machines could reach it or a name in API_HOSTS is invalid, and `TokenFileError` if
    the file named by API_TOKENS cannot be used.
    """
    names = host_names(config)
    file = token_file_path(config)
    tokens = () if file is None else read_tokens(file)
    if config.api_token or tokens:
        return
    remedy = "set API_TOKEN, or make a token with `leitstand token create`"
    if not is_loopback(config.api_host):
        raise SettingError(
            f"API_HOST is {config.api_host!r}, which other machines can reach: {remedy}, or set API_HOST to 127.0.0.1."
        )
    if config.api_proxies:
        raise SettingError(
            f"API_PROXIES is {config.api_proxies}, so other machines can reach the API through them: {remedy}."
        )
    if public := sorted(name for name in names if not is_loopback(name)):
        raise SettingError(
            f"API_HOSTS is {config.api_hosts!r}, but {public[0]} names more than this machine: {remedy}."
        )


def host_names(config: RunConfig) -> frozenset[str]:
    """Return the names in API_HOSTS, normalized; an empty set allows any. Raises `SettingError` for an invalid name."""
    names = frozenset(normalized_name(name) for name in config.api_hosts.split(",") if name.strip())
    for name in names:
        if not _NAME.fullmatch(name) and not _is_address(name):
            raise SettingError(
                f"API_HOSTS is {config.api_hosts!r}, but must be names or addresses with commas between, as "
                "`trainer.lan,127.0.0.1`, without http:// and without a port."
            )
    return names


def normalized_name(name: str) -> str:
    """Return a host name in lower case, without the brackets of an IPv6 address and without a trailing dot."""
    return name.strip().lower().strip("[]").rstrip(".")


def is_loopback(host: str) -> bool:
    """Return True if only this machine can reach `host`."""
    name = normalized_name(host)
    return ip_address(name).is_loopback if _is_address(name) else name == "localhost"


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
