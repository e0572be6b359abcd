"""What a checkpoint of the network costs the training thread, and the steps made while it is written."""

import statistics
import tempfile
from pathlib import Path

from bench.gpu.context import WARM_UP_STEPS, Context
from bench.gpu.throughput import FAST
from bench.steps.loops import components_at_work
from bench.steps.stall import save_once
from bench.steps.synthetic import Synthetic
from ddp.training.components import build_checkpoints, build_trainer

SAVES = 4
STEPS = 8


def measure_checkpoint(context: Context) -> None:
    """Rows: how long the training is held, how long writing takes, and how much longer steps take meanwhile."""
    with tempfile.TemporaryDirectory(prefix="leitstand-gpu-") as folder:
        config = context.config(Path(folder), **FAST)
        with components_at_work(context.world(), config, Synthetic(config)) as components:
            trainer, checkpoints = build_trainer(components), build_checkpoints(components)
            for _ in range(WARM_UP_STEPS):
                trainer.advance()
            context.synchronize()
            found = [save_once(trainer, checkpoints, components.checkpointer.drain, STEPS) for _ in range(SAVES)]
    step = statistics.median(saving.step_before for saving in found)
    held = statistics.median(saving.copying for saving in found)
    context.write("checkpoint: training held", held * 1000, "ms", f"{held / step:.2f} steps of {step * 1000:.1f} ms")
    context.write("checkpoint: written after", statistics.median(saving.writing for saving in found) * 1000, "ms")
    during = [seconds for saving in found for seconds in saving.steps_meanwhile]
    if during:
        slower = statistics.median(during) / step
        context.write("checkpoint: steps meanwhile", slower, "times a step before", f"{len(during)} steps")
