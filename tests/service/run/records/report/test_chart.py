"""Charts as SVG, their ticks, and maps of colours as PNG."""

import io
from xml.etree import ElementTree

import pytest
from PIL import Image

from service.run.records.report.chart import Band, Curve, Mark, chart
from service.run.records.report.heat_map import heat_map
from service.run.records.report.texts import Texts
from service.run.records.report.ticks import linear_ticks, log_ticks, tick_text

SVG = "{http://www.w3.org/2000/svg}"


def drawn(figure: str) -> ElementTree.Element:
    """The picture in a figure; raises if it is not well formed."""
    _, _, rest = figure.partition("<svg")
    return ElementTree.fromstring(f'<svg xmlns="http://www.w3.org/2000/svg"{rest.removesuffix("</figure>")}')


def test_a_curve_is_a_path_from_the_left_end_to_the_right_and_upwards_where_it_rises() -> None:
    figure = chart("A & B", [Curve("<KI>", [0, 50, 100], [1.0, 1.5, 2.0], 0)], Texts("en"), ends=(0, 100))
    (line,) = (path for path in drawn(figure) if "line" in path.get("class", ""))
    points = [tuple(map(float, pair.split())) for pair in line.get("d", "").removeprefix("M").split("L")]

    assert [x for x, _ in points] == [92.0, 516.0, 940.0]
    assert points[0][1] > points[1][1] > points[2][1]
    assert "A &amp; B" in figure
    assert "&lt;KI&gt;" in figure


def test_shaded_stretches_and_marks_lie_where_they_belong_and_a_mark_elsewhere_is_left_out() -> None:
    picture = drawn(
        chart(
            "LR",
            [Curve("a", [0, 100], [1.0, 2.0], 0)],
            Texts("en"),
            ends=(0, 100),
            bands=[Band(50, 100, "warmup")],
            marks=[Mark(50, "set"), Mark(500, "later")],
        )
    )
    (band,) = picture.findall(f"{SVG}rect")
    (mark,) = (path for path in picture.findall(f"{SVG}path") if path.get("class") == "mark")

    assert (band.get("x"), band.get("width")) == ("516.0", "424.0")
    assert mark.get("d", "").startswith("M516.0 ")


def test_a_single_point_is_a_dot_and_no_point_is_no_chart() -> None:
    assert drawn(chart("a", [Curve("a", [5], [0.0], 0)], Texts("en"), ends=(5, 5))).findall(f"{SVG}circle")
    assert chart("a", [], Texts("en"), ends=(0, 1)) == ""


def test_a_scale_for_losses_is_logarithmic_unless_a_value_is_not_positive() -> None:
    losses = chart("a", [Curve("a", [0, 1], [0.001, 10.0], 0)], Texts("en"), ends=(0, 1), is_log=True)
    with_zero = chart("a", [Curve("a", [0, 1], [0.0, 10.0], 0)], Texts("en"), ends=(0, 1), is_log=True)

    assert all(f">{tick}</text>" in losses for tick in ("0.001", "0.01", "0.1", "1", "10"))
    assert ">0.001</text>" not in with_zero


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0.0, 1.0, [0, 0.2, 0.4, 0.6, 0.8, 1.0]), (480.0, 100_000.0, [20_000, 40_000, 60_000, 80_000, 100_000]),
     (0.61, 0.79, [0.65, 0.7, 0.75])],
)  # fmt: skip
def test_ticks_are_round_numbers(low: float, high: float, expected: list[float]) -> None:
    assert linear_ticks(low, high) == pytest.approx(expected)


def test_ticks_of_a_logarithmic_scale_are_powers_of_ten_with_more_between_few() -> None:
    assert log_ticks(1e-6, 1.0) == pytest.approx([1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1])
    assert log_ticks(0.015, 0.3) == pytest.approx([0.02, 0.05, 0.1, 0.2])
    assert [tick_text(value) for value in (20_000, 2_500_000, 0.05, 0.00001, 0)] == [
        "20k",
        "2.5M",
        "0.05",
        "1e-05",
        "0",
    ]


def test_a_map_has_a_pixel_per_value_lighter_where_it_is_higher_and_grey_where_none_is() -> None:
    with Image.open(io.BytesIO(heat_map([[0.0, 100.0], [None, 50.0]]))) as picture:
        assert picture.size == (2, 2)
        assert picture.getpixel((0, 0)) == (68, 1, 84)
        assert picture.getpixel((1, 0)) == (253, 231, 37)
        assert picture.getpixel((0, 1)) == (200, 200, 200)
