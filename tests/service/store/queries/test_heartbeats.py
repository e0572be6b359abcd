"""How old a heartbeat is, whatever the clocks of trainer and reader do."""

import time

import pytest

from service.store.queries.heartbeats import MAX_KEPT_BEATS, HeartbeatObserver

HOUR = 3600.0
RUN = "run-1"


class Clocks:
    """The two clocks of the reader."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.wall, self.monotonic = 1_700_000_000.0, 500.0
        monkeypatch.setattr(time, "time", lambda: self.wall)
        monkeypatch.setattr(time, "monotonic", lambda: self.monotonic)

    def advance(self, seconds: float) -> None:
        self.wall += seconds
        self.monotonic += seconds


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Clocks:
    return Clocks(monkeypatch)


def age(observer: HeartbeatObserver, heartbeat_at: float) -> float:
    return observer.now(RUN, heartbeat_at) - heartbeat_at


def test_the_first_look_can_only_compare_the_clocks(clocks: Clocks) -> None:
    """So a trainer that is dead when the reader starts is found dead at once."""
    assert age(HeartbeatObserver(), clocks.wall - 700) == pytest.approx(700)


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
def test_a_jump_of_the_readers_clock_makes_no_heartbeat_older_or_younger(clocks: Clocks, jump: float) -> None:
    observer, heartbeat_at = HeartbeatObserver(), clocks.wall
    age(observer, heartbeat_at)

    clocks.advance(0.5)
    clocks.wall += jump

    assert age(observer, heartbeat_at) == pytest.approx(0.5)
    clocks.advance(20)
    assert age(observer, heartbeat_at) == pytest.approx(20.5)


@pytest.mark.parametrize("offset", [HOUR, -HOUR])
def test_clocks_that_disagree_matter_no_more_once_a_heartbeat_was_seen_to_change(clocks: Clocks, offset: float) -> None:
    observer = HeartbeatObserver()
    assert age(observer, clocks.wall + offset) == pytest.approx(-offset)
    clocks.advance(1)

    heartbeat_at = clocks.wall + offset  # the trainer's present

    assert 0 <= age(observer, heartbeat_at) <= 1
    clocks.advance(11)
    assert 11 <= age(observer, heartbeat_at) <= 12


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
def test_a_trainer_whose_clock_jumps_is_alive_and_its_later_silence_is_noticed(clocks: Clocks, jump: float) -> None:
    observer = HeartbeatObserver()
    age(observer, clocks.wall)
    clocks.advance(1)

    assert 0 <= age(observer, clocks.wall + jump) <= 1

    last = clocks.wall + jump
    clocks.advance(30)
    assert 30 <= age(observer, last) <= 31


def test_after_long_without_a_look_a_new_heartbeat_is_as_old_as_the_clocks_say(clocks: Clocks) -> None:
    observer = HeartbeatObserver()
    age(observer, clocks.wall)
    clocks.advance(HOUR)

    assert age(observer, clocks.wall - 40) == pytest.approx(40)


def test_a_row_that_was_read_before_is_no_new_heartbeat(clocks: Clocks) -> None:
    observer = HeartbeatObserver()
    earlier = clocks.wall
    age(observer, earlier)
    clocks.advance(1)
    latest = clocks.wall
    age(observer, latest)

    for _ in range(60):  # two readers take turns, and one keeps a row that is a second old
        clocks.advance(0.5)
        assert age(observer, earlier) == pytest.approx(clocks.wall - earlier)
        assert age(observer, latest) == pytest.approx(clocks.wall - latest)


def test_what_happened_before_a_clock_was_set_forward_is_as_long_ago_as_it_was(clocks: Clocks) -> None:
    observer, before = HeartbeatObserver(), clocks.wall - 100
    for offset in (0.0, 0.0, HOUR, HOUR, 2 * HOUR):
        age(observer, clocks.wall + offset)
        clocks.advance(2)

    trainers_present = clocks.wall + 2 * HOUR
    assert trainers_present - observer.on_present_clock(RUN, before) == pytest.approx(110, abs=2)
    after_the_first_jump = clocks.wall - 2 + HOUR - 2
    assert trainers_present - observer.on_present_clock(RUN, after_the_first_jump) == pytest.approx(4, abs=2)
    assert observer.on_present_clock(RUN, trainers_present) == trainers_present
    assert observer.on_present_clock("run-2", before) == before


@pytest.mark.parametrize("gap", [0.5, 20.0, HOUR])
def test_late_looks_and_a_clock_that_was_set_back_are_no_jump_forward(clocks: Clocks, gap: float) -> None:
    observer, before = HeartbeatObserver(), clocks.wall
    for offset in (0.0, 0.0, -HOUR, -HOUR):
        age(observer, clocks.wall + offset)
        clocks.advance(gap)

    assert observer.on_present_clock(RUN, before) == before


def test_runs_are_told_apart_and_few_heartbeats_are_kept(clocks: Clocks) -> None:
    observer, beats = HeartbeatObserver(), []
    for _ in range(10 * MAX_KEPT_BEATS):
        clocks.advance(1)
        beats.append(clocks.wall)
        age(observer, clocks.wall)

    assert observer.now("run-2", clocks.wall - 9) == pytest.approx(clocks.wall)
    clocks.advance(5)
    assert age(observer, beats[-MAX_KEPT_BEATS]) == pytest.approx(5 + MAX_KEPT_BEATS - 1)
    assert age(observer, beats[-MAX_KEPT_BEATS - 1]) == pytest.approx(5), "forgotten, so it is taken for a new one"
