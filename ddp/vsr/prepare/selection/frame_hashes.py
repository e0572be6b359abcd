"""Perceptual hashes of frames: pictures that look alike have hashes that differ in few bits.

A hash has a bit for each of the 64 coefficients 1…8 x 1…8 of the frame's discrete cosine transform: whether it is above
their median. So it does not change with brightness, contrast, size, or what an encoder takes away. Source: C. Zauner,
"Implementation and Benchmarking of Perceptual Image Hash Functions", 2010. Never decodes.
"""

from collections.abc import Iterable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

HASHES_FILE = "frame_hashes.json"
"""In a patch set: the hashes of all frames of its sources, by name."""

NEAR_BITS = 10
"""Frames whose hashes differ in at most so many of 64 bits count as the same picture, as usual with this hash."""

FLAT_BELOW = 4.0
"""Standard deviation, 0…255, below which a frame has no structure that could be recognized: black, sky, fades."""

FLAT = 0
"""The hash of such a frame."""

SIDE = 8
DIGITS = 16

Hashes = NDArray[np.uint64]


def frame_hash(grey: NDArray[np.float32]) -> int:
    """Return the hash of a small grey picture (h, w), 0…255; `FLAT` if it shows nothing."""
    if grey.std() < FLAT_BELOW:
        return FLAT
    rows, columns = (_cosines(length) for length in grey.shape)
    coefficients = (rows @ grey.astype(np.float64) @ columns.T).ravel()
    bits = np.packbits(coefficients > np.median(coefficients))
    return int.from_bytes(bits.tobytes(), "big")


def hashes_as_text(hashes: Iterable[int]) -> str:
    """Return hashes as hexadecimal digits, 16 each."""
    return "".join(f"{value:0{DIGITS}x}" for value in hashes)


def hashes_of_text(text: str) -> Hashes:
    """Return the hashes that a text holds. Raises ValueError if it holds none."""
    return np.frombuffer(bytes.fromhex(text), ">u8").astype(np.uint64)


def near(first: Hashes, second: Hashes) -> NDArray[np.bool_]:
    """Return which hashes of `first` are near which of `second`, as a table of (len(first), len(second))."""
    return _differing_bits(first[:, None] ^ second[None]) <= NEAR_BITS


def _differing_bits(values: Hashes) -> NDArray[np.uint8]:
    """Return the number of bits that are set."""
    if hasattr(np, "bitwise_count"):
        return np.bitwise_count(values)
    counts: NDArray[np.uint8] = _counts_of_16_bits()[values.view(np.uint16)].reshape(*values.shape, 4).sum(-1)
    return counts


@lru_cache(maxsize=1)
def _counts_of_16_bits() -> NDArray[np.uint8]:
    return np.array([number.bit_count() for number in range(2**16)], np.uint8)


@lru_cache(maxsize=8)
def _cosines(length: int) -> NDArray[np.float64]:
    """Return rows 1…8 of the transform (DCT-II) of an axis."""
    frequency, position = np.arange(1, SIDE + 1)[:, None], np.arange(length)[None]
    return np.cos(np.pi * frequency * (2 * position + 1) / (2 * length))
