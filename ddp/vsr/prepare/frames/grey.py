"""Grey video as RGB of 8 bits, by the formula and by its tagged range: swscale takes 8 bits for full range whatever the
tag says, and 16 bits by the tag. Never opens a file.
"""

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

BLACK, WHITE = 16, 235  # of limited range in 8 bits
GREYS = re.compile(r"(gray|ya)(\d*)(le|be)?")
"""ffmpeg's names of grey pixels of whole bytes, with or without alpha."""


class TransparentPixelsError(Exception):
    """A frame has pixels that are not opaque."""


def is_grey(frame: Any) -> bool:
    """Return whether `grey_picture` takes such a frame."""
    return GREYS.fullmatch(frame.format.name) is not None


def grey_picture(frame: Any, *, is_full_range: bool) -> NDArray[np.uint8]:
    """Return a grey frame as RGB, (H, W, 3), rounded half up. Raises `TransparentPixelsError`."""
    parts = frame.format.components
    samples = _samples(frame, len(parts))
    most = 2 ** parts[0].bits - 1
    if len(parts) > 1 and samples[..., 1].min() < most:
        raise TransparentPixelsError
    black, white = (0, most) if is_full_range else (edge << (parts[0].bits - 8) for edge in (BLACK, WHITE))
    level = (samples[..., :1].astype(np.float32) - black) * (255 / (white - black))
    return np.repeat(np.floor(level + 0.5).clip(0, 255).astype(np.uint8), 3, axis=2)


def _samples(frame: Any, count: int) -> NDArray[Any]:
    """Return the values of all pixels, (H, W, count)."""
    order = ">" if frame.format.name.endswith("be") else "<"
    sample = np.dtype(np.uint8 if frame.format.components[0].bits <= 8 else f"{order}u2")
    (plane,) = frame.planes
    rows: NDArray[Any] = np.frombuffer(plane, sample).reshape(-1, plane.line_size // sample.itemsize)
    return rows[: frame.height, : frame.width * count].reshape(frame.height, frame.width, count)
