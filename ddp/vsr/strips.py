"""Means over the rows of large images, computed strip by strip, so that they need memory for one strip only.

An image of up to `STRIP_PIXELS` is one strip, so that its result does not depend on this module.
"""

from collections.abc import Callable

from torch import Tensor

STRIP_PIXELS = 2**20
"""Pixels of all images together in one strip."""


def mean_over_rows(rows: int, pixels_per_row: int, mean_of: Callable[[int, int], Tensor]) -> Tensor:
    """Return the mean over `rows` rows, given `mean_of(first, end)`, the mean over the rows first … end - 1."""
    height = max(1, STRIP_PIXELS // max(1, pixels_per_row))
    if rows <= height:
        return mean_of(0, rows)
    means = [(mean_of(first, end), end - first) for first, end in _strips(rows, height)]
    total = means[0][0] * means[0][1]
    for mean, count in means[1:]:
        total = total + mean * count
    return total / rows


def _strips(rows: int, height: int) -> list[tuple[int, int]]:
    return [(first, min(rows, first + height)) for first in range(0, rows, height)]
