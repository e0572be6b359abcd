"""Plateau detection: steps since the smoothed loss, or the quality of a validation, last improved.

The loss is an exponential mean, because single batches are noisy. Its factor and its run-up are chosen by simulation:
10 % noise per step on a loss that halves in 5,000 steps must not read as a plateau within 250 steps, a flat one must.
"""

from dataclasses import asdict, dataclass
from typing import Any

from ddp.adaptive.state_reader import StateReader

FOLLOW = 2 / 501
"""Weight of a step in the mean loss: an exponential mean over about 500 steps."""
RUN_UP_STEPS = 500
"""Number of first steps that only form the mean (initially the arithmetic one); counting begins after them."""
FACTORS = ((0.015, 0.999), (0.020, 0.998), (0.030, 0.997), (0.050, 0.995))
FACTOR_ELSE = 0.997
"""An improvement is a mean loss below the best one times the factor of the first level that the mean loss is below."""
QUALITY_FACTOR = 1.001
"""A validation's quality above the best one times this is an improvement too."""
HELD_QUALITY_FACTOR = 0.9995
HELD_QUALITY_BONUS = 0.001
"""While the last quality is above the best one times the first, the second is added to the factor of the loss."""


@dataclass
class Plateau:
    """Plateau detector: `counter` is steps since an improvement, `mean` the smoothed loss, `seen` run-up steps."""

    counter: int = 0
    seen: int = 0
    mean: float | None = None
    best: float | None = None
    quality: float | None = None
    best_quality: float | None = None

    def learn(self, loss: float) -> None:
        """Add a step's finite loss."""
        self.seen = min(self.seen + 1, RUN_UP_STEPS)
        follow = max(FOLLOW, 1 / self.seen)
        self.mean = loss if self.mean is None else (1 - follow) * self.mean + follow * loss
        if self.seen < RUN_UP_STEPS:
            return
        if self.best is None or self.mean < self.best * self._factor(self.mean):
            self.best, self.counter = self.mean, 0
        else:
            self.counter += 1

    def learn_quality(self, quality: float) -> None:
        """Add the finite mean quality of a validation."""
        self.quality = quality
        if self.best_quality is None or quality > self.best_quality * QUALITY_FACTOR:
            self.best_quality, self.counter = quality, 0

    def restart_count(self) -> None:
        """Restart the counter; improvements are measured against the current mean loss."""
        self.counter = 0
        if self.best is not None:
            self.best = self.mean

    def forget_loss(self) -> None:
        """Discard the loss so far, because the next one is not comparable."""
        self.counter, self.seen, self.mean, self.best = 0, 0, None, None

    def forget_quality(self) -> None:
        """Discard the qualities so far, because the next one is not comparable."""
        self.quality, self.best_quality = None, None

    def _factor(self, mean: float) -> float:
        factor = factor_at(mean)
        return factor + HELD_QUALITY_BONUS if self._holds_quality() else factor

    def _holds_quality(self) -> bool:
        if self.quality is None or self.best_quality is None:
            return False
        return self.quality > self.best_quality * HELD_QUALITY_FACTOR

    def state(self) -> dict[str, Any]:
        """Return plain values for a checkpoint."""
        return asdict(self)

    @classmethod
    def restored(cls, saved: StateReader) -> "Plateau":
        """Return the saved detector. Raises `ValueError`."""
        names = ("mean", "best", "quality", "best_quality")
        return cls(saved.whole("counter"), saved.whole("seen"), *(saved.number_or_none(name) for name in names))


def factor_at(mean: float) -> float:
    """Return the factor of the best mean loss below which a loss at this level counts as an improvement."""
    for below, factor in FACTORS:
        if mean < below:
            return factor
    return FACTOR_ELSE
