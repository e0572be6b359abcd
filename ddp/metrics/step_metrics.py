"""The values measured by every step: the layout of a step's row, and the transfer of rows from device to host.

    reduced   total, one loss per term | total variation of output and target; averaged with the gradients
    row       reduced | gradient norm before clipping | 1 where the step was skipped, else 0

Only this module knows the indices in a row; others call `pack_values`, `pack`, `losses`, `grad_norm`, `skip_flag` and
`is_skipped`.

Rows are collected on the device, and joined to a block only when they are needed: a step's cost is its number of
operations. Every ADAPT_EVERY steps the block is copied to the host asynchronously, and the previous block is read: its
copy had ADAPT_EVERY steps to complete, so the host does not wait for the step that it has just issued. All values are
the same on every rank, so every decision based on them is the same too.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from service.loss_terms import TERM_COUNT

LOSS_COUNT = 1 + TERM_COUNT
"""Number of losses: the weighted total and the unweighted terms."""
REDUCED = LOSS_COUNT + 2
"""Number of values that are averaged with the gradients."""
ROW = REDUCED + 2
"""Length of a step's row."""


def pack_values(total: Tensor, terms: Tensor, variation: Tensor) -> Tensor:
    """Join a micro-batch's values: weighted loss (), terms (4,), total variation of output and target (2,)."""
    return torch.cat([total.view(1), terms, variation])  # (REDUCED,)


def pack(reduced: Tensor, norm: Tensor) -> Tensor:
    """Build the row (ROW,) of a step from the reduced values (REDUCED,) and the gradient norm ().

    The step must be skipped if any of them is infinite or not a number: then the sum of 0 · x is not a number.
    """
    values = torch.cat([reduced, norm.view(1)])
    return torch.cat([values, torch.dot(values, torch.zeros_like(values)).nan_to_num_(nan=1.0).view(1)])


def losses(rows: Tensor) -> Tensor:
    """Return the weighted total and the unweighted terms (…, LOSS_COUNT) of rows (…, ROW)."""
    return rows[..., :LOSS_COUNT]


def grad_norm(row: Tensor) -> Tensor:
    """Return the L2 norm of all gradients before clipping () of a row."""
    return row[REDUCED]


def skip_flag(row: Tensor) -> Tensor:
    """Return 1 () if the step of a row must be skipped, else 0."""
    return row[REDUCED + 1]


def is_skipped(rows: Tensor) -> Tensor:
    """Return whether the step of each of rows (…, ROW) was skipped, truth values (…) on the rows' device."""
    return rows[..., REDUCED + 1] > 0


def stack(rows: list[Tensor], device: torch.device) -> Tensor:
    """Join rows (ROW,) to (N, ROW), also none."""
    return torch.stack(rows) if rows else torch.zeros(0, ROW, device=device)


@dataclass(frozen=True)
class StepMetrics:
    """Values of one step on the host."""

    step: int
    total: float
    terms: tuple[float, ...]
    sharpness: float
    grad_norm: float
    is_skipped: bool


class StepMetricsBuffer:
    """Buffer of step rows: `append` after every step, `exchange` every ADAPT_EVERY steps."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._block: list[Tensor] = []
        self._first_step = 1
        self._sent = torch.zeros(0, ROW)
        self._sent_first_step = 1
        self._arrived: torch.cuda.Event | None = None

    def append(self, row: Tensor, step: int) -> None:
        """Append the row (ROW,) of step number `step`, on the device."""
        if not self._block:
            self._first_step = step
        self._block.append(row)

    def exchange(self) -> list[StepMetrics]:
        """Start the copy of this block to the host; return the steps of the previous block, in order."""
        rows = self._read_sent()
        self._sent_first_step = self._first_step
        self._sent = _on_host(stack(self._block, self._device))
        if self._device.type == "cuda":
            self._arrived = torch.cuda.Event()
            self._arrived.record()
        self._block = []
        return rows

    def _read_sent(self) -> list[StepMetrics]:
        if self._arrived is not None:
            self._arrived.synchronize()
            self._arrived = None
        return [_unpack(self._sent_first_step + index, row) for index, row in enumerate(self._sent.tolist())]

    def state(self) -> dict[str, Any]:
        """Return everything that has not been read yet, for a checkpoint."""
        if self._arrived is not None:
            self._arrived.synchronize()
        return {
            "rows": stack(self._block, self._device),
            "first_step": self._first_step,
            "sent": self._sent,
            "sent_first_step": self._sent_first_step,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore the rows of a checkpoint, also with another ADAPT_EVERY."""
        self._block = list(state["rows"].to(self._device, copy=True))
        self._first_step = state["first_step"]
        self._sent, self._sent_first_step = state["sent"].clone(), state["sent_first_step"]
        self._arrived = None


def _on_host(block: Tensor) -> Tensor:
    """Return a block on the host; from a GPU copied asynchronously, into page-locked memory."""
    if block.device.type != "cuda":
        return block
    target = torch.empty(block.shape, dtype=block.dtype, pin_memory=True)
    return target.copy_(block, non_blocking=True)


def _unpack(step: int, row: list[float]) -> StepMetrics:
    total, *terms, variation, target_variation, norm, skipped = row
    sharpness = variation / target_variation if target_variation else 1.0
    return StepMetrics(step, total, tuple(terms), sharpness, norm, skipped > 0)
