"""The wish to leave."""

import os
import signal
from collections.abc import Iterator

import pytest

from ddp.control.shutdown import ShutdownRequest

NUMBERS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@pytest.fixture(autouse=True)
def restored_handlers() -> Iterator[None]:
    earlier = {number: signal.getsignal(number) for number in NUMBERS}
    yield
    for number, handler in earlier.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", NUMBERS)
def test_a_signal_sets_the_flag_and_ends_nothing(number: signal.Signals) -> None:
    request = ShutdownRequest()
    request.install()

    os.kill(os.getpid(), number)

    assert request.is_set


def test_the_same_wish_delivered_twice_at_once_is_one_wish() -> None:
    request = ShutdownRequest()
    request.install()

    os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.SIGTERM)

    assert request.is_set  # and this process is still here


def test_a_second_wish_leaves_at_once_with_143(monkeypatch: pytest.MonkeyPatch) -> None:
    exits: list[int] = []
    now = [100.0]
    monkeypatch.setattr("os._exit", exits.append)
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    request = ShutdownRequest()
    request.install()

    os.kill(os.getpid(), signal.SIGTERM)
    now[0] += 5
    os.kill(os.getpid(), signal.SIGTERM)

    assert exits == [143]


def test_under_nohup_a_hang_up_stays_ignored() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    request = ShutdownRequest()
    request.install()

    os.kill(os.getpid(), signal.SIGHUP)

    assert not request.is_set
