"""Lines of coloured text: cut, filled and joined by the width of a terminal."""

import pytest
from rich.cells import cell_len

from service.cli.watch.spans import (
    EMPTY,
    Span,
    bar,
    columns_chart,
    cut,
    fitted,
    line,
    pad,
    spread,
    text_of,
    width_of,
)

WIDE = line("日本語", (" tokyo", "good"))


def test_a_line_is_made_printable_and_empty_pieces_are_left_out() -> None:
    assert line("a\x1b[31m", ("", "bad"), ("b\u202e", "bad")) == (Span("a\\x1b[31m"), Span("b\\u202e", "bad"))


@pytest.mark.parametrize("width", range(15))
def test_a_fitted_line_has_exactly_the_width(width: int) -> None:
    assert width_of(fitted(WIDE, width)) == width
    assert width_of(fitted(EMPTY, width)) == width


def test_what_does_not_fit_ends_in_a_sign_of_it() -> None:
    assert text_of(fitted(line("abcdef"), 4)) == "abc…"
    assert text_of(fitted(line("abcdef"), 6)) == "abcdef"


@pytest.mark.parametrize(("begin", "end"), [(0, 12), (0, 5), (1, 5), (3, 8), (5, 12), (6, 7), (12, 14)])
def test_a_piece_of_a_line_has_its_columns_also_through_wide_characters(begin: int, end: int) -> None:
    piece = cut(WIDE, begin, end)

    assert width_of(piece) == max(0, min(end, width_of(WIDE)) - begin)
    if begin >= 6:
        assert text_of(piece) == " tokyo"[begin - 6 : end - 6]


def test_two_ends_of_a_line_keep_the_left_one_where_there_is_no_room() -> None:
    assert text_of(spread(line("left"), line("right"), 12)) == "left   right"
    assert text_of(spread(line("left"), line("right"), 9)) == "left     "


def test_a_cell_of_a_table_has_its_width() -> None:
    assert [pad("ab", 4), pad("ab", 4, right=True), pad("abcdef", 4)] == ["ab  ", "  ab", "abc…"]
    assert cell_len(pad("日本語", 4)) == 4
    assert pad("abc", 0) == ""


@pytest.mark.parametrize(("share", "text"), [(0, "    "), (0.5, "██  "), (0.53, "██▏ "), (1, "████"), (7, "████")])
def test_a_bar_is_filled_to_an_eighth_of_a_column(share: float, text: str) -> None:
    assert bar(share, 4) == text


def test_columns_stand_on_the_last_line_and_none_is_empty() -> None:
    assert columns_chart([0, 0.5, 0.75, 1], 2) == ["  ▄█", "▁███"]
