"""Every setting's rule, at its limits and beyond."""

import math
from dataclasses import FrozenInstanceError, fields
from typing import Any

import pytest

from service.config.settings import RunConfig, SettingRule, rule_of
from service.errors import SettingError

RULES = {item.name: rule_of(item.name) for item in fields(RunConfig)}
RANGED = {name: rule for name, rule in RULES.items() if rule.minimum is not None}
CHOSEN = {name: rule for name, rule in RULES.items() if rule.choices}


def config(**values: Any) -> RunConfig:
    """A configuration with these values, and with what they need not to contradict others."""
    room = {
        "min_lr": {"max_lr": 1.0},
        "max_lr": {"min_lr": 0.0},
        "l1_weight": {"ms_weight": 0.1},
        "plateau_patience": {"plateau_safety_threshold": 10**6},
        "plateau_safety_threshold": {"plateau_patience": 1},
        "stall_seconds": {"collective_timeout_seconds": 1e7},
        "collective_timeout_seconds": {"stall_seconds": 1.0},
    }
    needed = {key: value for name in values for key, value in room.get(name, {}).items()}
    return RunConfig(**{**needed, **values})


def as_type(name: str, value: float) -> float | int:
    return int(value) if RunConfig.__annotations__[name] is int else float(value)


def test_a_configuration_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        RunConfig().scale = 4  # type: ignore[misc]


@pytest.mark.parametrize("name", RULES)
def test_every_setting_says_what_it_means(name: str) -> None:
    assert len(RULES[name].meaning) > 5


@pytest.mark.parametrize("name", RULES)
def test_every_number_has_a_range(name: str) -> None:
    if RunConfig.__annotations__[name] in {int, float}:
        assert name in RANGED
        assert RULES[name].range_text()


@pytest.mark.parametrize("name", RANGED)
def test_the_limits_are_allowed(name: str) -> None:
    rule = RANGED[name]
    for limit in (rule.minimum, rule.maximum):
        if limit is not None:
            assert getattr(config(**{name: as_type(name, limit)}), name) == limit


@pytest.mark.parametrize("name", RANGED)
def test_beyond_the_limits_the_value_and_the_range_are_named(name: str) -> None:
    rule = RANGED[name]
    step = 1 if RunConfig.__annotations__[name] is int else 1e-3
    beyond = [limit + sign * step for limit, sign in ((rule.minimum, -1), (rule.maximum, 1)) if limit is not None]

    for value in (as_type(name, limit) for limit in beyond):
        with pytest.raises(SettingError) as wrong:
            config(**{name: value})
        assert str(wrong.value) == f"{name.upper()} is {value}, but must be {rule.range_text()}."


@pytest.mark.parametrize("name", [name for name in RANGED if RunConfig.__annotations__[name] is float])
def test_nan_is_in_no_range(name: str) -> None:
    with pytest.raises(SettingError, match=f"{name.upper()} is nan, but must be"):
        config(**{name: math.nan})


@pytest.mark.parametrize("name", CHOSEN)
def test_choices_are_kept_and_named(name: str) -> None:
    for choice in CHOSEN[name].choices:
        assert getattr(RunConfig(**{name: choice}), name) == choice  # type: ignore[arg-type]

    with pytest.raises(SettingError, match=f"{name.upper()} is 'other', but must be one of: ") as wrong:
        RunConfig(**{name: "other"})  # type: ignore[arg-type]
    assert ", ".join(CHOSEN[name].choices) in str(wrong.value)


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (SettingRule(meaning="m", minimum=0, maximum=1e9), "between 0 and 1e+09"),
        (SettingRule(meaning="m", minimum=1), "at least 1"),
        (SettingRule(meaning="m", choices=("a", "b")), "`a` or `b`"),
        (SettingRule(meaning="m"), ""),
    ],
)
def test_a_range_reads_like_words(rule: SettingRule, text: str) -> None:
    assert rule.range_text() == text


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"min_lr": 1e-3, "max_lr": 1e-4}, "MIN_LR is 0.001, but must not exceed MAX_LR, which is 0.0001."),
        ({"n_frames": 6}, "N_FRAMES is 6, but must be odd (5 or 7): the centre frame is the target."),
        (
            {"l1_weight": 0.0, "ms_weight": 0.0, "grad_weight": 0.0, "perceptual_weight": 0.1},
            "L1_WEIGHT, MS_WEIGHT and GRAD_WEIGHT are all 0: nothing would be learnt; raise one.",
        ),
    ],
)
def test_settings_that_contradict_each_other_are_refused(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SettingError) as wrong:
        RunConfig(**values)

    assert str(wrong.value) == sentence
