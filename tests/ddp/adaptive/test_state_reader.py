"""Reading saved state: what cannot be understood is named in one sentence."""

import math
from collections.abc import Callable
from typing import Any

import pytest

from ddp.adaptive.state_reader import StateReader

GOOD = {"n": 1.5, "k": 3, "t": True, "none": None, "list": [1, 2.5], "points": [[1, 0.5]], "part": {"inner": 1}}


def test_good_values_are_read() -> None:
    saved = StateReader(GOOD)

    assert saved.number("n") == 1.5
    assert saved.whole("k") == 3
    assert saved.truth("t") is True
    assert saved.number_or_none("none") is None
    assert saved.number_or_none("n") == 1.5
    assert saved.whole_or_none("none") is None
    assert saved.whole_or_none("k") == 3
    assert saved.numbers("list") == [1.0, 2.5]
    assert saved.points("points") == [(1, 0.5)]
    assert saved.part("part").whole("inner") == 1
    assert saved.part_or_none("none") is None


@pytest.mark.parametrize(
    ("read", "complaint"),
    [
        (lambda saved: saved.number("absent"), "state lacks 'absent'"),
        (lambda saved: saved.number("t"), "'t' in the controller's state is True, but must be a number"),
        (lambda saved: saved.number("nan"), "'nan' .* must be finite"),
        (lambda saved: saved.number("n", 0, 1), "'n' .* is 1.5, but must be finite and between 0 and 1"),
        (lambda saved: saved.whole("n"), "'n' .* must be a whole number, at least 0"),
        (lambda saved: saved.whole("k", 4), "'k' .* at least 4"),
        (lambda saved: saved.whole("t"), "'t' .* must be a whole number"),
        (lambda saved: saved.truth("k"), "'k' .* must be true or false"),
        (lambda saved: saved.numbers("n"), "'n' .* must be a list"),
        (lambda saved: saved.numbers("points"), "'points' .* must be a number"),
        (lambda saved: saved.points("list"), "'list' .* must be a pair of a step and a number"),
        (lambda saved: saved.part("n"), "The controller's state.n is 1.5, but must be a mapping"),
        (lambda saved: saved.part("part").whole("absent"), "The controller's state.part lacks 'absent'"),
    ],
)
def test_what_cannot_be_understood_is_named(read: Callable[[StateReader], Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        read(StateReader({**GOOD, "nan": math.nan}))


def test_a_state_that_is_no_mapping_is_refused() -> None:
    with pytest.raises(ValueError, match=r"state is \[1\], but must be a mapping"):
        StateReader([1])
