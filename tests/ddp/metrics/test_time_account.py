"""What a trainer spends its time on: one activity at a time, nothing lost and nothing counted twice."""

import os
import subprocess
import sys
import time
from contextlib import suppress

import pytest

from ddp.metrics.time_account import TimeAccount, process_age_seconds
from service.run import active_time
from service.run.ledger.time_spent import Activity


class Clock:
    """The monotonic clock, and for how long the process was stopped, as the test wants them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.stopped = 100.0, 0.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        monkeypatch.setattr(active_time, "stopped_seconds", lambda: self.stopped)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    monkeypatch.setattr("ddp.metrics.time_account.process_age_seconds", lambda: 2.5)
    return Clock(monkeypatch)


def spent(account: TimeAccount) -> dict[str, float]:
    seconds = account.read(7).as_dict()["seconds"]
    return {name: value for name, value in seconds.items() if value}


def test_all_until_the_first_step_is_starting_and_after_it_training(clock: Clock) -> None:
    account = TimeAccount()
    clock.now += 10
    assert (spent(account), account.read(7).training_at) == ({"starting": 12.5}, None)

    account.note_step()
    clock.now += 5
    account.note_step()
    clock.now += 1

    assert spent(account) == {"starting": 12.5, "training": 6.0}
    assert account.read(7).training_at == pytest.approx(time.time(), abs=60)
    assert account.began_at == pytest.approx(time.time() - 2.5, abs=60)


def test_of_what_lies_within_another_activity_the_innermost_counts(clock: Clock) -> None:
    account = TimeAccount()
    account.note_step()
    with account.spending(Activity.PAUSED):
        clock.now += 20
        with account.spending(Activity.VALIDATING):
            clock.now += 3
            assert spent(account) == {"starting": 2.5, "paused": 20.0, "validating": 3.0}
        clock.now += 20
    clock.now += 4

    assert spent(account) == {"starting": 2.5, "paused": 40.0, "validating": 3.0, "training": 4.0}


def test_an_activity_that_fails_ends_too(clock: Clock) -> None:
    account = TimeAccount()
    account.note_step()
    with suppress(ValueError), account.spending(Activity.SAVING):
        clock.now += 2
        raise ValueError
    clock.now += 1

    assert spent(account) == {"starting": 2.5, "saving": 2.0, "training": 1.0}


def test_time_in_which_the_process_was_stopped_is_stalled(clock: Clock) -> None:
    account = TimeAccount()
    account.note_step()
    clock.now += 30
    clock.stopped += 25

    assert spent(account) == {"starting": 2.5, "training": 5.0, "stalled": 25.0}


def test_an_account_begins_with_its_process() -> None:
    """Here that of a child, which lives for as long as it has imported."""
    code = "import ddp.metrics.time_account as a; print(a.process_age_seconds())"
    began_at = time.monotonic()
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    took = time.monotonic() - began_at

    assert 0 < float(printed) <= took + 2 / os.sysconf("SC_CLK_TCK")
    assert process_age_seconds() > float(printed)
