"""What holds whatever is measured, at whatever rhythm, under whatever settings, pins and interruptions."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ddp.adaptive.controller import Controller
from ddp.adaptive.grad_clip import CEILING, FLOOR
from ddp.adaptive.policy import MAX_AGGRESSIVE_STEPS
from ddp.adaptive.types import Observation
from ddp.adaptive.weights import LIMIT
from service.config.settings import RunConfig

SUM_TOLERANCE = 1e-9

everything = settings(deadline=None, database=None, derandomize=True, max_examples=40)

measured = st.floats(0, 1e6) | st.sampled_from([0.0, 0.004, 0.009, 0.011, 0.02, 0.05, 1.0])
unmeasured = st.sampled_from([float("nan"), float("inf"), float("-inf")])
sharpness = st.sampled_from([0.3, 0.65, 0.71, 0.73, 0.8, 0.95]) | st.floats(0, 3)


@dataclass(frozen=True)
class Stretch:
    """Blocks of alike steps, and perhaps one that is not finite among them."""

    blocks: int
    terms: tuple[float, float, float, float]
    sharpness: float
    grad_norm: float
    spoilt: float | None
    quality: float | None


stretches = st.lists(
    st.builds(
        Stretch,
        blocks=st.integers(1, 60),
        terms=st.tuples(measured, measured, measured, measured),
        sharpness=sharpness,
        grad_norm=measured,
        spoilt=st.none() | unmeasured,
        quality=st.none() | st.floats(0, 1) | unmeasured,
    ),
    min_size=1,
    max_size=12,
)
"""A life of up to 720 blocks."""

configs = st.builds(
    RunConfig,
    l1_weight=st.floats(0.3, 0.7),
    ms_weight=st.floats(0.1, 0.2),
    grad_weight=st.floats(0.1, 0.5),
    perceptual_weight=st.sampled_from([0.0, 0.01, 0.1, 0.25]),
    initial_grad_clip=st.sampled_from([0.01, 1.5, 40.0]),
    adaptive_warmup_steps=st.sampled_from([0, 45, 100]),
    settling_steps=st.sampled_from([0, 30]),
    warmup_steps=st.just(100),
    max_steps=st.sampled_from([500, 500, 50_000]),
    cooldown_duration=st.sampled_from([0, 25, 80]),
    plateau_patience=st.sampled_from([1, 60]),
    plateau_safety_threshold=st.sampled_from([60, 300]),
    boost_steps=st.sampled_from([1, 400]),
    adapt_every=st.sampled_from([7, 10, 60]),
    adaptive_loss_weights=st.sampled_from([True, True, True, False]),
    adaptive_grad_clip=st.booleans(),
    adaptive_lr_boost=st.sampled_from([True, True, False]),
)

pins = st.fixed_dictionaries(
    {},
    optional={
        "l1_weight": st.floats(0, 0.4),
        "ms_weight": st.floats(0, 0.3),
        "grad_weight": st.floats(0, 0.2),
        "initial_grad_clip": st.floats(0.01, 20),
    },
)
"""Never all four weights, and never more than 0.9 together."""


def blocks_of(life: list[Stretch], every: int) -> Iterator[tuple[list[Observation], int, float | None]]:
    """The observations of every block a block late, the steps done then, and a validation after some."""
    step, waiting = 0, list[Observation]()
    for stretch in life:
        for index in range(stretch.blocks):
            block = [
                Observation(step + i, stretch.terms, stretch.sharpness, stretch.grad_norm) for i in range(1, every + 1)
            ]
            if stretch.spoilt is not None:
                block[-1] = replace(block[-1], grad_norm=stretch.spoilt)
            step += every
            yield waiting, step, stretch.quality if index == 0 else None
            waiting = block


def lived(controller: Controller, config: RunConfig, life: list[Stretch]) -> Iterator[int]:
    """Hand over a life; yields the steps done after every block."""
    for block, steps_done, quality in blocks_of(life, config.adapt_every):
        controller.advance(block, steps_done)
        if quality is not None:
            controller.note_quality(quality)
        yield steps_done


def outcome(controller: Controller, steps_done: int) -> tuple[Any, ...]:
    rate, phase = controller.learning_rate(steps_done), controller.phase(steps_done)
    return controller.weights, controller.grad_clip, rate, phase, controller.report(), controller.take_changes()


@everything
@given(configs, stretches)
def test_weights_sum_to_one_keep_their_bounds_and_move_by_a_hundredth_at_most(
    config: RunConfig, life: list[Stretch]
) -> None:
    controller = Controller.of(config, has_perceptual=config.perceptual_weight > 0)
    before = started = controller.weights

    for _ in lived(controller, config, life):
        weights = controller.weights
        assert abs(sum(weights) - 1) < SUM_TOLERANCE
        assert max(abs(x - y) for x, y in zip(before, weights, strict=True)) <= LIMIT + SUM_TOLERANCE
        before = weights
        rest = 1 - weights[3]
        assert weights[1] / rest >= 0.05 - SUM_TOLERANCE
        assert weights[2] / rest >= 0.05 - SUM_TOLERANCE
        assert 0.1 - SUM_TOLERANCE <= weights[0] / rest <= 0.9 + SUM_TOLERANCE
        if config.perceptual_weight == 0:
            assert weights[3] == 0
        elif config.adaptive_loss_weights:
            assert min(0.05, started[3]) - SUM_TOLERANCE <= weights[3] <= 0.25


@everything
@given(configs, stretches)
def test_the_clip_keeps_its_bounds(config: RunConfig, life: list[Stretch]) -> None:
    controller = Controller.of(config, has_perceptual=False)

    for _ in lived(controller, config, life):
        assert min(FLOOR, config.initial_grad_clip) <= controller.grad_clip <= max(CEILING, config.initial_grad_clip)


@everything
@given(configs, stretches)
def test_counters_are_whole_and_a_cooldown_grows_only_by_a_move_that_is_told(
    config: RunConfig, life: list[Stretch]
) -> None:
    controller = Controller.of(config, has_perceptual=False)
    remaining = 0

    for _ in lived(controller, config, life):
        report, told = controller.report(), {change.kind for change in controller.take_changes()}
        for key in ("adaptive_plateau_counter", "adaptive_cooldown_remaining"):
            assert type(report[key]) is int
            assert report[key] >= 0
        passed = max(0, remaining - config.adapt_every)
        if "weights" in told:
            assert passed == 0
            assert report["adaptive_cooldown_remaining"] == config.cooldown_duration
        else:
            assert report["adaptive_cooldown_remaining"] == passed
        remaining = report["adaptive_cooldown_remaining"]


@everything
@given(configs, stretches)
def test_every_mode_is_left_in_bounded_time(config: RunConfig, life: list[Stretch]) -> None:
    controller = Controller.of(config, has_perceptual=False)
    began, mode = 0, "Warmup"

    for steps_done in lived(controller, config, life):
        now = controller.report()["adaptive_mode"]
        if now != mode:
            began, mode = steps_done, now
        limit = {
            "Warmup": config.adaptive_warmup_steps,
            "Settling": config.settling_steps,
            "Aggressive": MAX_AGGRESSIVE_STEPS,
        }
        assert steps_done - began <= limit.get(mode, steps_done) + 2 * config.adapt_every


@everything
@given(configs, stretches)
def test_the_learning_rate_lies_between_the_schedule_and_max_lr(config: RunConfig, life: list[Stretch]) -> None:
    controller = Controller.of(config, has_perceptual=False)
    plain = Controller.of(config, has_perceptual=False)

    for steps_done in lived(controller, config, life):
        assert plain.learning_rate(steps_done) <= controller.learning_rate(steps_done) <= config.max_lr


@everything
@given(configs, stretches)
def test_two_controllers_that_see_the_same_stay_the_same(config: RunConfig, life: list[Stretch]) -> None:
    one, other = (Controller.of(config, has_perceptual=config.perceptual_weight > 0) for _ in range(2))

    for steps_done, _ in zip(lived(one, config, life), lived(other, config, life), strict=True):
        assert outcome(one, steps_done) == outcome(other, steps_done)


@everything
@given(configs, stretches, pins, st.data())
def test_a_restored_controller_goes_on_identically(
    config: RunConfig, life: list[Stretch], held: dict[str, float], data: st.DataObject
) -> None:
    one, other = (Controller.of(config, has_perceptual=config.perceptual_weight > 0) for _ in range(2))
    for each in (one, other):
        each.configure(config, held)
    blocks = list(blocks_of(life, config.adapt_every))
    stop = data.draw(st.integers(0, len(blocks)), label="blocks before the interruption")

    for index, (block, steps_done, _) in enumerate(blocks):
        if index == stop:
            one.take_changes()
            other.restore(json.loads(json.dumps(one.state(), allow_nan=False)))
        one.advance(block, steps_done)
        if index >= stop:
            other.advance(block, steps_done)
            assert outcome(other, steps_done) == outcome(one, steps_done)
            assert other.state() == one.state()


@everything
@given(configs, stretches, unmeasured)
def test_steps_that_are_not_finite_change_nothing(config: RunConfig, life: list[Stretch], value: float) -> None:
    clean, spoilt = (Controller.of(config, has_perceptual=config.perceptual_weight > 0) for _ in range(2))

    for block, steps_done, _ in blocks_of(life, config.adapt_every):
        clean.advance(block, steps_done)
        spoilt.advance(
            [Observation(1, (value, 0, 0, 0), 1, 1), *block, Observation(1, (0, 0, 0, 0), 1, value)], steps_done
        )
        spoilt.note_quality(value)
        assert outcome(spoilt, steps_done) == outcome(clean, steps_done)


@everything
@given(configs, stretches, pins)
def test_pins_are_respected_and_given_back(config: RunConfig, life: list[Stretch], held: dict[str, float]) -> None:
    has_perceptual = config.perceptual_weight > 0
    controller = Controller.of(config, has_perceptual=has_perceptual)
    controller.configure(config, held)
    names = ("l1_weight", "ms_weight", "grad_weight")
    before = controller.weights

    for _ in lived(controller, config, life):
        weights = controller.weights
        assert abs(sum(weights) - 1) < SUM_TOLERANCE
        assert max(abs(x - y) for x, y in zip(before, weights, strict=True)) <= LIMIT + SUM_TOLERANCE
        before = weights
        if not set(names) <= held.keys() or has_perceptual:
            assert all(weights[i] == held[name] for i, name in enumerate(names) if name in held)
        if "initial_grad_clip" in held:
            assert controller.grad_clip == held["initial_grad_clip"]

    controller.configure(config, {})
    rest = 1 - controller.weights[3]
    assert all(0.05 - SUM_TOLERANCE <= weight / rest <= 0.9 + SUM_TOLERANCE for weight in controller.weights[:3])
