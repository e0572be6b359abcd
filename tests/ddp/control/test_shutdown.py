"""The wish to leave."""

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from ddp.control.shutdown import ShutdownRequest
from ddp.distributed.peer_loss import PeerLossError
from ddp.distributed.world import is_peer_loss

NUMBERS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU, signal.SIGQUIT)


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


def test_only_a_wait_is_given_up_and_only_once_a_rank_is_gone() -> None:
    request = ShutdownRequest()
    request.install()
    with request.waiting():
        os.kill(os.getpid(), signal.SIGTERM)  # a wish alone: the data may still come
    teller = threading.Thread(target=request.give_up, args=("Rank 1 has ended.",))
    teller.start()
    teller.join()
    assert request.is_set  # and this test goes on, as it does not wait

    with pytest.raises(PeerLossError, match=r"^Rank 1 has ended\.$") as caught, request.waiting():
        wait_until_told(request)

    assert is_peer_loss(caught.value)


def wait_until_told(request: ShutdownRequest) -> None:
    """Wait for what never comes, while another thread gives up."""
    threading.Thread(target=request.give_up, args=("Rank 1 has ended.",)).start()
    threading.Event().wait(60)


def test_a_request_without_handlers_ends_nothing() -> None:
    ShutdownRequest().give_up("Rank 1 has ended.")


def test_the_same_wish_delivered_twice_at_once_is_one_wish() -> None:
    request = ShutdownRequest()
    request.install()

    os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.SIGTERM)

    assert request.is_set  # and this process is still here


@pytest.mark.parametrize(
    ("numbers", "exit_codes"),
    [
        ((signal.SIGINT, signal.SIGINT), [130]),
        ((signal.SIGTERM, signal.SIGINT, signal.SIGINT), [130]),
        ((signal.SIGTERM, signal.SIGTERM, signal.SIGTERM), []),
        ((signal.SIGUSR1, signal.SIGTERM, signal.SIGUSR2, signal.SIGXCPU, signal.SIGHUP), []),
        ((signal.SIGINT, signal.SIGTERM, signal.SIGTERM), []),
    ],
)
def test_only_a_repeated_interrupt_ends_the_process_at_once_and_not_with_143(
    monkeypatch: pytest.MonkeyPatch, numbers: tuple[signal.Signals, ...], exit_codes: list[int]
) -> None:
    exits: list[int] = []
    now = [100.0]
    monkeypatch.setattr("os._exit", exits.append)
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    request = ShutdownRequest()
    request.install()

    for number in numbers:
        os.kill(os.getpid(), number)
        now[0] += 5

    assert request.is_set
    assert exits == exit_codes


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2])
def test_a_signal_that_the_parent_ignores_stays_ignored(number: signal.Signals) -> None:
    """As a hang-up under nohup."""
    signal.signal(number, signal.SIG_IGN)
    request = ShutdownRequest()
    request.install()

    os.kill(os.getpid(), number)

    assert not request.is_set
