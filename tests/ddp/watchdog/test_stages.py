"""What a rank says of itself."""

import pytest

from ddp.watchdog.stages import Stage, StageMarker


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The monotonic clock, for the test to set."""
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    return now


def test_a_rank_begins_as_starting_before_any_step(now: list[float]) -> None:
    marker = StageMarker()
    now[0] += 3

    reading = marker.now()

    assert (reading.stage, reading.step, reading.age_seconds) == (Stage.STARTING, None, 3.0)


def test_a_stage_ages_until_the_next_is_entered(now: list[float]) -> None:
    marker = StageMarker()
    marker.enter(Stage.DATA, step=7)
    now[0] += 62
    assert marker.now().age_seconds == 62.0

    marker.enter(Stage.FORWARD)

    assert (marker.now().stage, marker.now().age_seconds) == (Stage.FORWARD, 0.0)


def test_a_stage_entered_without_a_step_belongs_to_the_step_last_named(now: list[float]) -> None:
    marker = StageMarker()
    marker.enter(Stage.DATA, step=7)
    marker.enter(Stage.FORWARD)
    marker.enter(Stage.UPDATE)
    assert marker.now().step == 7

    marker.enter(Stage.DATA, step=8)

    assert marker.now().step == 8


def test_entering_the_same_stage_again_restarts_its_age(now: list[float]) -> None:
    marker = StageMarker()
    marker.enter(Stage.VALIDATION, step=500)
    now[0] += 40

    marker.enter(Stage.VALIDATION)

    assert (marker.now().step, marker.now().age_seconds) == (500, 0.0)


def pass_stages(marker: StageMarker, now: list[float], count: int, forward_seconds: float = 0.02) -> None:
    for step in range(count):
        marker.enter(Stage.DATA, step)
        now[0] += 0.001
        marker.enter(Stage.FORWARD)
        now[0] += forward_seconds


def test_how_long_each_stage_takes_is_learnt_from_its_own_durations(now: list[float]) -> None:
    marker = StageMarker()
    now[0] += 300  # a long start
    pass_stages(marker, now, 30)
    assert (marker.p99_seconds(Stage.FORWARD), marker.is_settled) == (None, False)

    pass_stages(marker, now, 30)

    assert marker.p99_seconds(Stage.FORWARD) == pytest.approx(0.02, rel=0.2)
    assert marker.p99_seconds(Stage.DATA) == pytest.approx(0.001, rel=0.2)
    assert marker.p99_seconds(Stage.STARTING) is None
    assert marker.is_settled


def test_a_stage_that_is_forgotten_is_learnt_anew(now: list[float]) -> None:
    marker = StageMarker()
    pass_stages(marker, now, 60)

    marker.forget(Stage.DATA)

    assert marker.p99_seconds(Stage.DATA) is None
    pass_stages(marker, now, 60)
    assert marker.p99_seconds(Stage.DATA) == pytest.approx(0.001, rel=0.2)


def test_commands_rollbacks_starts_and_ends_are_never_learnt(now: list[float]) -> None:
    marker = StageMarker()
    for _ in range(100):
        for stage in Stage:
            marker.enter(stage)
            now[0] += 0.01

    unlearnt = {stage for stage in Stage if marker.p99_seconds(stage) is None}
    assert unlearnt == {Stage.STARTING, Stage.ROLLBACK, Stage.COMMAND, Stage.PAUSED, Stage.LEAVING}


def test_the_stages_with_collectives_wait_for_others() -> None:
    assert {stage for stage in Stage if stage.waits_for_others} == {Stage.ALL_REDUCE, Stage.LOG, Stage.COMMAND}
