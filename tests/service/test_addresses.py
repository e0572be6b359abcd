"""Which addresses may be listened on without a token."""

import pytest

from service.addresses import require_safe_address
from service.errors import SettingError
from service.settings import RunConfig


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "localhost", "LOCALHOST", "::1"])
def test_loopback_needs_no_token(host: str) -> None:
    require_safe_address(RunConfig(api_host=host))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.5", "control-room", "localhost.evil.example", ""])
def test_any_other_address_needs_a_token(host: str) -> None:
    with pytest.raises(SettingError, match="API_TOKEN"):
        require_safe_address(RunConfig(api_host=host))

    require_safe_address(RunConfig(api_host=host, api_token="secret"))
