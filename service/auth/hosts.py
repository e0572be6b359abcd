"""Where the API may listen, and by which names it may be asked: without a token, only what no other machine reaches."""

import re
from ipaddress import ip_address

from service.auth.tokens import file_of, read_tokens
from service.config.settings import RunConfig
from service.errors import SettingError

_NAME = re.compile(r"[a-z0-9]([a-z0-9._-]*[a-z0-9])?")


def require_safe_address(config: RunConfig) -> None:
    """Raise `SettingError` when the API could be reached from elsewhere and there is no token, and for a wrong name.

    Raises `TokenFileError` when API_TOKENS names a file that cannot be used.
    """
    names = host_names(config)
    file = file_of(config)
    tokens = () if file is None else read_tokens(file)
    if config.api_token or tokens:
        return
    way_out = "set API_TOKEN, or make a token with `leitstand token create`"
    if not is_loopback(config.api_host):
        raise SettingError(
            f"API_HOST is {config.api_host!r}, which other machines can reach: {way_out}, or set API_HOST to 127.0.0.1."
        )
    if config.api_proxies:
        raise SettingError(
            f"API_PROXIES is {config.api_proxies}, so other machines can reach the API through them: {way_out}."
        )
    if outer := sorted(name for name in names if not is_loopback(name)):
        raise SettingError(
            f"API_HOSTS is {config.api_hosts!r}, but {outer[0]} names more than this machine: {way_out}."
        )


def host_names(config: RunConfig) -> frozenset[str]:
    """The names in API_HOSTS, in small letters; none means that any will do. Raises `SettingError` for what is none."""
    names = frozenset(plain_name(name) for name in config.api_hosts.split(",") if name.strip())
    for name in names:
        if not _NAME.fullmatch(name) and not _is_address(name):
            raise SettingError(
                f"API_HOSTS is {config.api_hosts!r}, but must be names or addresses with commas between, as "
                "`trainer.lan,127.0.0.1`, without http:// and without a port."
            )
    return names


def plain_name(name: str) -> str:
    """A name as names are compared: in small letters, without the brackets of an address and the dot at the end."""
    return name.strip().lower().strip("[]").rstrip(".")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`."""
    name = plain_name(host)
    return ip_address(name).is_loopback if _is_address(name) else name == "localhost"


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
