"""Steps without improvement: counted on a smooth loss, ended by loss or quality."""

import random

import pytest

from ddp.adaptive.plateau import FOLLOW, RUN_UP_STEPS, Plateau, factor_at
from ddp.adaptive.state_reader import StateReader
from service.config.settings import RunConfig

PATIENCE = RunConfig().plateau_patience


def after_run_up(loss: float = 1.0) -> Plateau:
    """At its first count, with a constant loss."""
    plateau = Plateau()
    for _ in range(RUN_UP_STEPS):
        plateau.learn(loss)
    return plateau


def highest_counter(losses: list[float]) -> int:
    plateau, highest = Plateau(), 0
    for loss in losses:
        plateau.learn(loss)
        highest = max(highest, plateau.counter)
    return highest


def noisy(losses: list[float], seed: int, noise: float = 0.1) -> list[float]:
    source = random.Random(seed)
    return [loss * (1 + noise * source.gauss(0, 1)) for loss in losses]


def test_the_run_up_is_a_plain_mean_and_counts_nothing() -> None:
    plateau = Plateau()

    for loss in (1.0, 2.0, 6.0):
        plateau.learn(loss)

    assert plateau.mean == pytest.approx(3.0)
    assert (plateau.best, plateau.counter) == (None, 0)


def test_a_constant_loss_counts_every_step_after_the_run_up() -> None:
    plateau = after_run_up()

    for _ in range(7):
        plateau.learn(1.0)

    assert plateau.counter == 7


def test_an_improvement_begins_the_count_anew() -> None:
    plateau = after_run_up()
    plateau.learn(1.0)

    plateau.learn(1 - 0.0029 / FOLLOW)
    assert plateau.counter == 2
    plateau.learn(1 - 0.0031 / FOLLOW)

    assert (plateau.counter, plateau.best) == (0, plateau.mean)


@pytest.mark.parametrize(
    ("mean", "factor"), [(0.0149, 0.999), (0.015, 0.998), (0.02, 0.997), (0.03, 0.995), (0.05, 0.997), (1, 0.997)]
)
def test_what_counts_as_an_improvement_depends_on_the_level(mean: float, factor: float) -> None:
    assert factor_at(mean) == factor


def test_a_better_validation_begins_the_count_anew() -> None:
    plateau = after_run_up()
    plateau.learn_quality(0.5)
    plateau.learn(1.0)

    plateau.learn_quality(0.5004)
    assert plateau.counter == 1
    plateau.learn_quality(0.5006)

    assert (plateau.counter, plateau.best_quality) == (0, 0.5006)


def test_while_quality_holds_a_smaller_fall_of_the_loss_will_do() -> None:
    plateau, without = after_run_up(), after_run_up()
    plateau.learn_quality(0.5)

    for tracked in (plateau, without):
        tracked.learn(1 - 0.0025 / FOLLOW)
    assert (plateau.counter, without.counter) == (0, 1)

    plateau.learn_quality(0.4)
    assert plateau.mean is not None
    plateau.learn(plateau.mean - 0.0025 / FOLLOW)
    assert plateau.counter == 1


def test_counting_anew_looks_for_improvements_upon_the_present_loss() -> None:
    plateau = after_run_up()
    for _ in range(3000):
        plateau.learn(2.0)
    assert plateau.counter == 3000

    plateau.restart_count()
    assert (plateau.counter, plateau.best) == (0, plateau.mean)
    plateau.learn(2.0)

    assert plateau.counter == 1


def test_another_loss_begins_with_a_run_up_and_keeps_the_quality() -> None:
    plateau = after_run_up()
    plateau.learn_quality(0.5)

    plateau.forget_loss()

    assert plateau == Plateau(quality=0.5, best_quality=0.5)


@pytest.mark.parametrize("seed", range(10))
def test_a_loss_that_halves_in_5000_noisy_steps_is_never_a_plateau(seed: int) -> None:
    falling = [0.08 * 0.5 ** (step / 5000) for step in range(15_000)]

    assert highest_counter(noisy(falling, seed)) < PATIENCE


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("level", [1.0, 0.04, 0.012])
def test_a_flat_noisy_loss_is_a_plateau_within_2000_steps(level: float, seed: int) -> None:
    assert highest_counter(noisy([level] * 2000, seed)) >= PATIENCE


def test_a_fall_that_ends_becomes_a_plateau() -> None:
    losses = [0.5 ** (step / 5000) for step in range(5000)] + [0.5] * 2000

    assert highest_counter(noisy(losses, seed=1)) >= PATIENCE


def test_it_goes_on_from_its_state() -> None:
    plateau = after_run_up()
    plateau.learn_quality(0.3)
    plateau.learn(1.1)

    assert Plateau.restored(StateReader(plateau.state())) == plateau
