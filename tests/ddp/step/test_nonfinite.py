"""Steps that were skipped: counted for good, in a row, and rollbacks that lead nowhere."""

from ddp.metrics.step_metrics import StepMetrics
from ddp.step.nonfinite import NonFiniteSteps


def rows(first: int, pattern: str) -> list[StepMetrics]:
    """`x` is a skipped step, `.` a good one."""
    return [
        StepMetrics(first + place, 1.0, (0.0,) * 4, 1.0, 1.0, is_skipped=sign == "x")
        for place, sign in enumerate(pattern)
    ]


def test_skipped_steps_are_named_counted_and_a_row_goes_on_over_blocks() -> None:
    bad = NonFiniteSteps()

    assert bad.update(rows(1, "..x.x")) == [3, 5]
    assert bad.update(rows(6, "xx")) == [6, 7]
    assert (bad.total, bad.in_a_row, bad.streak_start) == (4, 3, 5)
    assert bad.update(rows(8, ".")) == []
    assert (bad.total, bad.in_a_row, bad.streak_start) == (4, 0, None)


def test_rollbacks_count_until_a_good_step_lies_beyond_the_worst() -> None:
    bad = NonFiniteSteps()
    bad.update(rows(10, "xx"))
    assert bad.note_rollback(10) == 1
    bad.restore(NonFiniteSteps().state())
    bad.update(rows(5, ".....xx"))
    assert bad.note_rollback(10) == 2
    bad.update(rows(5, "........"))

    assert bad.note_rollback(20) == 1


def test_going_back_takes_the_row_of_the_saved_state_but_not_the_count() -> None:
    saved = NonFiniteSteps()
    saved.update(rows(1, "x."))
    state = saved.state()
    saved.update(rows(3, "xxx"))

    saved.restore(state)

    assert (saved.total, saved.in_a_row, saved.streak_start) == (4, 0, None)


def test_a_checkpoint_keeps_the_first_step_of_the_streak_under_the_key_of_earlier_releases() -> None:
    bad = NonFiniteSteps()
    bad.update(rows(1, ".xx"))

    assert bad.state() == {"total": 2, "in_a_row": 2, "row_began": 2, "rollbacks": 0, "worst_step": 0}

    resumed = NonFiniteSteps()
    resumed.restore(bad.state())
    assert (resumed.in_a_row, resumed.streak_start) == (2, 2)
