"""What every step measured: the layout of a step's row of numbers, and its way from the device to the host.

    reduced   total, one loss per term | detail of the output, of the target; averaged with the gradients
    row       reduced | gradient norm before clipping | 1 where the step was skipped, else 0

Only this module knows the places in a row; others call `pack_values`, `pack`, `losses`, `grad_norm` and `is_skipped`.

Rows gather in a block on the device. Every ADAPT_EVERY steps the block is sent to the host, and the block sent the time
before is read: its copy has had that many steps to arrive, so the host does not wait for the step it has just issued.
All values are the same on every rank, so everything decided on them is decided alike.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from service.loss_terms import TERM_COUNT

LOSS_COUNT = 1 + TERM_COUNT
"""The weighted total and the unweighted terms."""
REDUCED = LOSS_COUNT + 2
"""Length of what travels with the gradients."""
ROW = REDUCED + 2
"""Length of a step's row."""


def pack_values(total: Tensor, terms: Tensor, variation: Tensor) -> Tensor:
    """Join what a micro-batch measured: the weighted loss (), the terms (4,), the detail of output and target (2,)."""
    return torch.cat([total.view(1), terms, variation])  # (REDUCED,)


def pack(reduced: Tensor, norm: Tensor, skipped: Tensor) -> Tensor:
    """Build the row (ROW,) of a step: the reduced values (REDUCED,), the gradient norm (), 1 for a skipped step ()."""
    return torch.cat([reduced, norm.view(1), skipped.view(1)])


def losses(row: Tensor) -> Tensor:
    """Return the weighted total and the unweighted terms (LOSS_COUNT,) of a row."""
    return row[:LOSS_COUNT]


def grad_norm(row: Tensor) -> Tensor:
    """Return the L2 norm of all gradients before clipping () of a row."""
    return row[REDUCED]


def is_skipped(row: Tensor) -> Tensor:
    """Return whether the step of a row was skipped, a truth value () on the row's device."""
    return row[REDUCED + 1] > 0


@dataclass(frozen=True)
class StepMetrics:
    """One step as the host sees it."""

    step: int
    total: float
    terms: tuple[float, ...]
    sharpness: float
    grad_norm: float
    is_skipped: bool


class StepMetricsBuffer:
    """The rows of the latest steps: `append` one after every step, `exchange` blocks every ADAPT_EVERY steps."""

    def __init__(self, device: torch.device, block_steps: int) -> None:
        self._device = device
        self._block = torch.zeros(block_steps, ROW, device=device)
        self._filled = 0
        self._first_step = 1
        self._sent = torch.zeros(0, ROW)
        self._sent_first_step = 1
        self._arrived: torch.cuda.Event | None = None

    def append(self, row: Tensor, step: int) -> None:
        """Append the row (ROW,) of step number `step`, on the device."""
        if self._filled == 0:
            self._first_step = step
        if self._filled == len(self._block):  # resumed under a longer rhythm
            self._block = torch.cat([self._block, torch.zeros_like(self._block)])
        self._block[self._filled].copy_(row)
        self._filled += 1

    def exchange(self) -> list[StepMetrics]:
        """Send this block on its way and read the one sent before, in step order."""
        rows = self._read_sent()
        self._sent_first_step = self._first_step
        self._sent = _on_host(self._block[: self._filled])
        if self._device.type == "cuda":
            self._arrived = torch.cuda.Event()
            self._arrived.record()
        self._filled = 0
        return rows

    def _read_sent(self) -> list[StepMetrics]:
        if self._arrived is not None:
            self._arrived.synchronize()
            self._arrived = None
        return [_unpack(self._sent_first_step + index, row) for index, row in enumerate(self._sent.tolist())]

    def state(self) -> dict[str, Any]:
        """Everything not read yet, for a checkpoint."""
        if self._arrived is not None:
            self._arrived.synchronize()
        return {
            "rows": self._block[: self._filled],
            "first_step": self._first_step,
            "sent": self._sent,
            "sent_first_step": self._sent_first_step,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint, also under another ADAPT_EVERY."""
        rows: Tensor = state["rows"]
        if len(rows) > len(self._block):
            self._block = torch.zeros(len(rows), ROW, device=self._device)
        self._block[: len(rows)].copy_(rows)
        self._filled = len(rows)
        self._first_step = state["first_step"]
        self._sent, self._sent_first_step = state["sent"].clone(), state["sent_first_step"]
        self._arrived = None


def _on_host(block: Tensor) -> Tensor:
    """A copy on the host; from a GPU into page-locked memory, without waiting."""
    if block.device.type != "cuda":
        return block.clone()
    target = torch.empty(block.shape, dtype=block.dtype, pin_memory=True)
    return target.copy_(block, non_blocking=True)


def _unpack(step: int, row: list[float]) -> StepMetrics:
    total, *terms, detail, target_detail, norm, skipped = row
    sharpness = detail / target_detail if target_detail else 1.0
    return StepMetrics(step, total, tuple(terms), sharpness, norm, skipped > 0)
