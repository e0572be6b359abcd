"""Temporal consistency against its formula, and what it does and does not punish."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from ddp.inference.evaluate.temporal import dtssd, luma_error
from service.errors import UserError


def frames(count: int, seed: int) -> torch.Tensor:
    return torch.randint(0, 256, (count, 1, 3, 12, 14), generator=torch.Generator().manual_seed(seed)) / 255


def dtssd_of(output: torch.Tensor, target: torch.Tensor, border: int = 0) -> list[float]:
    errors = [luma_error(*pair, border) for pair in zip(output, target, strict=True)]
    return [dtssd(*pair) for pair in pairwise(errors)]


def test_it_is_the_root_mean_square_of_what_the_changes_differ_by() -> None:
    output, target = frames(3, 1), frames(3, 2)

    # BT.601 in float64, from the 8-bit values
    weights = np.array([65.481, 128.553, 24.966]) / 255
    output_y, target_y = (
        np.einsum("tchw,c->thw", (clip[:, 0].double() * 255).round().numpy(), weights) for clip in (output, target)
    )
    change = np.diff(output_y, axis=0) - np.diff(target_y, axis=0)
    expected = np.sqrt((change[:, 2:-2, 2:-2] ** 2).mean(axis=(1, 2)))

    assert dtssd_of(output, target, border=2) == pytest.approx(expected, abs=1e-6)


def test_a_constant_error_costs_nothing_and_flicker_costs_its_size() -> None:
    target = torch.full((4, 1, 3, 12, 14), 100 / 255)
    steady, flickering = target.clone() + 10 / 255, target.clone()
    flickering[1::2] += 10 / 255

    assert dtssd_of(steady, target) == [0.0] * 3
    assert dtssd_of(flickering, target) == pytest.approx([10 * 219 / 255] * 3, abs=1e-5)


def test_frames_of_different_sizes_are_refused() -> None:
    with pytest.raises(UserError, match="cannot compare images of shapes"):
        luma_error(torch.rand(1, 3, 12, 14), torch.rand(1, 3, 12, 16))
