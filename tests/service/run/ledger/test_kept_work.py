"""Seconds of steps that were kept, whatever was gone back to."""

import pytest

from service.run.ledger.kept_work import MAX_MARKS, KeptWork


def test_going_back_loses_the_seconds_since_that_step() -> None:
    work = KeptWork()
    work.note(10, 5.0)
    work.note(20, 25.0)

    work.go_back(10, 30.0)

    assert work.lost_seconds == pytest.approx(25.0)
    work.go_back(0, 32.0)
    assert work.lost_seconds == pytest.approx(32.0)


def test_between_two_marks_steps_are_equally_long() -> None:
    work = KeptWork()
    work.note(10, 10.0)
    work.note(20, 30.0)

    work.go_back(15, 30.0)

    assert work.lost_seconds == pytest.approx(10.0)


def test_going_on_at_a_step_that_nobody_had_reported_yet_loses_nothing() -> None:
    work = KeptWork()
    work.note(10, 10.0)

    work.go_back(12, 11.0)

    assert work.lost_seconds == 0
    work.note(20, 21.0)
    work.go_back(12, 21.0)
    assert work.lost_seconds == pytest.approx(10.0)


def test_marks_stay_bounded_and_the_first_and_last_are_kept() -> None:
    work = KeptWork()
    for step in range(1, 10 * MAX_MARKS):
        work.note(step, float(step))
    assert len(work) <= MAX_MARKS + 1

    work.go_back(1234, float(10 * MAX_MARKS - 1))

    assert work.lost_seconds == pytest.approx(10 * MAX_MARKS - 1 - 1234)
