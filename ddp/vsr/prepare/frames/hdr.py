"""HDR video (PQ, HLG) as SDR: the light that a screen would show, and the SDR signal of what is left of it.

    signal ─ EOTF of BT.2100 ─> cd/m², BT.2020 or P3 ─ matrix ─> BT.709 ─ EETF of BT.2390 ─> at most 203 cd/m² ─> 8 bits

SDR's white is 203 cd/m², the reference white of HDR (BT.2408), and its screen has the gamma 2.4 (BT.1886). So pictures
that were SDR before come back as they were, to rounding; only what is brighter is compressed, the less the darker the
brightest spot of the video is. Never reads a file.

Legend: H, W = a frame's height and width; light is in cd/m² of each primary; a signal has 16 bits.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

PQ, HLG = 16, 18
"""Transfer functions, by their number in H.273."""
NAMES = {PQ: "PQ", HLG: "HLG"}

WHITE = 203.0
"""cd/m² of SDR's white: HDR reference white of BT.2408, table 1."""
SDR_GAMMA = 2.4
HLG_PEAK = 1000.0
"""cd/m² of the screen for which HLG's gamma is 1.2: BT.2100, table 5."""
HLG_GAMMA = 1.2

BT_709, BT_2020, P3_D65, UNTAGGED = 1, 9, 12, 2
PRIMARIES = {
    BT_709: ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060)),
    BT_2020: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
    P3_D65: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
}
"""Chromaticities of red, green and blue by their number in H.273, table 2; the white of all is D65."""
D65 = (0.3127, 0.3290)

M1, M2 = 2610 / 16384, 2523 / 4096 * 128
C1, C2, C3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
PQ_PEAK = 10000.0

HLG_A, HLG_B, HLG_C = 0.17883277, 0.28466892, 0.55991073

Light = NDArray[np.float32]  # (H, W, 3)
Deep = NDArray[np.uint16]  # (H, W, 3)


@dataclass(frozen=True)
class HdrColours:
    """How a frame holds its light: transfer function and primaries, by their numbers in H.273."""

    transfer: int
    primaries: int
    white: int = 65535
    """The signal of 16 bits that stands for 1."""


def brightest(signal: Deep, colours: HdrColours, share: float) -> float:
    """Return the cd/m² that the brightest channel of `share` of all pixels (0…1) stays below, in BT.709."""
    return float(np.quantile(_light_in_709(signal, colours).max(axis=2), share))


def as_sdr(signal: Deep, colours: HdrColours, peak: float) -> NDArray[np.uint8]:
    """Return RGB of 16 bits, (H, W, 3), as 8-bit SDR; `peak` is the brightest light of the video in cd/m²."""
    light = _light_in_709(signal, colours)
    brightest_channel = light.max(axis=2)
    bright = brightest_channel > knee(peak)
    if bright.any():
        levels = brightest_channel[bright].astype(np.float64)
        light[bright] *= (compressed(levels, peak) / levels).astype(np.float32)[:, None]
    shown = np.clip(light / np.float32(WHITE), 0, 1) ** np.float32(1 / SDR_GAMMA)
    return np.floor(shown * np.float32(255) + np.float32(0.5)).astype(np.uint8)


def compressed(light: NDArray[np.float64], peak: float) -> NDArray[np.float64]:
    """Return light in cd/m² as BT.2390's EETF maps it, from a screen of `peak` to one of WHITE; black stays black.

    Source: BT.2390-10, section 5.4.1, with the black levels of both screens 0.
    """
    whole = float(pq_signal(np.array(max(peak, WHITE))))
    most = float(pq_signal(np.array(WHITE))) / whole
    start = 1.5 * most - 0.5
    given = np.minimum(pq_signal(light) / whole, 1.0)
    t = (given - start) / max(1 - start, 1e-12)
    curve = (2 * t**3 - 3 * t**2 + 1) * start + (t**3 - 2 * t**2 + t) * (1 - start) + (3 * t**2 - 2 * t**3) * most
    return pq_light(np.where(given < start, given, np.minimum(curve, most)) * whole)


def knee(peak: float) -> float:
    """Return the cd/m² up to which nothing changes."""
    whole, most = (float(pq_signal(np.array(light))) for light in (max(peak, WHITE), WHITE))
    return float(pq_light(np.array(1.5 * most - 0.5 * whole)))


def pq_light(signal: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the cd/m² of PQ signals 0…1: the EOTF of BT.2100, table 4."""
    root = signal ** (1 / M2)
    return PQ_PEAK * (np.maximum(root - C1, 0) / (C2 - C3 * root)) ** (1 / M1)


def pq_signal(light: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the PQ signals 0…1 of light in cd/m²: the inverse EOTF of BT.2100, table 4."""
    power = (light / PQ_PEAK) ** M1
    return ((C1 + C2 * power) / (1 + C3 * power)) ** M2


def hlg_scene(signal: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the light of the scene 0…1 of HLG signals 0…1: the inverse OETF of BT.2100, table 5."""
    dark = signal**2 / 3
    return np.where(signal <= 0.5, dark, (np.exp((np.maximum(signal, 0.5) - HLG_C) / HLG_A) + HLG_B) / 12)


@lru_cache(maxsize=8)
def matrix_between(source: int, target: int) -> NDArray[np.float64]:
    """Return the matrix (3, 3) from light of one set of primaries to that of another, by their numbers in H.273."""
    return np.linalg.inv(_to_xyz(target)) @ _to_xyz(source)


def _light_in_709(signal: Deep, colours: HdrColours) -> Light:
    """Return the light that a screen would show, in BT.709; colours outside are cut off at its border."""
    light = _decoding_table(colours.transfer, colours.white)[signal]
    if colours.transfer == HLG:
        luminance = light @ _to_xyz(colours.primaries)[1].astype(np.float32)
        light *= np.float32(HLG_PEAK) * luminance[..., None] ** np.float32(HLG_GAMMA - 1)
    matrix = matrix_between(colours.primaries, BT_709).astype(np.float32)
    return np.maximum(light @ matrix.T, 0)


@lru_cache(maxsize=8)
def _decoding_table(transfer: int, white: int) -> NDArray[np.float32]:
    """Return what every signal of 16 bits stands for: cd/m² of PQ, the scene's light of HLG."""
    signal = np.minimum(np.arange(65536) / white, 1.0)
    return (pq_light(signal) if transfer == PQ else hlg_scene(signal)).astype(np.float32)


def _to_xyz(primaries: int) -> NDArray[np.float64]:
    """Return the matrix (3, 3) from RGB light to XYZ, white having Y = 1: SMPTE RP 177."""
    columns: NDArray[Any] = np.array([(x / y, 1.0, (1 - x - y) / y) for x, y in PRIMARIES[primaries]]).T
    x, y = D65
    return columns * np.linalg.solve(columns, np.array([x / y, 1.0, (1 - x - y) / y]))
