"""Settings that change while a run goes on: which can, to which values, and what a resume makes of the changes.

Most simply replace the value that the run was started with. The loss weights and the gradient clip belong to the
adaptive controller: a number holds (pins) one of them against it, `adaptive` gives it back. A change is checked as a
whole and either taken as a whole or not at all.
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
"""Settings whose value at the start a run can replace."""

WEIGHTS: tuple[str, ...] = tuple(term.setting for term in LOSS_TERMS)
PINNABLE: tuple[str, ...] = (*WEIGHTS, "INITIAL_GRAD_CLIP")
"""Settings that the controller moves: a number holds one, `ADAPTIVE` gives it back."""

SUM_TOLERANCE = 1e-6
"""How far from 1 the sum of all weights may be when all are held."""
ROUNDING = 1e-9


@dataclass(frozen=True)
class LiveSettings:
    """What a run was started with and what has been set since: `changes` by capital names, pins among them."""

    start: RunConfig
    changes: Mapping[str, Value] = field(default_factory=dict)

    @property
    def config(self) -> RunConfig:
        """The settings in force, but for what is held against the controller."""
        replaced = {name.lower(): value for name, value in self.changes.items() if name not in PINNABLE}
        return replace(self.start, **replaced)  # type: ignore[arg-type]  # `read_changes` checked names and types

    @property
    def pins(self) -> Mapping[str, float]:
        """What is held against the controller: absolute values by lower-case names."""
        return {name.lower(): cast(float, self.changes[name]) for name in PINNABLE if name in self.changes}

    def changed(self, wanted: Mapping[str, Any], *, step: int, has_perceptual: bool) -> "LiveSettings":
        """These settings with `wanted` ({KEY: value or text}) on top, for a run that has made `step` steps.

        Raises `CommandError` when a key is unknown or read at the start only, a value is of the wrong type or out of
        range, or the result contradicts itself; then nothing of it applies.
        """
        given = read_changes(wanted)
        max_steps = cast(int, given.get("MAX_STEPS", step + 1))
        if max_steps <= step:
            raise CommandError(
                f"MAX_STEPS is {max_steps}, but must be above the run's step, which is {step}; "
                "give a larger number, or end the run with `stop`."
            )
        return self._with(given, has_perceptual)

    def state(self) -> dict[str, Any]:
        """Plain values, for the store and for checkpoints: the changes, and the start's value that each replaced."""
        replaced = {name: getattr(self.start, name.lower()) for name in self.changes}
        return {"changes": dict(self.changes), "replaced": replaced}

    @classmethod
    def resumed(cls, start: RunConfig, state: Mapping[str, Any]) -> "tuple[LiveSettings, list[str]]":
        """The settings of a run that goes on under a new start, and a sentence for every change that is gone.

        A change survives, unless the new start gives that setting another value than the old one did, or it is no
        longer possible.
        """
        changes, replaced = state.get("changes", {}), state.get("replaced", {})
        kept: dict[str, Value] = {}
        gone: dict[str, CommandError] = {}
        for name, value in changes.items():
            try:
                kept.update(_surviving(start, name, value, replaced.get(name)))
            except CommandError as error:
                gone[name] = error
        settings, impossible = cls(start)._with_possible(kept)
        reasons = {**gone, **impossible}
        return settings, [f"{name}={changes[name]}, set while running, is dropped: {reasons[name]}" for name in reasons]

    @classmethod
    def of_run(cls, config: Mapping[str, Any], live: Mapping[str, Any] | None) -> Self:
        """The settings of a row of the store: `config` as `as_text` wrote it, `live` as `state` did.

        Raises `CommandError` when another version wrote values that this one cannot understand.
        """
        with _refusing():
            start = RunConfig(**{name.lower(): convert(name, config[name]) for name in NAMES if name in config})  # type: ignore[arg-type]
        changes = (live or {}).get("changes", {})
        return cls(start, {name: changes[name] for name in (*CHANGEABLE, *PINNABLE) if name in changes})

    def _with(self, given: Mapping[str, Value], has_perceptual: bool) -> "LiveSettings":
        merged = {**self.changes, **given}
        changes = {name: value for name, value in merged.items() if self._differs(name, value)}
        settings = LiveSettings(self.start, changes)
        with _refusing():
            _ = settings.config  # its construction refuses contradictions
        pins = settings.pins
        _check_weights({name: pins[name.lower()] for name in WEIGHTS if name in changes}, has_perceptual)
        return settings

    def _differs(self, name: str, value: Value) -> bool:
        """Whether a value is anything else than what the start gave."""
        return value != ADAPTIVE if name in PINNABLE else value != getattr(self.start, name.lower())

    def _with_possible(self, given: Mapping[str, Value]) -> "tuple[LiveSettings, dict[str, CommandError]]":
        """As many of the changes as go together, and why each of the others does not."""
        settings, refused = self, dict.fromkeys(given, CommandError("it was not tried yet."))
        for _ in given:  # one that is refused may be possible once another is in force
            for name in list(refused):
                try:
                    settings = settings._with({name: given[name]}, self.start.perceptual_weight > 0)
                    del refused[name]
                except CommandError as error:
                    refused[name] = error
        return settings, refused


def read_changes(wanted: Mapping[str, Any]) -> dict[str, Value]:
    """{canonical name: value} of settings that can change, each of its type and in its range; `ADAPTIVE` gives back.

    Raises `CommandError` in one sentence otherwise.
    """
    changes: dict[str, Value] = {}
    for key, raw in wanted.items():
        name, value = _read(key, raw)
        if name in changes:
            raise CommandError(f"{name} is given twice; give it once.")
        changes[name] = value
    return changes


def allowed_text(name: str) -> str:
    """The values that a changeable setting takes, in words."""
    text = rule_of(name.lower()).range_text() or "true or false"
    return f"{text}, or {ADAPTIVE}" if name in PINNABLE else text


def _read(key: str, raw: Any) -> tuple[str, Value]:
    with _refusing():
        name = canonical_name(key)
        if name not in CHANGEABLE and name not in PINNABLE:
            raise CommandError(f"{name} is read at the start only: end the run, and start it again with another value.")
        if name in PINNABLE and (raw is None or (isinstance(raw, str) and raw.strip().lower() == ADAPTIVE)):
            return name, ADAPTIVE
        value = convert(name, raw)
        rule_of(name.lower()).check(name, value)
        return name, value


@contextmanager
def _refusing() -> Iterator[None]:
    """What is wrong with a setting is what is wrong with the command."""
    try:
        yield
    except SettingError as error:
        raise CommandError(str(error)) from None
    except OverflowError:
        raise CommandError("A number is too large for any setting; `leitstand settings` shows the ranges.") from None


def _check_weights(held: Mapping[str, float], has_perceptual: bool) -> None:
    """Raise `CommandError` when the weights that are held leave no way for all of them to sum to 1."""
    if "PERCEPTUAL_WEIGHT" in held and not has_perceptual:
        raise CommandError(
            f"PERCEPTUAL_WEIGHT is {held['PERCEPTUAL_WEIGHT']:g}, but this run has no perceptual term; "
            "start it with PERCEPTUAL_WEIGHT above 0 to have one."
        )
    total = sum(held.values())
    all_held = len(held) == 3 + has_perceptual
    if abs(total - 1) > SUM_TOLERANCE if all_held else total > 1 + ROUNDING:
        rule = "be 1 when all are held" if all_held else "not exceed 1"
        raise CommandError(
            f"{' + '.join(held)} is {total:.9g}, but must {rule}; change one, or give one back with `{ADAPTIVE}`."
        )


def _surviving(start: RunConfig, name: str, value: Any, replaced: Any) -> dict[str, Value]:
    """The change as it was; raises `CommandError` when it is unknown now, or the new start says something else."""
    change = read_changes({name: value})
    present = getattr(start, name.lower())
    if present not in (replaced, value):
        raise CommandError(f"the new start gives {present} instead of {replaced}.")
    return change
