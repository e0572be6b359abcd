"""Settings that can change during a run: their names and values, and which changes a resumed run keeps.

Most changes replace the setting's value at the start. The loss weights and the gradient clip are controlled by the
adaptive controller: a number pins one of them to that value, `adaptive` unpins it. A change of several settings is
checked and applied as a whole or not at all.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Self, cast

from service.config.loader import NAMES, canonical_name, convert
from service.config.settings import RunConfig, Value, rule_of
from service.errors import CommandError, SettingError
from service.loss_terms import LOSS_TERMS

ADAPTIVE = "adaptive"

CHANGEABLE: tuple[str, ...] = (
    "LR_SCALE", "MAX_LR", "MIN_LR", "MAX_STEPS", "VAL_STEP_EVERY", "LOG_EVERY", "CHECKPOINT_EVERY", "KEEP_CHECKPOINTS",
    "SAVE_BEST", "PLATEAU_PATIENCE", "PLATEAU_SAFETY_THRESHOLD", "COOLDOWN_DURATION", "BOOST_STEPS",
    "ADAPTIVE_LOSS_WEIGHTS", "ADAPTIVE_GRAD_CLIP", "ADAPTIVE_LR_BOOST", "NONFINITE_LIMIT", "STALL_SECONDS",
)  # fmt: skip
"""Settings whose value at the start can be replaced during a run."""

WEIGHTS: tuple[str, ...] = tuple(term.setting for term in LOSS_TERMS)
PINNABLE: tuple[str, ...] = (*WEIGHTS, "INITIAL_GRAD_CLIP")
"""Settings that the controller adjusts: a number pins one, `ADAPTIVE` unpins it."""

SUM_TOLERANCE = 1e-6
"""Maximum deviation of the sum of all weights from 1 if all are pinned."""
ROUNDING = 1e-9


@dataclass(frozen=True)
class LiveSettings:
    """The settings at a run's start, and the changes since, pins included; `changes` has upper-case names."""

    start: RunConfig
    changes: Mapping[str, Value] = field(default_factory=dict)

    @property
    def config(self) -> RunConfig:
        """The effective settings, without the pins."""
        replaced = {name.lower(): value for name, value in self.changes.items() if name not in PINNABLE}
        return replace(self.start, **replaced)  # type: ignore[arg-type]  # `read_changes` checked names and types

    @property
    def pins(self) -> Mapping[str, float]:
        """The pinned values by lower-case names."""
        return {name.lower(): cast(float, self.changes[name]) for name in PINNABLE if name in self.changes}

    def with_changes(self, wanted: Mapping[str, Any], *, step: int, has_perceptual: bool) -> "LiveSettings":
        """Return these settings with the changes `wanted` ({KEY: value or text}), for a run that has made `step` steps.

        Raises `CommandError` if a key is unknown or cannot be changed during a run, a value is of the wrong type or out
        of range, or the resulting settings contradict each other; then none of the changes applies.
        """
        changes = read_changes(wanted)
        max_steps = cast(int, changes.get("MAX_STEPS", step + 1))
        if max_steps <= step:
            sentence = (
                f"MAX_STEPS is {max_steps}, but must be above the run's step, which is {step}; "
                "give a larger number, or end the run with `stop`."
            )
            given = next(key for key in wanted if canonical_name(key) == "MAX_STEPS")
            raise CommandError.of_members({given: sentence})
        try:
            return self._with(changes, has_perceptual)
        except CommandError as error:
            members = {key: error.members[name] for key in wanted if (name := canonical_name(key)) in error.members}
            raise CommandError(str(error), members) from None

    def state(self) -> dict[str, Any]:
        """Return the changes and the start value that each one replaced, as plain values for store and checkpoints."""
        replaced = {name: getattr(self.start, name.lower()) for name in self.changes}
        return {"changes": dict(self.changes), "replaced": replaced}

    @classmethod
    def resumed(cls, start: RunConfig, state: Mapping[str, Any]) -> "tuple[LiveSettings, list[str]]":
        """Return the settings of a resumed run, and a sentence for every change that was dropped.

        A change is dropped if the setting's value at the new start differs from that at the earlier start, or if the
        change is no longer valid.
        """
        changes, replaced = state.get("changes", {}), state.get("replaced", {})
        kept: dict[str, Value] = {}
        dropped: dict[str, CommandError] = {}
        for name, value in changes.items():
            try:
                kept.update(_kept_change(start, name, value, replaced.get(name)))
            except CommandError as error:
                dropped[name] = error
        settings, invalid = cls(start)._with_valid(kept)
        reasons = {**dropped, **invalid}
        return settings, [f"{name}={changes[name]}, set while running, is dropped: {reasons[name]}" for name in reasons]

    @classmethod
    def of_run(cls, config: Mapping[str, Any], live: Mapping[str, Any] | None) -> Self:
        """Return the settings in a run's row: `config` as written by `plain_values`, `live` as written by `state`.

        Raises `CommandError` if another version wrote values that this version cannot read.
        """
        with _as_command_error():
            start = RunConfig(**{name.lower(): convert(name, config[name]) for name in NAMES if name in config})  # type: ignore[arg-type]
        changes = (live or {}).get("changes", {})
        return cls(start, {name: changes[name] for name in (*CHANGEABLE, *PINNABLE) if name in changes})

    def _with(self, additional: Mapping[str, Value], has_perceptual: bool) -> "LiveSettings":
        merged = {**self.changes, **additional}
        changes = {name: value for name, value in merged.items() if self._differs(name, value)}
        settings = LiveSettings(self.start, changes)
        with _as_command_error():
            _ = settings.config  # the constructor checks for contradictions
        pins = settings.pins
        _check_weights({name: pins[name.lower()] for name in WEIGHTS if name in changes}, has_perceptual)
        return settings

    def _differs(self, name: str, value: Value) -> bool:
        """Return True if a value differs from the one at the start."""
        return value != ADAPTIVE if name in PINNABLE else value != getattr(self.start, name.lower())

    def _with_valid(self, candidates: Mapping[str, Value]) -> "tuple[LiveSettings, dict[str, CommandError]]":
        """Return the settings with as many of the changes as are valid together, and the errors of the others."""
        settings, invalid = self, dict.fromkeys(candidates, CommandError("it was not tried yet."))
        for _ in candidates:  # an invalid change may become valid after another one
            for name in list(invalid):
                try:
                    settings = settings._with({name: candidates[name]}, self.start.perceptual_weight > 0)
                    del invalid[name]
                except CommandError as error:
                    invalid[name] = error
        return settings, invalid


def read_changes(wanted: Mapping[str, Any]) -> dict[str, Value]:
    """Return {canonical name: value} of changes, each converted and checked; the value `ADAPTIVE` unpins a setting.

    Raises `CommandError` if names cannot be changed or values are not allowed; it names all of them.
    """
    changes: dict[str, Value] = {}
    wrong: dict[str, str] = {}
    for key, raw in wanted.items():
        try:
            name, value = _read(key, raw)
        except CommandError as error:
            wrong[key] = str(error)
            continue
        if name in changes:
            wrong[key] = f"{name} is given twice; give it once."
        changes[name] = value
    if wrong:
        raise CommandError.of_members(wrong)
    return changes


def allowed_text(name: str) -> str:
    """Return a description of the values that a changeable setting accepts."""
    text = rule_of(name.lower()).range_text() or "true or false"
    return f"{text}, or {ADAPTIVE}" if name in PINNABLE else text


def _read(key: str, raw: Any) -> tuple[str, Value]:
    with _as_command_error():
        name = canonical_name(key)
        if name not in CHANGEABLE and name not in PINNABLE:
            raise CommandError(f"{name} is read at the start only: end the run, and start it again with another value.")
        if name in PINNABLE and (raw is None or (isinstance(raw, str) and raw.strip().lower() == ADAPTIVE)):
            return name, ADAPTIVE
        value = convert(name, raw)
        rule_of(name.lower()).check(name, value)
        return name, value


@contextmanager
def _as_command_error() -> Iterator[None]:
    """Convert an error about a setting into `CommandError`."""
    try:
        yield
    except SettingError as error:
        raise CommandError(str(error), dict.fromkeys(error.settings, str(error))) from None
    except OverflowError:
        raise CommandError("A number is too large for any setting; `leitstand settings` shows the ranges.") from None


def _check_weights(pinned: Mapping[str, float], has_perceptual: bool) -> None:
    """Raise `CommandError` if the pinned weights make it impossible that all weights sum to 1."""
    if "PERCEPTUAL_WEIGHT" in pinned and not has_perceptual:
        text = (
            f"PERCEPTUAL_WEIGHT is {pinned['PERCEPTUAL_WEIGHT']:g}, but this run has no perceptual term; "
            "start it with PERCEPTUAL_WEIGHT above 0 to have one."
        )
        raise CommandError.of_members({"PERCEPTUAL_WEIGHT": text})
    total = sum(pinned.values())
    are_all_pinned = len(pinned) == 3 + has_perceptual
    if abs(total - 1) > SUM_TOLERANCE if are_all_pinned else total > 1 + ROUNDING:
        rule = "be 1 when all are held" if are_all_pinned else "not exceed 1"
        text = f"{' + '.join(pinned)} is {total:.9g}, but must {rule}; change one, or give one back with `{ADAPTIVE}`."
        raise CommandError(text, dict.fromkeys(pinned, text))


def _kept_change(start: RunConfig, name: str, value: Any, replaced: Any) -> dict[str, Value]:
    """Return the change; raises `CommandError` if its setting is unknown now, or has another value at the new start."""
    change = read_changes({name: value})
    present = getattr(start, name.lower())
    if present not in (replaced, value):
        raise CommandError(f"the new start gives {present} instead of {replaced}.")
    return change
