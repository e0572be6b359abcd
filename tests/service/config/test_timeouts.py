"""Timeouts nest: those that are derived do by themselves, and settings that break the order are refused."""

import pytest

from service.config import timeouts
from service.config.settings import RunConfig
from service.errors import SettingError


def test_a_hang_is_named_in_time_whatever_the_stage_takes() -> None:
    for p99_seconds in (0.001, 0.3, 0.4, 2.0, 60.0):
        aim_seconds = max(3.0, 8 * p99_seconds)
        limit_seconds = timeouts.learnt_limit_seconds(p99_seconds)

        assert limit_seconds + 2 * timeouts.REPORT_SECONDS < aim_seconds
        assert limit_seconds > 2 * p99_seconds


def test_a_rank_that_leaves_has_saved_before_torchrun_and_then_the_launcher_kill() -> None:
    last_words = timeouts.AFTER_SIGNAL_SECONDS + timeouts.LAST_WRITES_SECONDS
    for environment in ({}, {"TORCH_ELASTIC_SHUTDOWN_TIMEOUT": "300"}):
        kill_seconds = timeouts.torchrun_kill_seconds(environment)

        assert last_words < kill_seconds < timeouts.launcher_grace_seconds(environment)
        timeouts.check_launch_order(environment)
    assert timeouts.STATE_LOCK_SECONDS < timeouts.TORCHRUN_KILL_SECONDS < timeouts.RESTART_PATIENCE_SECONDS


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (
            {"stall_seconds": 60.0, "collective_timeout_seconds": 60.0},
            "COLLECTIVE_TIMEOUT_SECONDS is 60, but must be above STALL_SECONDS, and STALL_SECONDS is 60: otherwise the "
            "ranks give up before the hung rank is named.",
        ),
        (
            {"stall_seconds": 300.0, "collective_timeout_seconds": 600.0, "stall_action": "restart"},
            "COLLECTIVE_TIMEOUT_SECONDS is 600, but must be above 2 times STALL_SECONDS, and STALL_SECONDS is 300: "
            "otherwise the ranks give up before the hung rank is ended (STALL_ACTION=restart).",
        ),
    ],
)
def test_a_wrong_order_of_settings_is_refused_with_both_values(values: dict[str, float | str], sentence: str) -> None:
    with pytest.raises(SettingError) as caught:
        RunConfig(**values)  # type: ignore[arg-type]

    assert str(caught.value) == sentence


def test_settings_in_order_are_accepted() -> None:
    RunConfig(stall_seconds=300.0, collective_timeout_seconds=600.0)
    RunConfig(stall_seconds=299.0, collective_timeout_seconds=600.0, stall_action="restart")


def test_a_torchrun_that_kills_ranks_while_they_save_is_refused_with_both_values() -> None:
    with pytest.raises(SettingError, match=r"TORCH_ELASTIC_SHUTDOWN_TIMEOUT is 15, but must be above 20, "):
        timeouts.check_launch_order({"TORCH_ELASTIC_SHUTDOWN_TIMEOUT": "15"})


@pytest.mark.parametrize("text", ["soon", "-1", "nan", "inf"])
def test_a_variable_of_torchrun_that_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(SettingError, match="must be a number of seconds"):
        timeouts.torchrun_kill_seconds({"TORCH_ELASTIC_SHUTDOWN_TIMEOUT": text})
