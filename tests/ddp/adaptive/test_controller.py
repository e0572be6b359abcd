"""The controller as the trainer sees it."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from ddp.adaptive.controller import Controller
from ddp.adaptive.learning_rate import LrSchedule
from ddp.adaptive.types import Observation
from service.config.settings import RunConfig
from service.run.record_schema import FIELDS
from tests.ddp.adaptive.made_up import drive, observed

QUICK = RunConfig(
    warmup_steps=100,
    max_steps=20_000,
    adaptive_warmup_steps=100,
    settling_steps=50,
    plateau_patience=100,
    plateau_safety_threshold=400,
    boost_steps=500,
)
FIXED = replace(QUICK, adaptive_loss_weights=False, adaptive_grad_clip=False, adaptive_lr_boost=False)
UNMOVED = (0.6, 0.2, 0.2, 0.0)


def controller_of(config: RunConfig = QUICK, *, has_perceptual: bool = False) -> Controller:
    return Controller.of(config, has_perceptual=has_perceptual)


def blurry(step: int) -> Observation:
    return observed(step, sharpness=0.6)


def kinds(controller: Controller) -> list[str]:
    return [change.kind for change in controller.take_changes()]


def test_it_begins_with_the_configured_values() -> None:
    controller = controller_of()

    assert controller.weights == pytest.approx(UNMOVED)
    assert controller.grad_clip == 1.5
    assert controller.report()["adaptive_mode"] == "Warmup"
    assert controller.take_changes() == []


def test_its_report_has_the_records_keys() -> None:
    names = [field.name for field in FIELDS]
    keys = list(controller_of().report())

    assert keys == names[names.index("l1_weight_current") : names.index("adaptive_perceptual_trend") + 1]


def test_modes_follow_each_other_and_each_is_told() -> None:
    controller = controller_of()

    drive(controller, 1, 200, observed)

    told = [(change.details["step"], change.details["after"]) for change in controller.take_changes()]
    assert told == [(100, "Settling"), (150, "Stable")]
    assert controller.report()["adaptive_mode"] == "Stable"


def test_nothing_is_moved_in_warm_up_and_settling_but_the_clip() -> None:
    controller = controller_of(replace(QUICK, perceptual_weight=0.1), has_perceptual=True)
    before = controller.weights

    drive(controller, 1, 149, lambda step: observed(step, sharpness=0.3, l1=0.001, grad_norm=5.0))

    assert controller.weights == before
    assert controller.report()["adaptive_plateau_counter"] == 0
    assert controller.grad_clip > 1.5


def test_stable_moves_at_multiples_of_50_and_waits_for_its_cooldown() -> None:
    controller, moved = controller_of(), list[int]()

    def note(steps_done: int) -> None:
        moved.extend(steps_done for change in controller.take_changes() if change.kind == "weights")

    drive(controller, 1, 500, blurry, after=note)

    assert moved == [150, 250, 350, 450]
    assert controller.weights == pytest.approx((0.56, 0.2, 0.24, 0))


@pytest.mark.parametrize("every", [1, 7, 30, 100])
def test_intervals_count_steps_whatever_the_block(every: int) -> None:
    controller, moved = controller_of(replace(QUICK, cooldown_duration=0)), list[int]()

    def note(steps_done: int) -> None:
        moved.extend(steps_done for change in controller.take_changes() if change.kind == "weights")

    drive(controller, 1, 560, lambda step: observed(step, sharpness=0.74), every=every, after=note)

    first = -(-150 // every) * every
    expected = [step for step in range(first, 561, every) if step // 50 > (step - every) // 50]
    assert moved == expected


def test_the_cooldown_counts_steps_down() -> None:
    controller, remaining = controller_of(), list[tuple[bool, int]]()
    drive(controller, 1, 240, blurry, after=lambda _: remaining.append(report_of(controller)))

    assert remaining[14:24] == [(True, left) for left in (80, 70, 60, 50, 40, 30, 20, 10)] + [(False, 0)] * 2


def report_of(controller: Controller) -> tuple[bool, int]:
    report = controller.report()
    return report["adaptive_is_cooldown"], report["adaptive_cooldown_remaining"]


def test_sharp_output_lowers_the_gradient_weight() -> None:
    controller = controller_of()

    drive(controller, 1, 200, lambda step: observed(step, sharpness=0.99))

    assert controller.weights == pytest.approx((0.61, 0.2, 0.19, 0))


def test_a_blurry_plateau_is_aggressive_until_the_safety_reset_and_then_goes_back() -> None:
    controller = controller_of(replace(QUICK, adaptive_lr_boost=False))
    modes: list[str] = []

    drive(controller, 1, 1070, blurry, after=lambda _: modes.append(controller.report()["adaptive_mode"]))

    changes = controller.take_changes()
    entered = next(change for change in changes if change.details.get("after") == "Aggressive")
    assert entered.reason == "blurry plateau: sharpness 0.600 is below 0.7, no improvement in 100 steps"
    assert entered.details["step"] == 760  # 150 of warm-up and settling, 500 of run-up, 100 of patience, a block's lag
    reset = next(change for change in changes if change.kind == "safety reset")
    assert reset.reason.startswith("no improvement in 410 steps; PLATEAU_SAFETY_THRESHOLD is 400; back to")
    assert reset.details["step"] == 1070
    assert modes[-2:] == ["Aggressive", "Stable"]

    before = controller.weights
    drive(controller, 1071, 1140, blurry)
    assert before[2] - controller.weights[2] == pytest.approx(0.01)
    assert controller.take_changes()[-1].reason == "back to the configured weights"


def test_the_way_back_arrives() -> None:
    controller = controller_of(replace(QUICK, adaptive_lr_boost=False))
    drive(controller, 1, 1070, blurry)

    drive(controller, 1071, 3500, lambda step: observed(step, sharpness=0.8))

    assert controller.weights == pytest.approx(UNMOVED)


def test_after_a_way_back_sharpness_moves_nothing_for_5000_steps() -> None:
    controller = controller_of(replace(QUICK, adaptive_lr_boost=False))
    drive(controller, 1, 2500, blurry)
    assert controller.weights == pytest.approx(UNMOVED)
    controller.take_changes()

    drive(controller, 2501, 6069, blurry)
    assert set(kinds(controller)) == {"safety reset"}
    drive(controller, 6070, 6100, blurry)

    assert "weights" in kinds(controller)


def test_a_resume_does_not_end_that_rest() -> None:
    controller, resumed = (controller_of(replace(QUICK, adaptive_lr_boost=False)) for _ in range(2))
    drive(controller, 1, 2500, blurry)

    resumed.restore(controller.state())
    drive(resumed, 2501, 2700, blurry)

    assert "weights" not in kinds(resumed)


def test_a_plateau_of_sharp_enough_output_keeps_its_weights() -> None:
    controller = controller_of(replace(QUICK, adaptive_lr_boost=False))
    drive(controller, 1, 400, blurry)
    moved = controller.weights

    drive(controller, 401, 3000, lambda step: observed(step, sharpness=0.8))

    assert controller.weights == moved
    resets = [change.reason for change in controller.take_changes() if change.kind == "safety reset"]
    assert len(resets) > 1
    assert all(reason.endswith("; the weights are kept") for reason in resets)


def test_aggressive_ends_when_the_output_is_sharp_and_counts_anew() -> None:
    controller = controller_of(replace(QUICK, adaptive_lr_boost=False))
    drive(controller, 1, 800, blurry)
    assert controller.report()["adaptive_mode"] == "Aggressive"
    before = controller.weights

    drive(controller, 801, 850, lambda step: observed(step, sharpness=0.8))

    assert controller.report()["adaptive_mode"] == "Stable"
    assert controller.report()["adaptive_plateau_counter"] < 30
    assert controller.weights == before


def test_a_plateau_boosts_the_learning_rate_which_decays_over_boost_steps() -> None:
    controller = controller_of(replace(QUICK, max_steps=1300))
    schedule = LrSchedule.of(replace(QUICK, max_steps=1300))

    drive(controller, 1, 760, observed)

    (boost,) = [change for change in controller.take_changes() if change.kind == "boost"]
    assert boost.details["step"] == 760
    low = schedule.learning_rate(760)
    assert controller.learning_rate(760) == pytest.approx(min(3 * low, QUICK.max_lr))
    assert controller.phase(760) == "plateau_boost"
    assert controller.report()["adaptive_plateau_counter"] == 0
    middle = schedule.learning_rate(1010) + boost.details["height"] / 2
    assert controller.learning_rate(1010) == pytest.approx(middle)
    assert (controller.phase(1259), controller.phase(1260)) == ("plateau_boost", "cosine")
    assert controller.learning_rate(1260) == pytest.approx(schedule.learning_rate(1260))


def test_boosts_rest_a_thousand_steps_after_the_end_of_one() -> None:
    controller = controller_of(replace(QUICK, max_steps=2800))
    began: list[int] = []
    available: dict[int, bool] = {}

    def note(steps_done: int) -> None:
        began.extend(steps_done for change in controller.take_changes() if change.kind == "boost")
        available[steps_done] = controller.report()["adaptive_lr_boost_available"]

    drive(controller, 1, 2800, observed, after=note)

    assert began == [760, 2260]
    assert [available[step] for step in (140, 150, 750, 760, 2250, 2260)] == [False, False, True, False, False, False]


def test_no_boost_begins_that_would_outlast_the_run() -> None:
    controller = controller_of(replace(QUICK, max_steps=1259))

    drive(controller, 1, 1259, observed)

    assert "boost" not in kinds(controller)
    assert controller.learning_rate(1259) == pytest.approx(QUICK.min_lr)


def test_a_boost_is_over_at_the_end_of_a_run_that_was_shortened_meanwhile() -> None:
    controller = controller_of(replace(QUICK, max_steps=1300))
    drive(controller, 1, 760, observed)

    controller.configure(replace(QUICK, max_steps=900), {})

    assert controller.phase(899) == "plateau_boost"
    assert controller.learning_rate(900) == pytest.approx(QUICK.min_lr)


def test_near_the_top_of_the_cosine_a_plateau_does_not_boost() -> None:
    controller = controller_of(replace(QUICK, max_steps=1_000_000))

    drive(controller, 1, 1500, observed)

    assert "boost" not in kinds(controller)
    assert not controller.report()["adaptive_lr_boost_available"]


def test_a_plateau_does_not_boost_while_the_learning_rate_warms_up() -> None:
    controller = controller_of(replace(QUICK, warmup_steps=5000))

    drive(controller, 1, 1500, observed)

    assert controller.report()["adaptive_lr_boost_available"] is False
    assert "boost" not in kinds(controller)


def test_the_boosted_rate_never_exceeds_max_lr() -> None:
    controller = controller_of(replace(QUICK, max_steps=1300))
    drive(controller, 1, 760, observed)

    controller.configure(replace(QUICK, max_steps=100_000), {})

    assert all(controller.learning_rate(step) <= QUICK.max_lr for step in range(760, 1300))


def test_lr_scale_multiplies_schedule_and_boost_and_is_a_phase_of_its_own() -> None:
    controller = controller_of()
    scheduled = controller.learning_rate(5000)

    controller.configure(replace(QUICK, lr_scale=0.5), {})

    assert controller.learning_rate(5000) == pytest.approx(scheduled / 2)
    assert controller.phase(5000) == "manual"
    controller.configure(QUICK, {})
    assert (controller.phase(0), controller.phase(5000)) == ("warmup", "cosine")


def test_the_perceptual_weight_rises_by_a_hundredth_per_block_and_its_trend_is_told() -> None:
    controller = controller_of(replace(QUICK, perceptual_weight=0.1), has_perceptual=True)

    drive(controller, 1, 190, lambda step: observed(step, l1=0.005))

    start = 0.1 / 1.1
    assert controller.weights[3] == pytest.approx(start + 0.05)
    assert controller.report()["adaptive_perceptual_trend"] == pytest.approx(0.05 / 100)
    changes = [change for change in controller.take_changes() if change.kind == "perceptual"]
    assert [change.reason for change in changes] == ["rises: the mean L1 term is 0.0050"]
    drive(controller, 191, 1000, lambda step: observed(step, l1=0.005))
    assert controller.weights[3] == pytest.approx(0.2)
    assert controller.report()["adaptive_perceptual_trend"] == 0


def test_a_perceptual_term_that_is_off_never_gets_a_weight() -> None:
    absent = controller_of(replace(QUICK, perceptual_weight=0.1), has_perceptual=False)
    unweighted = controller_of(replace(QUICK, perceptual_weight=0.0), has_perceptual=True)

    for controller in (absent, unweighted):
        drive(controller, 1, 2000, lambda step: observed(step, l1=0.001, sharpness=0.6))
        assert controller.weights[3] == 0


def test_a_better_validation_ends_the_count() -> None:
    controller = controller_of()
    drive(controller, 1, 700, observed)
    controller.note_quality(0.5)
    drive(controller, 701, 720, observed)
    counted = controller.report()["adaptive_plateau_counter"]

    controller.note_quality(math.nan)
    assert controller.report()["adaptive_plateau_counter"] == counted > 0
    controller.note_quality(0.6)

    assert controller.report()["adaptive_plateau_counter"] == 0


def test_a_validation_in_warm_up_or_settling_sets_no_mark() -> None:
    controller = controller_of()
    drive(controller, 1, 140, observed)
    before = controller.state()

    controller.note_quality(0.9)

    assert controller.state() == before


def test_the_plateau_is_looked_for_in_the_loss_under_the_configured_weights() -> None:
    controller = controller_of()

    drive(controller, 1, 700, lambda step: Observation(step, (0.05, 0.05, 0.1, 0.0), 0.6, 1.0))

    assert controller.weights[2] > 0.22
    assert controller.state()["memory"]["plateau"]["mean"] == pytest.approx(0.6 * 0.05 + 0.2 * 0.05 + 0.2 * 0.1)


def test_switched_off_nothing_is_moved_and_the_mode_is_stable() -> None:
    controller = controller_of(FIXED)

    drive(controller, 1, 3000, blurry)

    assert controller.weights == pytest.approx(UNMOVED)
    assert controller.grad_clip == 1.5
    assert controller.report()["adaptive_mode"] == "Stable"
    assert controller.report()["adaptive_lr_boost_available"] is False
    assert set(kinds(controller)) == {"mode"}


def test_switching_off_leaves_aggressive_at_once_and_goes_back_by_limited_moves() -> None:
    controller = controller_of()
    drive(controller, 1, 800, blurry)
    moved = controller.weights
    controller.take_changes()

    controller.configure(FIXED, {})

    assert controller.report()["adaptive_mode"] == "Stable"
    assert [change.reason for change in controller.take_changes()] == ["ADAPTIVE_LOSS_WEIGHTS is off"]
    assert controller.weights == moved
    drive(controller, 801, 3000, blurry)
    assert controller.weights == pytest.approx(UNMOVED)


def test_a_pinned_weight_and_clip_are_in_force_until_given_back() -> None:
    controller = controller_of()
    drive(controller, 1, 300, blurry)
    own, clip = controller.weights, controller.grad_clip

    controller.configure(QUICK, {"l1_weight": 0.8, "initial_grad_clip": 0.3})
    assert controller.weights[0] == 0.8
    assert controller.grad_clip == 0.3
    assert controller.weights[1] / controller.weights[2] == pytest.approx(own[1] / own[2])

    controller.configure(QUICK, {})
    assert controller.weights == own
    assert controller.grad_clip == clip


def test_while_the_gradient_weight_is_pinned_the_sharpness_rule_rests() -> None:
    config = replace(QUICK, adaptive_lr_boost=False, plateau_safety_threshold=10_000)
    controller = controller_of(config)
    controller.configure(config, {"grad_weight": 0.4})

    drive(controller, 1, 2000, blurry)

    assert controller.weights == pytest.approx((0.45, 0.15, 0.4, 0))
    assert set(kinds(controller)) == {"mode"}
    assert controller.report()["adaptive_mode"] == "Stable"


def test_a_pinned_perceptual_weight_is_not_moved() -> None:
    config = replace(QUICK, perceptual_weight=0.1)
    controller = controller_of(config, has_perceptual=True)
    controller.configure(config, {"perceptual_weight": 0.08})

    drive(controller, 1, 1000, lambda step: observed(step, l1=0.001, sharpness=0.6))
    assert controller.weights[3] == 0.08
    assert "weights" in kinds(controller)
    controller.configure(config, {})

    assert controller.weights[3] == pytest.approx(0.1 / 1.1)


def test_a_step_that_is_not_finite_teaches_nothing() -> None:
    clean, spoilt = controller_of(), controller_of()

    def spoil(step: int) -> list[Observation]:
        return [observed(step, loss=math.nan), observed(step, grad_norm=math.inf), observed(step, sharpness=math.nan)]

    for steps_done in range(10, 1500, 10):
        block = [blurry(step) for step in range(steps_done - 9, steps_done + 1)]
        clean.advance(block, steps_done)
        spoilt.advance([each for step in block for each in (*spoil(step.step), step)], steps_done)

    assert spoilt.state() == clean.state()


def test_a_block_without_a_finite_step_decides_nothing() -> None:
    controller = controller_of()
    drive(controller, 1, 240, blurry)
    before = controller.weights

    drive(controller, 241, 600, lambda step: observed(step, loss=math.nan))

    assert controller.weights == before
    assert controller.report()["adaptive_is_cooldown"] is False


def test_other_configured_weights_after_a_resume_are_gone_to_step_by_step() -> None:
    controller = controller_of()
    drive(controller, 1, 700, observed)
    resumed = controller_of(replace(QUICK, l1_weight=0.5, grad_weight=0.3))

    resumed.restore(controller.state())
    assert resumed.weights == controller.weights
    assert resumed.report()["adaptive_plateau_counter"] == 0
    drive(resumed, 701, 2000, observed)

    assert resumed.weights == pytest.approx((0.5, 0.2, 0.3, 0))


def test_other_configured_weights_begin_the_search_for_plateaus_anew() -> None:
    controller = controller_of()
    drive(controller, 1, 700, observed)
    assert controller.report()["adaptive_plateau_counter"] > 0

    controller.configure(replace(QUICK, l1_weight=0.5, grad_weight=0.3), {})

    assert controller.report()["adaptive_plateau_counter"] == 0


def test_a_resume_repeats_neither_warm_up_nor_settling() -> None:
    controller = controller_of()
    drive(controller, 1, 700, blurry)
    resumed = controller_of()
    drive(resumed, 1, 100, observed)

    resumed.restore(json.loads(json.dumps(controller.state())))

    assert resumed.report() == controller.report()
    assert resumed.report()["adaptive_mode"] == "Stable"
    assert resumed.take_changes() == []


@pytest.mark.parametrize(
    ("broken", "complaint"),
    [
        ({}, "lacks 'version'"),
        ({"version": 99}, "version 99, but only 1 is understood"),
        ({"version": 1}, "lacks 'memory'"),
        ({"version": 1, "memory": [1]}, r"state.memory is \[1\], but must be a mapping"),
    ],
)
def test_a_state_it_cannot_understand_is_refused(broken: dict[str, object], complaint: str) -> None:
    controller = controller_of()
    drive(controller, 1, 400, blurry)
    before = controller.state()

    with pytest.raises(ValueError, match=complaint):
        controller.restore(broken)

    assert controller.state() == before


def test_a_state_that_is_broken_in_its_last_part_changes_nothing() -> None:
    controller, other = controller_of(), controller_of()
    drive(controller, 1, 400, blurry)
    state = controller.state()
    state["balance"]["is_returning"] = "no"
    before = other.state()

    with pytest.raises(ValueError, match=r"'is_returning' in .*\.balance is 'no'"):
        other.restore(state)

    assert other.state() == before


def test_a_state_fits_easily_into_a_checkpoint() -> None:
    controller = controller_of(replace(QUICK, perceptual_weight=0.1), has_perceptual=True)
    drive(controller, 1, 1500, blurry)

    assert len(json.dumps(controller.state())) < 20_000


def test_no_module_of_the_package_imports_torch(repository: Path) -> None:
    for path in (repository / "ddp" / "adaptive").glob("*.py"):
        assert "torch" not in path.read_text(), path.name
