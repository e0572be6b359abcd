"""A slow rank is named when several windows agree, and no sooner."""

import pytest

from ddp.metrics.stragglers import StragglerDetector


@pytest.mark.parametrize(
    ("windows", "named"),
    [
        ([1, 1], None),
        ([1, 1, 1], 1),
        ([1, None, 1, None, 1], None),
        ([1, 1, 1, None], 1),
        ([1, 1, 1, None, None, None], None),
        ([1, 1, 1, 0, 0, 0], 0),
    ],
)
def test_three_windows_in_a_row_name_a_rank_or_clear_it(windows: list[int | None], named: int | None) -> None:
    ranks = StragglerDetector()
    for window in windows:
        ranks.update(window)

    assert ranks.slow_rank == named


def test_news_come_once() -> None:
    ranks = StragglerDetector()

    assert [ranks.update(window) for window in [2, 2, 2, 2, None, None, None, None]] == [
        False, False, True, False, False, False, True, False,
    ]  # fmt: skip
