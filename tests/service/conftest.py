"""What tests of `service` share."""

from collections.abc import Iterator

import pytest

from service.config.loader import NAMES
from service.config.settings import RENAMED
from tests.service.harness.stand_in import StandIn, serving


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the person who runs the tests reaches them."""
    for name in (*NAMES, *RENAMED, "URL", "TOKEN", "RUN", "CA", "CONFIG"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(f"LEITSTAND_{name}", raising=False)


@pytest.fixture
def server() -> Iterator[StandIn]:
    """A real HTTP server whose answers the test chooses."""
    stand_in = StandIn()
    with serving(stand_in):
        yield stand_in
