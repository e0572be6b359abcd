"""What a checkpoint of the network costs the training thread, and the steps made while it is written."""

import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from bench.gpu.context import WARM_UP_STEPS, Context
from bench.gpu.throughput import FAST
from bench.steps.loops import components_at_work
from bench.steps.synthetic import Synthetic
from ddp.checkpoint.folder import Reason
from ddp.training.checkpoints import Checkpoints
from ddp.training.components import build_checkpoints, build_trainer

SAVES = 4
STEPS = 8


class Saving(NamedTuple):
    """One checkpoint, s: of the training thread, until it is written, of a step before, and of those meanwhile."""

    held: float
    written: float
    step_before: float
    steps_meanwhile: list[float]


def measure_checkpoint(context: Context) -> None:
    """Rows: how long the training is held, how long writing takes, and how much longer steps take meanwhile."""
    with tempfile.TemporaryDirectory(prefix="leitstand-gpu-") as folder:
        config = context.config(Path(folder), **FAST)
        with components_at_work(context.world(), config, Synthetic(config)) as components:
            trainer, checkpoints = build_trainer(components), build_checkpoints(components)
            for _ in range(WARM_UP_STEPS):
                trainer.advance()
            found = []
            for _ in range(SAVES):
                found.append(save_once(context, checkpoints, trainer.advance))
                components.checkpointer.drain()
    write_rows(context, found)


def save_once(context: Context, checkpoints: Checkpoints, advance: Callable[[], object]) -> Saving:
    """Some steps, a checkpoint, and steps until it is written; the device is at rest whenever a clock is read."""

    def timed(act: Callable[[], object]) -> float:
        context.synchronize()
        began = time.perf_counter()
        act()
        context.synchronize()
        return time.perf_counter() - began

    before = statistics.median(timed(advance) for _ in range(STEPS))
    written, written_at = threading.Event(), [0.0]

    def note(_step: int, _problem: str | None) -> None:
        written_at[0] = time.perf_counter()
        written.set()

    held = timed(lambda: checkpoints.save(Reason.SCHEDULE, note))
    copied_at, meanwhile = time.perf_counter(), []
    while not written.is_set():
        meanwhile.append(timed(advance))
    return Saving(held, written_at[0] - copied_at, before, meanwhile)


def write_rows(context: Context, found: list[Saving]) -> None:
    """Medians over the checkpoints."""
    step = statistics.median(saving.step_before for saving in found)
    held = statistics.median(saving.held for saving in found)
    context.write("checkpoint: training held", held * 1000, "ms", f"{held / step:.2f} steps of {step * 1000:.1f} ms")
    context.write("checkpoint: written after", statistics.median(saving.written for saving in found) * 1000, "ms")
    during = [seconds for saving in found for seconds in saving.steps_meanwhile]
    if during:
        slower = statistics.median(during) / step
        context.write("checkpoint: steps meanwhile", slower, "times a step before", f"{len(during)} steps")
