"""Which addresses may be listened on without a token, and by which names the API may be asked."""

from typing import Any

import pytest

from service.auth.hosts import host_names, require_safe_address
from service.config.settings import RunConfig
from service.errors import SettingError


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "localhost", "LOCALHOST", "::1"])
def test_loopback_needs_no_token(host: str) -> None:
    require_safe_address(RunConfig(api_host=host))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.5", "control-room", "localhost.evil.example", ""])
def test_any_other_address_needs_a_token(host: str) -> None:
    with pytest.raises(SettingError, match="API_TOKEN"):
        require_safe_address(RunConfig(api_host=host))

    require_safe_address(RunConfig(api_host=host, api_token="secret"))


@pytest.mark.parametrize("settings", [{"api_proxies": 1}, {"api_hosts": "trainer.lan"}, {"api_hosts": "::2,localhost"}])
def test_what_lets_others_reach_loopback_needs_a_token_too(settings: dict[str, Any]) -> None:
    with pytest.raises(SettingError, match="API_TOKEN"):
        require_safe_address(RunConfig(**settings))

    require_safe_address(RunConfig(**settings, api_token="secret"))


def test_names_of_loopback_need_no_token() -> None:
    require_safe_address(RunConfig(api_hosts="localhost, 127.0.0.1,[::1]"))


@pytest.mark.parametrize("names", ["http://trainer.lan", "trainer.lan:5050", "a b", "*", "-a"])
def test_what_is_no_name_is_refused(names: str) -> None:
    with pytest.raises(SettingError, match="API_HOSTS"):
        require_safe_address(RunConfig(api_hosts=names, api_token="secret"))


def test_names_are_compared_in_small_letters_without_brackets() -> None:
    assert host_names(RunConfig(api_hosts=" Trainer.LAN., ,[FD00::5]")) == {"trainer.lan", "fd00::5"}
    assert host_names(RunConfig()) == frozenset()
