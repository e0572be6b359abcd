"""The terms of the training loss; all lists of terms in settings, records and metrics are derived from this one.

Tensors and tuples of the terms or of their weights have this order everywhere.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class LossTerm:
    """One term: `label` is used in metrics and record keys, `title` in texts, `setting` is the name of its weight."""

    label: str
    title: str
    setting: str
    is_optional: bool = False

    @property
    def loss_key(self) -> str:
        """The record's key of the unweighted term."""
        return f"{self.label}_loss_value"

    @property
    def weight_key(self) -> str:
        """The record's key of the effective weight."""
        return f"{self.label}_weight_current"


LOSS_TERMS: tuple[LossTerm, ...] = (
    LossTerm("l1", "L1", "L1_WEIGHT"),
    LossTerm("ms", "multi-scale", "MS_WEIGHT"),
    LossTerm("gradient", "gradient", "GRAD_WEIGHT"),
    LossTerm("perceptual", "perceptual", "PERCEPTUAL_WEIGHT", is_optional=True),
)
TERM_COUNT = len(LOSS_TERMS)

TOTAL_LABEL = "total"
TOTAL_LOSS_KEY = f"{TOTAL_LABEL}_loss_value"
"""The record's key of the weighted total."""
