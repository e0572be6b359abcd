"""The 99th percentile of durations, learnt from a stream of them by a histogram that forgets.

One thread adds, any thread reads. Both are without locks: a reader may miss the newest duration, which changes no
percentile.
"""

import math

SHORTEST_SECONDS, LONGEST_SECONDS = 1e-4, 1e5
BINS_PER_DOUBLING = 4
"""A percentile is given as the upper edge of its bin, at most 19 % above it."""
BIN_COUNT = 2 + math.ceil(BINS_PER_DOUBLING * math.log2(LONGEST_SECONDS / SHORTEST_SECONDS))
FIRST_SAMPLES = 5
"""The first durations are not learnt: networks are compiled, files opened and memory is touched for the first time."""
MIN_SAMPLES = 30
MAX_WEIGHT = 4000.0
"""Once so many durations are in the histogram, each counts half."""
SURPRISE_SHARE = 0.02
"""Share of a duration that was far above all learnt ones: enough to be the 99th percentile for a while."""
SURPRISE_SECONDS, SURPRISE_FACTOR = 1.0, 8.0
CONFIDENCE = 1.645
"""Standard deviations of the count above the percentile, so that it is underestimated in 5 % of cases."""


class DurationHistogram:
    """Histogram of durations with bins of equal ratio. From few durations, a percentile is estimated too high."""

    def __init__(self) -> None:
        self._weights = [0.0] * BIN_COUNT
        self._total = 0.0
        self._left_out = 0

    def add(self, seconds: float) -> None:
        """Add a duration."""
        if self._left_out < FIRST_SAMPLES:
            self._left_out += 1
            return
        weight = self._weight(seconds)
        self._weights[_bin(seconds)] += weight
        self._total += weight
        if self._total > MAX_WEIGHT:
            self._weights = [value / 2 for value in self._weights]
            self._total /= 2

    def _weight(self, seconds: float) -> float:
        """Return more than 1 for a surprise: what went on by itself once must not be taken for a hang every time."""
        if seconds < SURPRISE_SECONDS or self._total < MIN_SAMPLES:
            return 1.0
        p99 = self.p99()
        is_surprise = p99 is not None and seconds > SURPRISE_FACTOR * p99
        return max(1.0, SURPRISE_SHARE * self._total) if is_surprise else 1.0

    def p99(self) -> float | None:
        """Return an upper bound of the 99th percentile (s) that holds in 95 % of cases; None from too few durations.

        Of n durations, the number above the percentile has mean n/100 and about that variance, so the bound is the one
        that fewer than n/100 - 1.645 · sqrt(0.99 · n/100) exceed: the longest of all, up to 270 durations.
        """
        if self._total < MIN_SAMPLES:
            return None
        expected = self._total / 100
        allowed = max(0.0, expected - CONFIDENCE * math.sqrt(0.99 * expected))
        above, weights = 0.0, self._weights
        for number in range(BIN_COUNT - 1, -1, -1):
            above += weights[number]
            if above > allowed:
                return _upper_edge(number)
        return None


def _bin(seconds: float) -> int:
    if seconds <= SHORTEST_SECONDS:
        return 0
    return min(BIN_COUNT - 1, 1 + int(BINS_PER_DOUBLING * math.log2(seconds / SHORTEST_SECONDS)))


def _upper_edge(number: int) -> float:
    return float(SHORTEST_SECONDS * 2 ** (number / BINS_PER_DOUBLING))
