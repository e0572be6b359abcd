"""Curves drawn in braille."""

import math

import pytest

from service.cli.watch.curves import LABEL_WIDTH, Scale, chart, scale_of
from service.cli.watch.spans import text_of
from service.cli.watch.view import Curve, Stretch


def curve(*values: float, step: int = 1) -> Curve:
    made = Curve()
    for number, value in enumerate(values):
        made.add(step * (number + 1), value)
    return made


def drawn(made: Curve, width: int = 10, height: int = 3, *, may_be_log: bool = False) -> list[str]:
    """The chart as text, without its labels."""
    rows = chart([(made, "ki", "ki faint")], width + LABEL_WIDTH + 1, height + 1, may_be_log=may_be_log)
    return [text_of(row)[LABEL_WIDTH + 1 :] for row in rows]


def test_a_rising_line_goes_from_the_lower_left_to_the_upper_right() -> None:
    rows = drawn(curve(0, 1), width=4, height=2)

    assert [row[0] for row in rows] == [" ", "⡠", "1"]
    assert [row[3] for row in rows] == ["⠊", " ", "2"]


def test_a_line_has_no_gap_in_any_column() -> None:
    rows = drawn(curve(*(math.sin(number) * 50 for number in range(9))), width=30, height=6)

    columns = zip(*rows[:-1], strict=True)
    assert all(any(cell != " " for cell in column) for column in columns)


def test_a_constant_is_one_level_line() -> None:
    rows = drawn(curve(5, 5, 5), width=8, height=3)

    assert sum(row.strip() != "" for row in rows[:-1]) == 1


def test_one_value_is_one_dot_and_its_step() -> None:
    rows = drawn(curve(5), width=8, height=3)

    assert sum(cell != " " for row in rows[:-1] for cell in row) == 1
    assert rows[-1].strip() == "1"


def test_extremes_of_a_stretch_are_drawn_behind_the_mean() -> None:
    made = Curve([Stretch(1, 100, 0.5, 0.0, 1.0), Stretch(101, 200, 0.5, 0.5, 0.5)])
    rows = chart([(made, "ki", "ki faint")], 20 + LABEL_WIDTH + 1, 5)

    tones = {span.tone for row in rows for span in row if span.text.strip()}
    assert tones == {"ki", "ki faint", "muted"}


def test_without_values_there_is_no_chart() -> None:
    assert drawn(Curve()) == []
    assert drawn(curve(math.nan)) == []
    assert drawn(curve(1, 2), width=2) == []


def test_values_that_are_not_finite_are_left_out() -> None:
    assert drawn(curve(1, math.inf, 2))[-1].split() == ["1", "3"]


def test_a_log_point_that_is_known_is_not_added_twice() -> None:
    made = Curve([Stretch(1, 64, 0.5, 0.0, 1.0)])
    made.add(64, 9.0)
    made.add(65, 0.25)

    assert [stretch.last_step for stretch in made.stretches] == [64, 65]
    assert made.last == 0.25


@pytest.mark.parametrize(("values", "is_log"), [((0.01, 1.0), True), ((0.5, 1.0), False), ((0.0, 1.0), False)])
def test_a_wide_range_of_positive_values_is_logarithmic(values: tuple[float, ...], is_log: bool) -> None:
    scale = scale_of([curve(*values)], may_be_log=True)

    assert scale is not None
    assert scale.is_log is is_log
    assert not getattr(scale_of([curve(*values)]), "is_log", True)


@pytest.mark.parametrize("scale", [Scale(2, 4), Scale(0.01, 10, is_log=True)])
def test_a_scale_finds_the_value_of_a_place_again(scale: Scale) -> None:
    assert [round(scale.share(scale.value(share)), 6) for share in (0, 0.25, 1)] == [0, 0.25, 1]
    assert scale.share(-1) == 0
    assert scale.share(99) == 1


def test_labels_have_the_digits_that_the_range_needs() -> None:
    def labels(*values: float) -> list[str]:
        rows = chart([(curve(*values), "ki", "ki faint")], 40, 9)
        return [text_of(row)[:LABEL_WIDTH].strip() for row in rows if text_of(row)[:LABEL_WIDTH].strip()]

    assert labels(0.25, 0.75) == ["0.7500", "0.4677", "0.2500"]
    assert labels(1e-7, 2e-7) == ["2e-07", "1e-07", "1e-07"]
    assert labels(20000, 30000)[0] == "30000"


def test_the_axis_shows_first_and_last_step() -> None:
    assert drawn(curve(1, 2, 3, step=1000), width=20)[-1] == "1 000" + " " * 10 + "3 000"
