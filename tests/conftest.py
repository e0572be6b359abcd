"""What every test may use: a place to find the repository, and a deadline instead of a sleep."""

import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.postgres import postgres as postgres  # fixtures for every test
from tests.postgres import store_url as store_url

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session", autouse=True)
def _hang_up_as_usual() -> None:
    """A suite started under nohup inherits that SIGHUP is ignored, and so would every program it starts."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY


@pytest.fixture(scope="session")
def eventually() -> Callable[..., None]:
    """Wait until a condition holds; fail with its name when it does not within the deadline."""

    def wait(condition: Callable[[], object], *, seconds: float = 30.0, what: str = "the condition") -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"{what} did not hold within {seconds} s"
            time.sleep(0.02)

    return wait
