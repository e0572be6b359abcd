"""What each panel of a picture shows: its curves, its scale, and the stretches behind them."""

from dataclasses import dataclass

from service.loss_terms import LOSS_TERMS, TOTAL_LOSS_KEY
from service.run.records.curves.columns import LEARNING_RATE, LOSSES, MODE, PHASE, QUALITIES, WEIGHTS


@dataclass(frozen=True)
class Panel:
    """One panel: record keys of its curves, whether its scale is logarithmic, and the key of stretches behind them.

    `overlaid` are the curves shown of each run where several are.
    """

    name: str
    keys: tuple[str, ...]
    is_log: bool = False
    stretches: str | None = None
    overlaid: tuple[str, ...] = ()


ACTIVITY = "activity"
PANELS: tuple[Panel, ...] = (
    Panel("quality", QUALITIES, overlaid=QUALITIES[:2]),
    Panel("losses", LOSSES, is_log=True, overlaid=(TOTAL_LOSS_KEY, "validation_loss_value")),
    Panel("lr", (LEARNING_RATE,), stretches=PHASE, overlaid=(LEARNING_RATE,)),
    Panel("weights", WEIGHTS, stretches=MODE, overlaid=WEIGHTS),
    Panel(ACTIVITY, ()),
)
NAMES = tuple(panel.name for panel in PANELS)

LABELS = {
    "quality_ki_value": "KI", "quality_lr_value": "LR", "quality_ema_value": "KI (EMA)",
    TOTAL_LOSS_KEY: "total", "validation_loss_value": "validation", LEARNING_RATE: "learning rate",
    **{term.loss_key: term.title for term in LOSS_TERMS},
    **{term.weight_key: term.title for term in LOSS_TERMS},
}  # fmt: skip
"""What a legend calls a key."""
