"""The state that is reported, from what was written and how long ago."""

import pytest

from service.run_state import RunState, derive_state

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
