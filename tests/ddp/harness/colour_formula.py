"""The formula of colours in float64: planes with the spectrum of natural pictures, and the RGB that they stand for."""

import av
import numpy as np
from numpy.typing import NDArray

Planes = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]

RED_AND_BLUE = {"BT.601": (0.299, 0.114), "BT.709": (0.2126, 0.0722), "BT.2020": (0.2627, 0.0593)}
"""The shares of red and blue in luma: H.273, table 4."""
NUMBERS = {"BT.601": 6, "BT.709": 1, "BT.2020": 9}


def natural_planes(height: int, width: int, depth: int = 8) -> Planes:
    """Luma and 4:2:0 chroma with the spectrum of natural pictures."""
    random = np.random.default_rng(height * width)
    chroma = (-(-height // 2), -(-width // 2))
    scale = 2 ** (depth - 8)
    luma = np.round(scale * (110 + 30 * natural_noise(random, height, width))).clip(16 * scale, 235 * scale)
    blue, red = (
        np.round(scale * (128 + 12 * natural_noise(random, *chroma))).clip(16 * scale, 240 * scale) for _ in range(2)
    )
    return luma, blue, red


def natural_noise(random: np.random.Generator, height: int, width: int) -> NDArray[np.float64]:
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequency[0, 0] = np.inf
    spectrum = (random.normal(size=frequency.shape) + 1j * random.normal(size=frequency.shape)) / frequency**1.2
    noise: NDArray[np.float64] = np.fft.irfft2(spectrum, (height, width))
    return noise / noise.std()


def frame_of(planes: Planes, pixel_format: str = "yuv420p") -> av.VideoFrame:
    frame = av.VideoFrame(planes[0].shape[1], planes[0].shape[0], pixel_format)
    sample = np.dtype(np.uint8 if pixel_format.endswith("p") else "<u2")
    for plane, values in zip(frame.planes, planes, strict=True):
        rows = np.zeros((plane.height, plane.line_size // sample.itemsize), sample)
        rows[:, : plane.width] = values
        plane.update(rows.tobytes())
    return frame


def rgb_of(planes: Planes, matrix: str, left: bool = False, full: bool = False) -> NDArray[np.float64]:
    """The formula: (Y - 16) * 255 / 219, chroma * 255 / 224, interpolated between the centres of 2 x 2 pixels."""
    kr, kb = RED_AND_BLUE[matrix]
    luma, blue, red = planes
    height, width = luma.shape
    rows = (np.arange(height) - 0.5) / 2
    columns = np.arange(width) / 2 if left else (np.arange(width) - 0.5) / 2
    u, v = (cubic(cubic(plane, rows).T, columns).T - 128 for plane in (blue, red))
    y, gain = (luma, 1.0) if full else ((luma - 16) * 255 / 219, 255 / 224)
    r, b = y + 2 * (1 - kr) * gain * v, y + 2 * (1 - kb) * gain * u
    return np.stack([r, (y - kr * r - kb * b) / (1 - kr - kb), b], axis=-1).clip(0, 255)


def cubic(plane: NDArray[np.float64], positions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keys' interpolation of the rows with a = -0.6, ffmpeg's `bicubic`; the edge rows go on outside."""
    first = np.floor(positions).astype(int)
    total = np.zeros((len(positions), plane.shape[1]))
    for index in (first + tap for tap in range(-1, 3)):
        x = np.abs(positions - index)
        near, far = 1.4 * x**3 - 2.4 * x**2 + 1, -0.6 * (x**3 - 5 * x**2 + 8 * x - 4)
        weight = np.where(x <= 1, near, np.where(x < 2, far, 0))
        total += weight[:, None] * plane[index.clip(0, len(plane) - 1)]
    return total
