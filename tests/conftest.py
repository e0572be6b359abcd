"""What every test may use: a place to find the repository, and a deadline instead of a sleep."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


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
