"""Observations that nobody measured, and a loop that hands them to a controller as the trainer does: a block late."""

from collections.abc import Callable

from ddp.adaptive.controller import Controller
from ddp.adaptive.types import Observation

Measured = Callable[[int], Observation]


def observed(
    step: int, *, loss: float = 0.05, sharpness: float = 0.85, grad_norm: float = 1.0, l1: float | None = None
) -> Observation:
    """A step whose terms are all `loss`, but for L1 where it is given."""
    return Observation(step, (loss if l1 is None else l1, loss, loss, loss), sharpness, grad_norm)


def drive(
    controller: Controller,
    first: int,
    last: int,
    measure: Measured,
    *,
    every: int = 10,
    after: Callable[[int], None] = lambda _: None,
) -> None:
    """Make the steps `first` to `last`; each block is handed over at the end of the one after it."""
    waiting: list[Observation] = []
    block: list[Observation] = []
    for step in range(first, last + 1):
        block.append(measure(step))
        if step % every == 0:
            controller.advance(waiting, step)
            waiting, block = block, []
            after(step)
