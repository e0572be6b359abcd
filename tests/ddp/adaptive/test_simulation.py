"""A made-up training that gets stuck blurry: the controller gets it out, settles, and does not swing.

Sharpness follows the gradient weight slowly, faster under a higher learning rate; the loss falls at first, then stays
where blur holds it until the output has become sharper. Both are measured with noise.
"""

import math
import random
from dataclasses import dataclass, field, replace
from itertools import pairwise

import pytest

from ddp.adaptive.controller import Controller
from ddp.adaptive.types import Observation
from service.config.settings import RunConfig
from tests.ddp.adaptive.made_up import drive

CONFIG = RunConfig(max_steps=20_000)
STEPS = CONFIG.max_steps
BLURRY = 0.62
"""Sharpness under the configured weights."""
ESCAPE = 0.69
"""Sharpness up to which the loss stays flat and from which on it falls again."""


@dataclass
class Training:
    """`response` is how much sharpness a full gradient weight more would bring; 0 is a hopeless case."""

    response: float
    seed: int
    config: RunConfig = CONFIG
    sharpness: float = BLURRY
    first_losses: list[float] = field(default_factory=list)
    last_losses: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.noise = random.Random(self.seed)
        self.controller = Controller.of(self.config, has_perceptual=False)
        self.plain = Controller.of(self.config, has_perceptual=False)
        self.gradient_weights: list[float] = []
        self.modes: list[str] = []

    def measure(self, step: int) -> Observation:
        speed = self.controller.learning_rate(step - 1) / self.config.max_lr
        wanted = BLURRY + self.response * (self.controller.weights[2] - 0.2)
        self.sharpness += speed * (wanted - self.sharpness) / 300
        loss = 0.1 * math.exp(-step / 300) + 0.03 * (1 - max(0.0, self.sharpness - ESCAPE))
        (self.last_losses if step > STEPS - 500 else self.first_losses).append(loss)
        l1 = loss * (1 + 0.1 * self.noise.gauss(0, 1))
        seen = self.sharpness * (1 + 0.03 * self.noise.gauss(0, 1))
        return Observation(step, (l1, l1, l1, l1), seen, 1.0 + 0.2 * self.noise.random())

    def note(self, _: int) -> None:
        self.gradient_weights.append(self.controller.weights[2])
        self.modes.append(self.controller.report()["adaptive_mode"])

    def run(self) -> None:
        drive(self.controller, 1, STEPS, self.measure, after=self.note)

    @property
    def turns(self) -> int:
        """How often the gradient weight changes its direction."""
        ways = [after - before for before, after in pairwise(self.gradient_weights)]
        moves = [way > 0 for way in ways if way]
        return sum(before != after for before, after in pairwise(moves))

    @property
    def flips(self) -> int:
        """How often the mode changes."""
        return sum(before != after for before, after in pairwise(self.modes))


def trained(response: float, seed: int, config: RunConfig = CONFIG) -> Training:
    training = Training(response, seed, config)
    training.run()
    return training


@pytest.mark.parametrize("seed", range(5))
def test_a_blurry_plateau_is_left_and_not_returned_to(seed: int) -> None:
    training = trained(response=0.5, seed=seed)

    assert training.modes[0] == "Warmup"
    assert "Aggressive" in training.modes
    assert training.modes[-1] == "Stable"
    assert training.sharpness > 0.75
    assert mean_of(training.last_losses) < 0.94 * training.first_losses[2000]
    assert training.flips <= 6
    assert training.turns <= 2


def test_without_the_controller_it_stays_blurry() -> None:
    training = trained(response=0.5, seed=0, config=replace(CONFIG, adaptive_loss_weights=False))

    assert training.sharpness == pytest.approx(BLURRY)
    assert mean_of(training.last_losses) > 0.98 * training.first_losses[2000]
    assert training.turns == 0


def test_on_a_hopeless_plateau_it_gives_up_what_was_in_vain_and_seldom_tries_again() -> None:
    training = trained(response=0.0, seed=0)

    changes = training.controller.take_changes()
    tries = [change.details["step"] for change in changes if change.details.get("after") == "Aggressive"]
    assert 1 < len(tries) <= 4
    assert all(later - earlier > 5000 for earlier, later in pairwise(tries))
    assert training.flips <= 12
    assert training.turns <= 8


def mean_of(losses: list[float]) -> float:
    return sum(losses) / len(losses)


def test_boosts_come_at_most_every_2000_steps() -> None:
    training = trained(response=0.0, seed=1)

    boosts = [change.details["step"] for change in training.controller.take_changes() if change.kind == "boost"]
    assert len(boosts) >= 5
    assert all(later - earlier >= 2000 for earlier, later in pairwise(boosts))
