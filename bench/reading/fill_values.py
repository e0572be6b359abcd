"""The values that `history.py` and `fill_peers.py` log: plain mathematics, needed in two environments."""

import math

NAMES = (
    "total_loss_value", "l1_loss_value", "ms_loss_value", "gradient_loss_value",
    "learning_rate_value", "grad_norm", "iteration_duration", "samples_per_second",
)  # fmt: skip
PEAK_STEP = 77_700


def value(name_number: int, step: int) -> float:
    """A falling curve with ripples, and one peak that a reduction must not lose."""
    peak = 1.0 if step == PEAK_STEP else 0.0
    return 0.02 + math.exp(-step / 20_000) + 0.01 * math.sin(step / 37 + name_number) + peak
