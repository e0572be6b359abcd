"""What a heartbeat says while the machine's clock jumps."""

import time
from typing import Any, cast

import pytest

from ddp.recording.heartbeat import Heartbeat
from ddp.recording.registration import OwnedRun


class Row:
    """The run's row: the values that were written last."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}

    def update(self, **values: Any) -> None:
        self.values = values


@pytest.mark.parametrize("jump", [3600.0, -3600.0])
def test_progress_is_as_old_as_it_is_after_a_jump_of_the_clock(monkeypatch: pytest.MonkeyPatch, jump: float) -> None:
    row, wall, monotonic = Row(), [1_700_000_000.0], [500.0]
    monkeypatch.setattr(time, "time", lambda: wall[0])
    monkeypatch.setattr(time, "monotonic", lambda: monotonic[0])
    heartbeat = Heartbeat(cast(OwnedRun, row), dict)
    heartbeat.mark_progress()

    monotonic[0] += 2
    wall[0] += 2 + jump
    heartbeat.send_if_due(monotonic[0], step=7)

    assert row.values["heartbeat_at"] == wall[0]
    assert row.values["heartbeat_at"] - row.values["progress_at"] == pytest.approx(2)
