"""Settings that change while a run goes on."""

import json
import math
from dataclasses import replace
from typing import Any

import pytest

from service.config.live_settings import ADAPTIVE, CHANGEABLE, PINNABLE, LiveSettings, allowed_text, read_changes
from service.config.loader import NAMES, plain_values
from service.config.settings import RunConfig, rule_of
from service.errors import CommandError

START = RunConfig()
LIVE = LiveSettings(START)
PATIENT = LiveSettings(RunConfig(collective_timeout_seconds=1e7))
"""Settings among which STALL_SECONDS may be as large as it gets."""
AMONG_OTHERS: dict[tuple[str, float], dict[str, Any]] = {
    # What must be set along with a bound so that nothing contradicts it.
    ("MAX_LR", 1e-9): {"MIN_LR": 0},
    ("MIN_LR", 1.0): {"MAX_LR": 1},
    ("PLATEAU_SAFETY_THRESHOLD", 1): {"PLATEAU_PATIENCE": 1},
    ("PLATEAU_PATIENCE", 10**6): {"PLATEAU_SAFETY_THRESHOLD": 10**6},
}
BOUNDED = [name for name in (*CHANGEABLE, *PINNABLE) if rule_of(name.lower()).minimum is not None]
STARTUP_ONLY = sorted({*NAMES} - {*CHANGEABLE, *PINNABLE})


def change(live: LiveSettings = LIVE, /, *, step: int = 0, has_perceptual: bool = True, **wanted: Any) -> LiveSettings:
    return live.with_changes(wanted, step=step, has_perceptual=has_perceptual)


def refusal(live: LiveSettings = LIVE, /, *, step: int = 0, has_perceptual: bool = True, **wanted: Any) -> str:
    """The sentence with which a change is refused."""
    with pytest.raises(CommandError) as refused:
        live.with_changes(wanted, step=step, has_perceptual=has_perceptual)
    sentence = str(refused.value)
    assert "\n" not in sentence
    assert sentence[-1] in ".?"
    return sentence


def in_force(live: LiveSettings, name: str) -> Any:
    return live.pins[name.lower()] if name in PINNABLE else getattr(live.config, name.lower())


def bounds(name: str) -> tuple[float, float]:
    rule = rule_of(name.lower())
    assert rule.minimum is not None
    assert rule.maximum is not None
    return rule.minimum, rule.maximum


def test_every_setting_that_can_change_is_a_setting_and_has_bounds_or_is_a_switch() -> None:
    assert len({*CHANGEABLE, *PINNABLE}) == len(CHANGEABLE) + len(PINNABLE) == 23
    assert {*CHANGEABLE, *PINNABLE} <= {*NAMES}
    switches = {name for name in CHANGEABLE if RunConfig.__annotations__[name.lower()] is bool}
    assert {*BOUNDED} | switches == {*CHANGEABLE, *PINNABLE}


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("name", BOUNDED)
def test_a_bound_is_allowed_and_takes_effect(name: str, which: int) -> None:
    bound = bounds(name)[which]
    whole = RunConfig.__annotations__[name.lower()] is int
    value = int(bound) if whole else bound

    changed = PATIENT.with_changes({**AMONG_OTHERS.get((name, bound), {}), name: value}, step=0, has_perceptual=True)

    assert in_force(changed, name) == value
    assert type(in_force(changed, name)) is (int if whole else float)


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("name", BOUNDED)
def test_beyond_a_bound_is_refused_with_value_and_range(name: str, which: int) -> None:
    whole = RunConfig.__annotations__[name.lower()] is int
    bound = bounds(name)[which]
    toward = math.inf if which else -math.inf
    value = int(bound) + (1 if which else -1) if whole else math.nextafter(bound, toward)

    sentence = refusal(**{name: value})

    assert sentence == f"{name} is {value}, but must be {rule_of(name.lower()).range_text()}."


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, "nan", "-inf", 10**400])
@pytest.mark.parametrize("name", BOUNDED)
def test_what_is_no_finite_number_is_refused(name: str, value: Any) -> None:
    assert name in (sentence := refusal(**{name: value})) or "too large for any setting" in sentence


@pytest.mark.parametrize("value", ["much", True, [1], {"a": 1}, "", "1,5"])
@pytest.mark.parametrize("name", BOUNDED)
def test_a_value_of_another_type_is_refused(name: str, value: Any) -> None:
    assert refusal(**{name: value}).startswith(f"{name} is {value!r}, but must be a")


@pytest.mark.parametrize("name", CHANGEABLE)
@pytest.mark.parametrize("value", [None, ADAPTIVE])
def test_only_what_the_controller_moves_can_be_given_back_to_it(name: str, value: Any) -> None:
    assert refusal(**{name: value}).startswith(f"{name} is {value!r}, but must be ")


@pytest.mark.parametrize("name", STARTUP_ONLY)
def test_a_setting_of_the_start_is_refused_as_such(name: str) -> None:
    assert refusal(**{name: plain_values(START)[name]}).startswith(f"{name} is read at the start only: ")


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("MAXLR", "Did you mean MAX_LR?"), ("lr-scale", "Did you mean LR_SCALE?"), ("", "`leitstand settings --all`"),
        ("HIST_STEP_EVERY", "has no effect here"), ("changes", "Unknown setting 'changes'."),
    ],
)  # fmt: skip
def test_an_unknown_setting_is_refused_with_the_nearest_right_one(key: str, words: str) -> None:
    assert words in refusal(**{key: 1})


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"MIN_LR": 1e-3}, "MIN_LR is 0.001, but must not exceed MAX_LR, which is 0.0001."),
        ({"MAX_LR": 1e-7}, "MIN_LR is 1e-06, but must not exceed MAX_LR, which is 1e-07."),
        ({"PLATEAU_PATIENCE": 801}, "must not be below PLATEAU_PATIENCE, which is 801."),
        ({"PLATEAU_SAFETY_THRESHOLD": 249}, "PLATEAU_SAFETY_THRESHOLD is 249, but must not be below"),
        ({"L1_WEIGHT": 0.7, "MS_WEIGHT": 0.4}, "L1_WEIGHT + MS_WEIGHT is 1.1, but must not exceed 1;"),
        ({"L1_WEIGHT": 0.5, "MS_WEIGHT": 0.5 + 1e-6}, "L1_WEIGHT + MS_WEIGHT is 1.000001, but must not exceed 1;"),
        ({"L1_WEIGHT": 0.4, "MS_WEIGHT": 0.2, "GRAD_WEIGHT": 0.2, "PERCEPTUAL_WEIGHT": 0.1}, "is 0.9, but must be 1"),
    ],
)  # fmt: skip
def test_what_contradicts_itself_is_refused(wanted: dict[str, Any], words: str) -> None:
    assert words in refusal(**wanted)


def test_one_wrong_value_keeps_all_from_applying() -> None:
    live = change(LR_SCALE=0.5)

    refusal(live, LR_SCALE=0.25, VAL_STEP_EVERY=50, L1_WEIGHT=0.5, SAVE_BEST="perhaps")

    assert live == LiveSettings(START, {"LR_SCALE": 0.5})


def test_what_is_only_possible_together_is_taken_together() -> None:
    live = change(MIN_LR=1e-3, MAX_LR=1e-2)
    lower = change(live, MAX_LR=1e-8, MIN_LR=1e-9)

    assert (live.config.min_lr, live.config.max_lr) == (1e-3, 1e-2)
    assert (lower.config.min_lr, lower.config.max_lr) == (1e-9, 1e-8)


def test_later_changes_add_to_earlier_ones_and_are_checked_against_them() -> None:
    live = change(change(MAX_LR=1e-3), MIN_LR=5e-4)

    assert live.changes == {"MAX_LR": 1e-3, "MIN_LR": 5e-4}
    assert "MAX_LR, which is 0.0001" in refusal(live, MAX_LR=1e-4)
    assert "L1_WEIGHT + MS_WEIGHT is 1.2" in refusal(change(L1_WEIGHT=0.6), MS_WEIGHT=0.6)


def test_names_are_understood_in_any_case_and_by_their_other_names() -> None:
    live = change(val_step_every="250", SAVE_STEP_EVERY=50, grad_clip=2)

    assert live.changes == {"VAL_STEP_EVERY": 250, "CHECKPOINT_EVERY": 50, "INITIAL_GRAD_CLIP": 2.0}
    assert "is given twice" in refusal(MAX_LR=1e-3, max_lr=1e-3)


def test_the_value_of_the_start_is_no_change() -> None:
    live = change(change(LR_SCALE=0.5, SAVE_BEST=False), LR_SCALE=1, SAVE_BEST="true", LOG_EVERY=100)

    assert live == LIVE


@pytest.mark.parametrize("step", [0, 5, 4200])
def test_max_steps_must_be_above_the_step(step: int) -> None:
    assert change(step=step, MAX_STEPS=step + 1).config.max_steps == step + 1
    if step:
        assert f"MAX_STEPS is {step}, but must be above" in refusal(step=step, MAX_STEPS=step)


def test_other_changes_are_possible_at_the_last_step() -> None:
    assert change(step=START.max_steps, LR_SCALE=0.5).config.lr_scale == 0.5


@pytest.mark.parametrize("name", PINNABLE)
@pytest.mark.parametrize("give_back", [None, "adaptive", " Adaptive "])
def test_a_pin_holds_a_value_until_it_is_given_back(name: str, give_back: Any) -> None:
    pinned = change(**{name: 0.125})

    assert pinned.pins == {name.lower(): 0.125}
    assert pinned.config == START, "what the controller starts from stays"
    assert change(pinned, **{name: give_back}) == LIVE
    assert change(**{name: give_back}) == LIVE, "giving back what nobody holds is no error"


def test_a_pin_at_the_value_of_the_start_is_one_nevertheless() -> None:
    assert change(L1_WEIGHT=START.l1_weight).pins == {"l1_weight": 0.6}


@pytest.mark.parametrize(
    ("has_perceptual", "weights"),
    [
        (False, {"L1_WEIGHT": 0.6, "MS_WEIGHT": 0.3, "GRAD_WEIGHT": 0.1}),
        (False, {"L1_WEIGHT": 0.7, "MS_WEIGHT": 0.2, "GRAD_WEIGHT": 0.1 + 9e-7}),
        (True, {"L1_WEIGHT": 0.1, "MS_WEIGHT": 0.2, "GRAD_WEIGHT": 0.5}),
        (True, {"L1_WEIGHT": 0.5, "MS_WEIGHT": 0.2, "GRAD_WEIGHT": 0.1, "PERCEPTUAL_WEIGHT": 0.2}),
        (True, {"L1_WEIGHT": 0.9, "PERCEPTUAL_WEIGHT": 0.1}),
        (True, {"L1_WEIGHT": 0, "PERCEPTUAL_WEIGHT": 0}),
        (False, {"L1_WEIGHT": 1, "MS_WEIGHT": 0}),
    ],
)
def test_weights_that_can_sum_to_one_can_be_held(has_perceptual: bool, weights: dict[str, float]) -> None:
    assert len(change(has_perceptual=has_perceptual, **weights).pins) == len(weights)


def test_all_weights_without_a_perceptual_term_are_three() -> None:
    assert "is 0.9, but must be 1 when all are held" in refusal(
        has_perceptual=False, L1_WEIGHT=0.5, MS_WEIGHT=0.2, GRAD_WEIGHT=0.2
    )


@pytest.mark.parametrize("value", [0, 0.1])
def test_a_perceptual_term_that_is_not_there_cannot_be_weighted(value: float) -> None:
    assert f"PERCEPTUAL_WEIGHT is {value:g}, but this run has no perceptual term" in refusal(
        has_perceptual=False, PERCEPTUAL_WEIGHT=value
    )
    assert change(has_perceptual=False, PERCEPTUAL_WEIGHT=ADAPTIVE) == LIVE


def test_the_state_is_plain_json_and_brings_the_changes_back() -> None:
    live = change(MAX_LR=1e-3, SAVE_BEST=False, L1_WEIGHT=0.5, KEEP_CHECKPOINTS=0)

    state = json.loads(json.dumps(live.state()))

    assert state == {
        "changes": {"MAX_LR": 1e-3, "SAVE_BEST": False, "L1_WEIGHT": 0.5, "KEEP_CHECKPOINTS": 0},
        "replaced": {"MAX_LR": 1e-4, "SAVE_BEST": True, "L1_WEIGHT": 0.6, "KEEP_CHECKPOINTS": 5},
    }
    assert LiveSettings.resumed(START, state) == (live, [])
    assert LiveSettings.of_run(json.loads(json.dumps(plain_values(START))), state) == live


@pytest.mark.parametrize("state", [{}, {"changes": {}, "replaced": {}}])
def test_a_run_without_changes_resumes_without_any(state: dict[str, Any]) -> None:
    assert LiveSettings.resumed(START, state) == (LIVE, [])


def test_another_value_of_the_start_wins_and_is_named() -> None:
    state = change(MAX_LR=1e-3, LR_SCALE=0.5, L1_WEIGHT=0.5).state()

    live, gone = LiveSettings.resumed(replace(START, max_lr=2e-4, l1_weight=0.7), state)

    assert live.changes == {"LR_SCALE": 0.5}
    assert live.config.max_lr == 2e-4
    assert gone == [
        "MAX_LR=0.001, set while running, is dropped: the new start gives 0.0002 instead of 0.0001.",
        "L1_WEIGHT=0.5, set while running, is dropped: the new start gives 0.7 instead of 0.6.",
    ]


def test_other_settings_of_a_new_start_leave_the_changes_alone() -> None:
    live, gone = LiveSettings.resumed(replace(START, batch_size=8, log_every=50), change(LR_SCALE=0.5).state())

    assert (live.changes, live.config.log_every, gone) == ({"LR_SCALE": 0.5}, 50, [])


def test_a_start_that_gives_what_was_set_needs_no_change_any_more() -> None:
    live, gone = LiveSettings.resumed(replace(START, max_lr=1e-3), change(MAX_LR=1e-3).state())

    assert (live.changes, live.config.max_lr, gone) == ({}, 1e-3, [])


def test_a_change_that_the_new_start_makes_impossible_is_dropped_and_the_others_stay() -> None:
    state = change(MIN_LR=5e-5, LR_SCALE=0.5, COOLDOWN_DURATION=1, PLATEAU_PATIENCE=700).state()

    live, gone = LiveSettings.resumed(replace(START, max_lr=2e-5, plateau_safety_threshold=600), state)

    assert live.changes == {"LR_SCALE": 0.5, "COOLDOWN_DURATION": 1}
    assert [sentence.partition(",")[0] for sentence in gone] == ["MIN_LR=5e-05", "PLATEAU_PATIENCE=700"]
    assert "must not exceed MAX_LR, which is 2e-05." in gone[0]


def test_changes_that_need_each_other_survive_in_whatever_order_they_were_made() -> None:
    live = change(MIN_LR=1e-3, MAX_LR=1e-2, PLATEAU_PATIENCE=900, PLATEAU_SAFETY_THRESHOLD=900)

    assert LiveSettings.resumed(START, live.state()) == (live, [])


def test_a_pin_of_the_perceptual_weight_does_not_outlive_its_term() -> None:
    start = RunConfig(perceptual_weight=0.1)
    state = LiveSettings(start).with_changes({"PERCEPTUAL_WEIGHT": 0.2}, step=0, has_perceptual=True).state()

    assert LiveSettings.resumed(start, state)[0].pins == {"perceptual_weight": 0.2}
    live, gone = LiveSettings.resumed(START, state)
    assert (live.pins, len(gone)) == ({}, 1)


@pytest.mark.parametrize("name", ["N_FEATS", "A_SETTING_OF_TOMORROW"])
def test_a_change_that_another_version_knew_is_dropped_by_name(name: str) -> None:
    live, gone = LiveSettings.resumed(START, {"changes": {name: 1, "LR_SCALE": 0.5}, "replaced": {"LR_SCALE": 1.0}})

    assert live.changes == {"LR_SCALE": 0.5}
    assert [sentence.startswith(f"{name}=1, set while running, is dropped: ") for sentence in gone] == [True]


def test_the_row_of_a_run_of_another_version_is_understood_as_far_as_it_goes() -> None:
    live = LiveSettings.of_run(
        {"MAX_STEPS": 20, "OF_TOMORROW": 1, "API_TOKEN": "(set)"}, {"changes": {"NEW": 1, "LR_SCALE": 2.0}}
    )

    assert (live.start.max_steps, live.changes) == (20, {"LR_SCALE": 2.0})
    assert LiveSettings.of_run({}, None) == LIVE
    with pytest.raises(CommandError, match="MAX_STEPS is 'many'"):
        LiveSettings.of_run({"MAX_STEPS": "many"}, None)


def test_what_is_allowed_reads_as_words() -> None:
    assert allowed_text("LR_SCALE") == "between 0 and 100"
    assert allowed_text("SAVE_BEST") == "true or false"
    assert allowed_text("L1_WEIGHT") == "between 0 and 1, or adaptive"


def test_reading_changes_twice_changes_nothing() -> None:
    once = read_changes({"max_lr": "1e-3", "L1_WEIGHT": None, "save_best": "off", "LOG_EVERY": "20"})

    assert read_changes(once) == once == {"MAX_LR": 1e-3, "L1_WEIGHT": ADAPTIVE, "SAVE_BEST": False, "LOG_EVERY": 20}
