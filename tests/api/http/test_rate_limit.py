"""An allowance: a minute's worth at once, then as much as flows in; each asker for itself, and in bounded memory."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.http import rate_limit as rate_limit_module
from api.http.problems import ProblemError
from api.http.rate_limit import RateLimit, client_network


class Clock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_minutes_worth_can_be_taken_at_once_and_then_flows_in(clock: Clock) -> None:
    rate_limit = RateLimit("commands", 4, clock)

    assert [rate_limit.take("anna") for _ in range(5)] == [0, 0, 0, 0, 15]
    clock.now += 14
    assert rate_limit.take("anna") == pytest.approx(1)
    clock.now += 1
    assert [rate_limit.take("anna"), rate_limit.take("anna")] == [0, 15]


def test_after_a_minute_of_rest_all_is_there_again(clock: Clock) -> None:
    rate_limit = RateLimit("commands", 3, clock)
    for _ in range(5):
        rate_limit.take("anna")
    clock.now += 60

    assert [rate_limit.take("anna") for _ in range(4)] == [0, 0, 0, 20]


def test_askers_do_not_take_from_each_other(clock: Clock) -> None:
    rate_limit = RateLimit("commands", 1, clock)

    assert [rate_limit.take(asker) for asker in ("anna", "bert", "anna")] == [0, 0, 60]


def test_looking_takes_nothing(clock: Clock) -> None:
    rate_limit = RateLimit("commands", 1, clock)

    assert [rate_limit.has_capacity("anna"), rate_limit.has_capacity("anna")] == [True, True]
    rate_limit.take("anna")
    assert not rate_limit.has_capacity("anna")


def test_a_refusal_says_when_to_come_again(clock: Clock) -> None:
    rate_limit = RateLimit("commands", 7, clock)
    for _ in range(7):
        rate_limit.require_capacity("anna")

    with pytest.raises(ProblemError, match="Only 7 commands a minute are taken from anna: wait 9 s") as refusal:
        rate_limit.require_capacity("anna")

    assert refusal.value.slug == "too-many-requests"
    assert refusal.value.headers == {
        "Retry-After": "9",
        "RateLimit-Policy": '"commands";q=7;w=60',
        "RateLimit": '"commands";r=0;t=9',
    }
    clock.now += 9
    rate_limit.require_capacity("anna")


def test_what_is_left_is_said_before_it_is_used_up(clock: Clock) -> None:
    rate_limit = RateLimit("commands", 4, clock)

    said = [rate_limit.require_capacity("anna")["RateLimit"] for _ in range(2)]
    clock.now += 10
    said.append(rate_limit.require_capacity("anna")["RateLimit"])
    clock.now += 5
    said.append(rate_limit.require_capacity("anna")["RateLimit"])

    assert said == ['"commands";r=3;t=15', '"commands";r=2;t=15', '"commands";r=1;t=5', '"commands";r=1;t=15']


@given(per_minute=st.integers(1, 10**6), pauses=st.lists(st.floats(0, 100), min_size=1, max_size=60))
def test_no_stretch_of_time_sees_more_than_flowed_in(per_minute: int, pauses: list[float]) -> None:
    clock = Clock()
    rate_limit = RateLimit("commands", per_minute, clock)
    taken = 0
    for pause in pauses:
        clock.now += pause
        taken += rate_limit.take("anna") == 0
        assert taken <= per_minute * (1 + (clock.now - 1000) / 60) + 1e-3


@given(per_minute=st.integers(1, 10**6), burst=st.integers(1, 50))
def test_who_waits_as_long_as_told_is_served(per_minute: int, burst: int) -> None:
    clock = Clock()
    rate_limit = RateLimit("commands", per_minute, clock)
    for _ in range(burst):
        clock.now += rate_limit.take("anna")
        rate_limit.take("anna")
    wait_seconds = rate_limit.take("anna")
    clock.now += wait_seconds

    assert wait_seconds == 0 or rate_limit.take("anna") == 0


def test_however_many_ask_memory_is_bounded(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limit_module, "MAX_CLIENTS", 100)
    rate_limit = RateLimit("wrong tokens", 1, clock)

    first = [rate_limit.take(f"asker {number}") for number in range(100)]
    later = [rate_limit.take(f"asker {number}") for number in range(100, 300)]

    assert set(first) == {0}
    assert later == [0] + [60] * 199, "newcomers share what one would have"
    assert not rate_limit.has_capacity("asker 500")
    assert rate_limit.take("asker 0") == 60, "who is known keeps what was counted"
    assert rate_limit.bucket_count <= 101

    clock.now += 61
    assert [rate_limit.take("asker 999"), rate_limit.take("asker 999")] == [0, 60], "those who rest are forgotten"
    assert rate_limit.bucket_count <= 2


def test_many_threads_together_take_no_more_than_there_is() -> None:
    rate_limit = RateLimit("commands", 500, Clock())
    barrier = threading.Barrier(8)

    def take_many(_: int) -> int:
        barrier.wait()
        return sum(rate_limit.take("anna") == 0 for _ in range(200))

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(take_many, range(8))) == 500


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("10.0.0.5", "10.0.0.5"),
        ("::ffff:10.0.0.5", "10.0.0.5"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("no address", "no address"),
    ],
)
def test_an_owner_of_many_addresses_is_one_asker(address: str, counted: str) -> None:
    assert client_network(address) == counted
