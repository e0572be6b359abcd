"""How sure a median is: bootstrap intervals, and what they say of an aim. Pure arithmetic."""

import statistics
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy

RESAMPLES = 2000
LEVEL = 0.95


class Interval(NamedTuple):
    """An estimate between the ends of its confidence interval."""

    low: float
    middle: float
    high: float

    def text(self, digits: int = 2) -> str:
        """As `middle (low … high)`, signed."""
        return f"{self.middle:+.{digits}f} ({self.low:+.{digits}f} … {self.high:+.{digits}f})"


def bootstrap(samples: Sequence[Sequence[float]], estimate: Callable[..., numpy.ndarray], seed: int = 0) -> Interval:
    """The percentile interval, at LEVEL, of an estimate from independent samples, each drawn anew with replacement.

    `estimate` is given an array (RESAMPLES, n) for each sample of n values, and returns (RESAMPLES,); once more with
    (1, n) for the samples as they are.
    """
    generator = numpy.random.default_rng(seed)
    arrays = [numpy.asarray(sample, dtype=float) for sample in samples]
    drawn = [array[generator.integers(0, array.size, (RESAMPLES, array.size))] for array in arrays]
    low, high = numpy.quantile(estimate(*drawn), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    middle = estimate(*[array[None] for array in arrays])[0]
    return Interval(float(low), float(middle), float(high))


def median_interval(values: Sequence[float]) -> Interval:
    """The interval of a median."""
    return bootstrap([values], lambda drawn: numpy.median(drawn, axis=1))


def excess_interval(ours: Sequence[float], peers: Sequence[float], share: float) -> Interval:
    """How much our median lies above so large a share of the peers' median; below zero, the aim is met."""
    return bootstrap([ours, peers], lambda own, other: numpy.median(own, axis=1) - share * numpy.median(other, axis=1))


def verdict(excess: Interval) -> str:
    """Whether an aim is met, said only where the whole interval says so."""
    if excess.high <= 0:
        return "met"
    return "NOT met" if excess.low > 0 else "not shown"


def ratio_text(ours: Sequence[float], peers: Sequence[float]) -> str:
    """The ratio of the medians, where there is one."""
    peer = statistics.median(peers)
    return f"{statistics.median(ours) / peer:.2f}" if peer > 0 else "–"
