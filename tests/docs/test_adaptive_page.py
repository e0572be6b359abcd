"""docs/adaptive.md: its numbers, settings and modes are those of the code, and none is left out."""

import re
from pathlib import Path

import pytest

from ddp.adaptive import grad_clip, learning_rate, perceptual, plateau, policy, weights
from service.config.live_settings import CHANGEABLE, PINNABLE
from service.config.settings import RunConfig

FIXED = {
    "rest after a safety reset that gave up the weights, steps": policy.SAFETY_REST_STEPS,
    "interval of adjustments in Stable, steps": policy.STABLE_INTERVAL,
    "interval of adjustments in Aggressive, steps": policy.AGGRESSIVE_INTERVAL,
    "farthest move of a weight in one adjustment": weights.LIMIT,
    "sharpness: mean of the last, steps": policy.SHARPNESS_WINDOW,
    "sharpness: needs at least, steps": policy.SHARPNESS_NEEDED,
    "Stable: blurry below": policy.STABLE_BLURRY,
    "Stable: blurry output multiplies the gradient share by": policy.STABLE_FACTOR,
    "Stable: sharp above": policy.STABLE_SHARP,
    "Stable: sharp output multiplies the gradient share by": policy.SHARP_FACTOR,
    "Stable: and lowers it to at least": policy.SHARP_FLOOR,
    "Aggressive begins below": policy.ENTER_BELOW,
    "Aggressive: blurry below": policy.AGGRESSIVE_BLURRY,
    "Aggressive: blurry output multiplies the gradient share by": policy.AGGRESSIVE_FACTOR,
    "Aggressive: and raises it to at least": policy.AGGRESSIVE_GRADIENT,
    "Aggressive: and lowers the MS share to at most": policy.AGGRESSIVE_MS,
    "Aggressive ends above": policy.LEAVE_ABOVE,
    "Aggressive lasts at least, steps, before sharpness ends it": policy.MIN_AGGRESSIVE_STEPS,
    "Aggressive lasts at most, steps": policy.MAX_AGGRESSIVE_STEPS,
    "blurry output raises the gradient share to at most": policy.GRADIENT_CEILING,
    "blurry output lowers the MS share to at most": policy.MS_CEILING,
    "floor of the MS and of the gradient share": weights.SHARE_FLOOR,
    "floor of the L1 share": weights.L1_FLOOR,
    "ceiling of the L1 share": 1 - 2 * weights.SHARE_FLOOR,
    "floor of the perceptual weight": weights.PERCEPTUAL_FLOOR,
    "ceiling of the perceptual weight": weights.PERCEPTUAL_CEILING,
    "mean L1: share of each step": perceptual.L1_FOLLOW,
    "perceptual weight rises below a mean L1 of": perceptual.RISE_BELOW,
    "perceptual weight rises per step by": perceptual.RISE_PER_STEP,
    "perceptual weight falls above a mean L1 of": perceptual.FALL_ABOVE,
    "perceptual weight falls per step by": perceptual.FALL_PER_STEP,
    **{f"cap of its rise below a mean L1 of {below:g}": cap for below, cap in perceptual.CAPS},
    "cap of its rise otherwise": perceptual.CAP_ELSE,
    "plateau: share of each step in the smoothed loss": plateau.FOLLOW,
    "plateau: run-up before counting, steps": plateau.RUN_UP_STEPS,
    "plateau: an improvement is below the best times, for a loss below 0.015": plateau.FACTORS[0][1],
    **{f"plateau: likewise for a loss below {below:g}": factor for below, factor in plateau.FACTORS[1:]},
    "plateau: likewise for any other loss": plateau.FACTOR_ELSE,
    "plateau: a better quality is above the best times": plateau.QUALITY_FACTOR,
    "plateau: quality holds above the best times": plateau.HELD_QUALITY_FACTOR,
    "plateau: added to the loss's factor while quality holds": plateau.HELD_QUALITY_BONUS,
    "clip: norms kept": grad_clip.NORMS_KEPT,
    "clip: norms needed": grad_clip.NORMS_NEEDED,
    "clip: percentile of the norms": grad_clip.PERCENTILE,
    "clip: share of the percentile in each step": grad_clip.FOLLOW,
    "clip: floor, or `INITIAL_GRAD_CLIP` if that is lower": grad_clip.FLOOR,
    "clip: ceiling, or `INITIAL_GRAD_CLIP` if that is higher": grad_clip.CEILING,
    "boost: multiple of the scheduled rate": learning_rate.FACTOR,
    "boost: least part of the scheduled rate that it adds": learning_rate.MIN_RAISE,
    "boost: rest after the end of one, steps": learning_rate.REST_STEPS,
    "trend of the perceptual weight: over the last, steps": perceptual.TREND_STEPS,
}


@pytest.fixture(scope="module")
def page(repository: Path) -> str:
    return (repository / "docs/adaptive.md").read_text()


def numbers(page: str) -> list[tuple[str, str, str]]:
    _, _, rest = page.partition("\n## Every number\n")
    section, _, _ = rest.partition("\n## ")
    return re.findall(r"^\| (.+) \| ([0-9./]+) \| (.+) \|$", section, re.MULTILINE)


def value_of(text: str) -> float:
    over, _, under = text.partition("/")
    return float(over) / float(under or 1)


def test_fixed_numbers_are_those_of_the_code(page: str) -> None:
    fixed = {name: value_of(value) for name, value, where in numbers(page) if where == "fixed"}

    assert fixed == pytest.approx(FIXED, rel=1e-12)
    assert plateau.FACTORS[0][0] == 0.015


def test_configurable_numbers_are_the_defaults_of_their_settings(page: str) -> None:
    settings = {where.strip("`").lower(): value_of(value) for _, value, where in numbers(page) if where != "fixed"}

    assert settings == {name: getattr(RunConfig(), name) for name in settings}
    assert len(settings) == 8


def test_no_number_of_the_code_is_left_out() -> None:
    modules = (learning_rate, grad_clip, policy, perceptual, plateau, weights)
    named = sum(
        isinstance(value, int | float) for module in modules for key, value in vars(module).items() if key.isupper()
    )
    imported = 1  # LIMIT, which the targets have from the weights
    derived = 1  # the ceiling of the L1 share
    tabled = len(perceptual.CAPS) + len(plateau.FACTORS)

    assert len(FIXED) == named - imported + derived + tabled


def test_every_mode_has_a_row(page: str) -> None:
    rows = re.findall(r"^\| `([A-Z][a-z]+)` \|", page, re.MULTILINE)

    assert rows == [mode.value for mode in policy.Mode]


def test_settings_that_can_be_switched_and_held_are_those_of_the_code(page: str) -> None:
    switches = re.findall(r"^\| `(ADAPTIVE_[A-Z_]+)` \| (?:the|no)", page, re.MULTILINE)
    _, _, sentence = page.partition("This works for ")
    held = re.findall(r"`([A-Z0-9_]+)`", sentence.partition(". The number")[0])

    assert switches == [name for name in CHANGEABLE if name.startswith("ADAPTIVE_")]
    assert tuple(held) == PINNABLE


def test_every_setting_that_is_named_exists(page: str) -> None:
    named = set(re.findall(r"`([A-Z][A-Z0-9]*_[A-Z0-9_]+)(?:=[^`]*)?`", page))

    assert named
    assert {name.lower() for name in named} <= set(RunConfig.__dataclass_fields__)


def test_links_lead_somewhere(page: str, repository: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", page):
        assert (repository / "docs" / target).is_file(), target
