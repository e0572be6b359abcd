"""A step's row: its layout, and its way to the host, once, in order, one block late; a checkpoint holds the rest."""

import copy
from typing import Any

import pytest
import torch

from ddp.metrics.step_metrics import (
    ROW,
    StepMetrics,
    StepMetricsBuffer,
    grad_norm,
    is_skipped,
    losses,
    pack,
    pack_values,
)

CPU = torch.device("cpu")


def row(step: int, *, skipped: bool = False, target_detail: float = 0.25) -> torch.Tensor:
    reduced = pack_values(
        torch.tensor(10.0 * step), torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([0.5, target_detail])
    )
    return pack(reduced, torch.tensor(float("nan") if skipped else 7.0))


def walk(metrics_buffer: StepMetricsBuffer, first: int, last: int, every: int) -> list[StepMetrics]:
    """Make steps as the trainer does: turn before a step that begins a new block."""
    seen = []
    for step in range(first, last + 1):
        if step > 1 and (step - 1) % every == 0:
            seen.extend(metrics_buffer.exchange())
        metrics_buffer.append(row(step), step)
    return seen


def test_a_row_gives_back_what_was_packed_into_it() -> None:
    assert row(3).tolist() == [30.0, 1.0, 2.0, 3.0, 4.0, 0.5, 0.25, 7.0, 0.0]  # the order of checkpoints
    assert len(row(3)) == ROW

    assert losses(row(3)).tolist() == [30.0, 1.0, 2.0, 3.0, 4.0]
    assert float(grad_norm(row(3))) == 7.0
    assert [bool(is_skipped(row(3, skipped=skipped))) for skipped in (False, True)] == [False, True]


def test_rows_arrive_once_in_order_and_one_block_late() -> None:
    metrics_buffer = StepMetricsBuffer(CPU)

    seen = walk(metrics_buffer, 1, 13, 4)

    assert [item.step for item in seen] == list(range(1, 9))
    assert seen[2] == StepMetrics(3, 30.0, (1.0, 2.0, 3.0, 4.0), 2.0, 7.0, is_skipped=False)


def test_a_flat_target_counts_as_sharp_and_a_skipped_step_is_marked() -> None:
    metrics_buffer = StepMetricsBuffer(CPU)
    metrics_buffer.append(row(1, skipped=True, target_detail=0.0), 1)
    metrics_buffer.exchange()

    (seen,) = metrics_buffer.exchange()

    assert (seen.sharpness, seen.is_skipped) == (1.0, True)


@pytest.mark.parametrize("stopped_at", range(1, 13))
def test_a_ledger_restored_anywhere_goes_on_as_if_never_left(stopped_at: int) -> None:
    straight = walk(StepMetricsBuffer(CPU), 1, 24, 4)
    first, second = StepMetricsBuffer(CPU), StepMetricsBuffer(CPU)

    seen = walk(first, 1, stopped_at, 4)
    second.restore(copy.deepcopy(first.state()))
    seen += walk(second, stopped_at + 1, 24, 4)

    assert seen == straight


@pytest.mark.parametrize("every", [2, 7])
def test_another_rhythm_after_a_resume_loses_no_step(every: int) -> None:
    first, second = StepMetricsBuffer(CPU), StepMetricsBuffer(CPU)
    seen = walk(first, 1, 11, 4)
    state: dict[str, Any] = copy.deepcopy(first.state())
    second.restore(state)

    seen += walk(second, 12, 40, every)

    assert [item.step for item in seen] == list(range(1, len(seen) + 1))
    assert len(seen) >= 40 - 2 * every
