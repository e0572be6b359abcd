"""The adaptive controller: a state machine over optimizer steps, run identically on every rank from shared values.

It observes every finite step, and decides once per block of ADAPT_EVERY steps: safety reset, mode, loss weights,
boost of the learning rate, in this order. docs/adaptive.md explains its rules and numbers.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ddp.adaptive.grad_clip import GradClip
from ddp.adaptive.learning_rate import LrBoost, LrSchedule, height_at
from ddp.adaptive.loss_balance import LossBalance
from ddp.adaptive.perceptual import WeightTrend
from ddp.adaptive.pins import GRADIENT, PERCEPTUAL, WEIGHT_NAMES, Pins
from ddp.adaptive.plateau import Plateau
from ddp.adaptive.policy import (
    SAFETY_REST_STEPS,
    Mode,
    Target,
    aggressive_target,
    interval_of,
    is_blurry,
    mode_at,
    reason_to_enter,
    reason_to_leave,
    settled_at,
    stable_target,
)
from ddp.adaptive.state import ControllerState
from ddp.adaptive.state_reader import StateReader
from ddp.adaptive.types import Change, Observation
from ddp.adaptive.weights import Values, Weights
from service.config.settings import RunConfig
from service.loss_terms import LOSS_TERMS

STATE_VERSION = 1


class Controller:
    """Controller of loss weights, gradient clip and learning rate. `of` builds it, `configure` changes settings."""

    def __init__(self, config: RunConfig, has_perceptual: bool) -> None:
        self._config = config
        self._schedule = LrSchedule.of(config)
        self._balance = LossBalance(config, has_perceptual)
        self._state = ControllerState(GradClip(config), WeightTrend([(0, self._balance.in_force[PERCEPTUAL])]))
        self._mode = mode_at(0, config, None)
        self._changes: list[Change] = []

    @classmethod
    def of(cls, config: RunConfig, *, has_perceptual: bool) -> "Controller":
        """Return a controller in its initial state; without `has_perceptual` the perceptual weight stays 0."""
        return cls(config, has_perceptual)

    @property
    def weights(self) -> Values:
        """Loss weights in force, in the order L1, MS, gradient, perceptual. They sum to 1."""
        return self._balance.in_force

    @property
    def grad_clip(self) -> float:
        """Gradient norm in force above which gradients are scaled down."""
        pinned = self._balance.pins.grad_clip
        return self._state.clip.value if pinned is None else pinned

    def learning_rate(self, steps_done: int) -> float:
        """Return the learning rate of the step after `steps_done` steps: schedule plus boost, times LR_SCALE."""
        rate = self._schedule.learning_rate(steps_done)
        if (boost := self._state.boost) is not None:
            rate = min(rate + boost.amount(steps_done), self._config.max_lr)
        return rate * self._config.lr_scale

    def phase(self, steps_done: int) -> str:
        """Return `manual` with an LR_SCALE, `plateau_boost` during a boost, otherwise `warmup` or `cosine`."""
        if self._config.lr_scale != 1:
            return "manual"
        boost = self._state.boost
        if boost is not None and boost.lasts(steps_done):
            return "plateau_boost"
        return self._schedule.phase(steps_done)

    def advance(self, observations: Sequence[Observation], steps_done: int) -> None:
        """Process the steps of an earlier block, in step order, and decide the values from step `steps_done` + 1 on.

        Observations that are not finite are ignored; if there is no other, nothing is decided.
        """
        finite = [observation for observation in observations if observation.is_finite]
        previous, self._state.steps_done = self._state.steps_done, steps_done
        perceptual = self._learn(finite)
        self._note_mode(f"{steps_done} steps are done")
        if finite and self._is_settled:
            self._decide(previous, perceptual)
        self._state.trend.note(steps_done, self.weights[PERCEPTUAL])

    def note_quality(self, quality: float) -> None:
        """Process the mean quality of KI in a scheduled validation; an improvement ends a plateau."""
        if math.isfinite(quality) and self._is_settled:
            self._state.plateau.learn_quality(quality)

    def configure(self, config: RunConfig, pins: Mapping[str, float]) -> None:
        """Apply other settings from now on, and `pins`: checked, absolute values by lower-case setting names.

        A missing name is no longer pinned. Raises `ValueError` for a name that cannot be pinned.
        """
        self._balance.pins = Pins.of(pins)
        self._config, self._schedule = config, LrSchedule.of(config)
        self._state.boost = self._state.boost and self._state.boost.ended_by(config.max_steps)
        if self._balance.configure(config):
            self._state.plateau.forget_loss()
        self._state.clip.configure(config)
        if not config.adaptive_loss_weights and self._state.aggressive_since is not None:
            self._leave_aggressive("ADAPTIVE_LOSS_WEIGHTS is off")
        self._note_mode("the settings have changed")
        self._state.trend.note(self._state.steps_done, self.weights[PERCEPTUAL])

    def take_changes(self) -> list[Change]:
        """Return the changes since the last call; they are not part of the state."""
        changes, self._changes = self._changes, []
        return changes

    def report(self) -> dict[str, Any]:
        """Return the record's keys about the controller, as of the last `advance`."""
        memory = self._state
        return {
            **{term.weight_key: weight for term, weight in zip(LOSS_TERMS, self.weights, strict=True)},
            "gradient_clip_val": self.grad_clip,
            "adaptive_mode": self._mode.value,
            "adaptive_is_cooldown": memory.cooldown_remaining > 0,
            "adaptive_cooldown_remaining": memory.cooldown_remaining,
            "adaptive_plateau_counter": memory.plateau.counter,
            "adaptive_lr_boost_available": self._boost_height() > 0,
            "adaptive_perceptual_trend": memory.trend.per_step,
        }

    def state(self) -> dict[str, Any]:
        """Return plain JSON values for `restore`, which continues identically with the same settings and pins."""
        return {"version": STATE_VERSION, "balance": self._balance.state(), "memory": self._state.state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore a saved state; settings and pins stay, and the shares move to the configured weights step by step.

        Raises `ValueError` for an invalid state, and then changes nothing.
        """
        saved = StateReader(state)
        version = saved.whole("version")
        if version != STATE_VERSION:
            raise ValueError(f"The controller's state has version {version}, but only {STATE_VERSION} is understood.")
        memory = ControllerState.restored(self._config, saved.part("memory"))
        if self._balance.restore(saved.part("balance")):  # configured are other weights than before
            memory.plateau.forget_loss()
        self._state = memory
        self._mode = mode_at(memory.steps_done, self._config, memory.aggressive_since)
        self._changes.clear()

    @property
    def plateau(self) -> Plateau:
        """The plateau detector."""
        return self._state.plateau

    @property
    def _is_settled(self) -> bool:
        return self._state.steps_done >= settled_at(self._config)

    def _learn(self, observations: Sequence[Observation]) -> float:
        """Process finite steps; return the perceptual weight that follows from their L1 terms."""
        memory, settled = self._state, settled_at(self._config)
        reference = self._balance.configured.values
        perceptual = self._balance.own.perceptual
        for observation in observations:
            memory.clip.learn(observation.grad_norm)
            memory.sharpness.learn(observation.sharpness)
            memory.perceptual.learn(observation.terms[0])
            perceptual = memory.perceptual.next(perceptual, self._balance.configured.perceptual)
            if observation.step > settled:
                memory.plateau.learn(_weighted(reference, observation.terms))
        return perceptual

    def _decide(self, previous: int, perceptual: float) -> None:
        counter = self._state.plateau.counter
        if self._config.adaptive_loss_weights:
            self._choose_mode(counter)
        self._move_weights(previous, perceptual)
        if counter >= self._config.plateau_patience:
            self._begin_boost(counter)

    def _choose_mode(self, counter: int) -> None:
        since, sharpness = self._state.aggressive_since, self._state.sharpness.mean
        if counter > self._config.plateau_safety_threshold:
            self._reset(counter)
        elif since is not None:
            reason = reason_to_leave(self._state.steps_done - since, sharpness)
            if reason is not None:
                self._leave_aggressive(reason)
        elif counter >= self._config.plateau_patience and self._may_follow_sharpness:
            reason = reason_to_enter(counter, sharpness)
            if reason is not None:
                self._state.aggressive_since = self._state.steps_done
                self._note_mode(reason)

    @property
    def _may_follow_sharpness(self) -> bool:
        """Whether sharpness may move weights: not during a return and its rest, nor with a pinned gradient weight."""
        is_resting = self._balance.is_returning or self._state.steps_done < self._state.rests_until
        return not is_resting and not self._balance.pins.holds(GRADIENT)

    def _reset(self, counter: int) -> None:
        """Leave Aggressive; also return to the configured weights, unless the output is sharp enough."""
        threshold = self._config.plateau_safety_threshold
        reason = f"no improvement in {counter} steps; PLATEAU_SAFETY_THRESHOLD is {threshold}"
        if is_blurry(self._state.sharpness.mean) and not self._balance.is_returning:
            self._balance.begin_return()
            if self._balance.is_returning:
                self._state.rests_until = self._state.steps_done + SAFETY_REST_STEPS
        outcome = "back to the configured weights" if self._balance.is_returning else "the weights are kept"
        self._report_change("safety reset", f"{reason}; {outcome}", weights=_named(self.weights))
        self._leave_aggressive(reason)

    def _leave_aggressive(self, reason: str) -> None:
        """Switch to Stable and restart the plateau counter, so that a handled plateau does not count twice."""
        self._state.aggressive_since = None
        self._state.plateau.restart_count()
        self._note_mode(reason)

    def _move_weights(self, previous: int, perceptual: float) -> None:
        target = self._due_target(previous)
        before, own = self.weights, self._balance.own
        wanted = own if target is None else target.weights
        if self._config.adaptive_loss_weights and not self._balance.pins.holds(PERCEPTUAL):
            wanted = Weights(wanted.shares, perceptual)
        self._balance.move(wanted)
        if target is not None:
            self._state.cooldown_until = self._state.steps_done + self._config.cooldown_duration
            self._report_change("weights", target.reason, before=_named(before), after=_named(self.weights))
        if self._config.adaptive_loss_weights:
            self._note_perceptual(own.perceptual)

    def _due_target(self, previous: int) -> Target | None:
        """Return the target of the weights; None if no adjustment is due, or it would change nothing."""
        memory, interval = self._state, interval_of(self._mode)
        if memory.cooldown_remaining > 0 or memory.steps_done // interval == previous // interval:
            return None
        target = self._target()
        return target if target is not None and self._balance.can_move(target.weights) else None

    def _target(self) -> Target | None:
        own, configured, sharpness = self._balance.own, self._balance.configured, self._state.sharpness.mean
        if not self._config.adaptive_loss_weights:
            return Target(configured, "to the configured weights: ADAPTIVE_LOSS_WEIGHTS is off")
        if self._balance.is_returning:
            return Target(Weights(configured.shares, own.perceptual), "back to the configured weights")
        if sharpness is None or not self._may_follow_sharpness:
            return None
        return aggressive_target(own, sharpness) if self._mode is Mode.AGGRESSIVE else stable_target(own, sharpness)

    def _note_perceptual(self, before: float) -> None:
        """Report a change of the perceptual weight's direction, not every move."""
        weight = self._balance.own.perceptual
        direction = (weight > before) - (weight < before)
        if direction in (0, self._state.perceptual_direction):
            return
        self._state.perceptual_direction = direction
        verb = "rises" if direction > 0 else "falls"
        reason = f"{verb}: the mean L1 term is {self._state.perceptual.mean_l1:.4f}"
        self._report_change("perceptual", reason, weight=weight)

    def _begin_boost(self, counter: int) -> None:
        height = self._boost_height()
        if height == 0:
            return
        steps_done, steps = self._state.steps_done, self._config.boost_steps
        self._state.boost = LrBoost(steps_done, height, steps)
        self._state.plateau.restart_count()
        self._report_change("boost", f"plateau: no improvement in {counter} steps", height=height, steps=steps)

    def _boost_height(self) -> float:
        """Return what a plateau would add to the learning rate now; 0 if no boost is allowed or useful."""
        steps_done, boost = self._state.steps_done, self._state.boost
        is_due = self._config.adaptive_lr_boost and self._is_settled and self._schedule.phase(steps_done) == "cosine"
        is_too_late = steps_done + self._config.boost_steps > self._config.max_steps
        if not is_due or is_too_late or (boost is not None and boost.rests(steps_done)):
            return 0.0
        return height_at(self._schedule.learning_rate(steps_done), self._config.max_lr)

    def _note_mode(self, reason: str) -> None:
        mode = mode_at(self._state.steps_done, self._config, self._state.aggressive_since)
        if mode is not self._mode:
            self._report_change("mode", reason, before=self._mode.value, after=mode.value)
            self._mode = mode

    def _report_change(self, kind: str, reason: str, **details: Any) -> None:
        self._changes.append(Change(kind, reason, {"step": self._state.steps_done, **details}))


def _weighted(weights: Values, terms: tuple[float, ...]) -> float:
    return weights[0] * terms[0] + weights[1] * terms[1] + weights[2] * terms[2] + weights[3] * terms[3]


def _named(weights: Values) -> dict[str, float]:
    return dict(zip(WEIGHT_NAMES, weights, strict=True))
