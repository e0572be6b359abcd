"""Fine detail of pictures, against numpy."""

import numpy as np
import pytest
import torch

from ddp.metrics.total_variation import total_variation


def test_it_is_the_mean_absolute_difference_of_neighbours_of_each_picture() -> None:
    rng = np.random.default_rng(0)
    output, target = rng.random((2, 2, 3, 7, 9))

    found = total_variation(torch.from_numpy(output), torch.from_numpy(target))

    expected = [
        0.5 * (np.abs(np.diff(picture, axis=-1)).mean() + np.abs(np.diff(picture, axis=-2)).mean())
        for picture in (output, target)
    ]
    assert found.tolist() == pytest.approx(expected)


def test_a_flat_picture_has_none() -> None:
    flat = torch.ones(1, 3, 4, 4)

    assert total_variation(flat, flat).tolist() == [0.0, 0.0]
