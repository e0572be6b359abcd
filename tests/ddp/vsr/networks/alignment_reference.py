"""Band-limited pictures that can be moved by any part of a pixel, and the alignment's formulas in NumPy and SciPy."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Plane = NDArray[np.float64]


def waves(height: int, width: int, shift_x: float = 0.0, shift_y: float = 0.0, seed: int = 0) -> Plane:
    """Return a sum of waves of 6 to 24 pixels in 0…1; content at (x, y) moves to (x + shift_x, y + shift_y)."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width].astype(np.float64)
    plane = np.zeros((height, width))
    for _ in range(12):
        length, angle, phase = random.uniform(6, 24), random.uniform(0, np.pi), random.uniform(0, 2 * np.pi)
        along = np.cos(angle) * (x - shift_x) + np.sin(angle) * (y - shift_y)
        plane += np.sin(2 * np.pi * along / length + phase)
    return 0.5 + plane / 24


def sampled(image: Plane, x: Plane, y: Plane) -> Plane:
    """Return the image at places, bilinearly; beyond the edge is the edge."""
    return np.asarray(ndimage.map_coordinates(image, [y, x], order=1, mode="nearest"))


def box_mean(image: Plane, side: int) -> Plane:
    """Return the mean of side x side pixels; beyond the edge is the edge."""
    return np.asarray(ndimage.uniform_filter(image, side, mode="nearest"))


def confidence(fixed: Plane, aligned: Plane) -> Plane:
    """Return exp(-(e / (0.01 + 0.25 a))²), e and a the 3x3 means of |difference| and |gradient|."""
    along_x = ndimage.correlate1d(fixed, [-0.5, 0, 0.5], axis=1, mode="nearest")
    along_y = ndimage.correlate1d(fixed, [-0.5, 0, 0.5], axis=0, mode="nearest")
    misfit, edges = box_mean(np.abs(aligned - fixed), 3), box_mean(np.hypot(along_x, along_y), 3)
    return np.asarray(np.exp(-((misfit / (0.01 + 0.25 * edges)) ** 2)))
