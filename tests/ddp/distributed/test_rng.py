"""What is drawn in a step follows from seed, rank and step alone."""

import random

import numpy as np
import pytest
import torch

from ddp.distributed.rng import StepGenerators

Drawn = tuple[float, float, float]


def drawn(seed: int, rank: int, step: int) -> Drawn:
    StepGenerators(seed, rank, torch.device("cpu")).begin_step(step)
    return float(torch.rand(())), random.random(), float(np.random.random())


def test_the_same_step_draws_the_same_numbers_whatever_was_drawn_before() -> None:
    first = drawn(7, 1, 100)
    torch.rand(5), random.random(), np.random.random()

    assert drawn(7, 1, 100) == first


@pytest.mark.parametrize("other", [(8, 1, 100), (7, 2, 100), (7, 1, 101), (71, 1, 100), (7, 11, 100), (7, 1, 1100)])
def test_another_seed_rank_or_step_draws_others(other: tuple[int, int, int]) -> None:
    mine, others = drawn(7, 1, 100), drawn(*other)

    assert all(one != another for one, another in zip(mine, others, strict=True))


def test_steps_are_no_more_alike_than_chance_makes_them() -> None:
    values = torch.tensor([drawn(0, 0, step)[0] for step in range(2000)])

    assert len(values.unique()) == 2000
    assert float(values.mean()) == pytest.approx(0.5, abs=0.03)  # more than four standard deviations
    assert abs(float(torch.corrcoef(torch.stack([values[:-1], values[1:]]))[0, 1])) < 0.1
