"""The state that is reported, from what was written and how long ago."""

from typing import Any

import pytest

from service.run.state import STALLED_AFTER_SECONDS, RunState, derive_state, effective_stall_seconds

ENDED = {RunState.FINISHED, RunState.STOPPED, RunState.FAILED}


@pytest.mark.parametrize("written", sorted(ENDED))
def test_an_end_stays_however_old_it_is(written: RunState) -> None:
    assert derive_state(written, 1e9, 1e9) is written


@pytest.mark.parametrize("written", [RunState.STARTING, RunState.RUNNING, RunState.PAUSED])
def test_without_a_heartbeat_for_ten_seconds_a_run_is_lost(written: RunState) -> None:
    assert derive_state(written, 10.0, 0.0) is written
    assert derive_state(written, 10.1, 0.0) is RunState.LOST


@pytest.mark.parametrize(
    ("written", "reported"),
    [(RunState.RUNNING, RunState.STALLED), (RunState.PAUSED, RunState.PAUSED), (RunState.STARTING, RunState.STARTING)],
)
def test_only_a_running_training_can_stall(written: RunState, reported: RunState) -> None:
    assert derive_state(written, 1.0, 60.0) is written
    assert derive_state(written, 1.0, 60.1) is reported


def test_a_lost_run_is_lost_before_it_is_stalled() -> None:
    assert derive_state(RunState.RUNNING, 11.0, 100.0) is RunState.LOST


def test_a_clock_that_was_set_back_makes_nothing_old() -> None:
    assert derive_state(RunState.RUNNING, -3600.0, -3600.0) is RunState.RUNNING


@pytest.mark.parametrize("state", RunState)
def test_a_trainer_is_there_unless_the_run_has_ended_or_is_lost(state: RunState) -> None:
    assert state.has_ended == (state in ENDED)
    assert state.has_trainer == (state not in ENDED | {RunState.LOST})


@pytest.mark.parametrize(("stall_seconds", "still_running"), [(600.0, 599.0), (7.5, 7.4), (0.1, 5.0)])
def test_a_run_stalls_after_its_own_stall_seconds_but_never_faster_than_progress_is_told(
    stall_seconds: float, still_running: float
) -> None:
    assert derive_state(RunState.RUNNING, 1.0, still_running, stall_seconds) is RunState.RUNNING
    assert derive_state(RunState.RUNNING, 1.0, still_running + 1.1, stall_seconds) is RunState.STALLED


@pytest.mark.parametrize(
    ("config", "live", "expected"),
    [
        ({"STALL_SECONDS": 30.0}, None, 30.0),
        ({"STALL_SECONDS": 30.0}, {"changes": {"STALL_SECONDS": 90}, "replaced": {"STALL_SECONDS": 30.0}}, 90.0),
        ({"STALL_SECONDS": 30.0}, {"changes": {"MAX_LR": 0.1}}, 30.0),
        ({}, {}, STALLED_AFTER_SECONDS),
    ],
)
def test_the_stall_seconds_in_force_are_the_latest(
    config: dict[str, Any], live: dict[str, Any] | None, expected: float
) -> None:
    assert effective_stall_seconds(config, live) == expected
