"""How long the step waits for data: loaders of their own processes, reading PNG files."""

import os
import tempfile
import time
from pathlib import Path

from bench.gpu.context import WARM_UP_STEPS, Context
from bench.gpu.throughput import FAST
from bench.steps.loops import components_at_work
from ddp.training.components import build_trainer
from ddp.workload import load_workload
from tests.ddp.harness.launching import SCALE, write_pair

PAIRS = 48
MOST_WORKERS = 16
RARE = 10**6


def measure_data_wait(context: Context) -> None:
    """Rows: share of the time in which the step waits for data, the wait per step, and what all come to."""
    with tempfile.TemporaryDirectory(prefix="leitstand-gpu-") as folder:
        dataset = write_patches(Path(folder, "patches"), SCALE * context.size.patch_size)
        workers = min(MOST_WORKERS, len(os.sched_getaffinity(0))) if context.is_gpu else 0
        run = Path(folder, "run")
        run.mkdir()
        config = context.config(run, **FAST, dataset_root=dataset, num_workers=workers, patch_size=0, log_every=RARE)
        with components_at_work(context.world(), config, load_workload(config)) as components:
            trainer, window = build_trainer(components), components.window
            for _ in range(WARM_UP_STEPS):
                trainer.advance()
            window.restart()
            until = time.perf_counter() + context.seconds / 3
            while time.perf_counter() < until:
                trainer.advance()
            found = window.summarise()
            note = f"{workers} loader processes, {PAIRS} PNG pairs, {found.ranks[0].steps:.0f} steps"
            context.write("data wait", found.data_wait_ratio * 100, "% of the time", note)
            context.write("data wait per step", found.ranks[0].wait_seconds_per_step * 1000, "ms")
            context.write("with real files", found.samples_per_second(config.batch_size), "images/s")
            components.batch_stream.close()


def write_patches(root: Path, side: int) -> Path:
    """Pairs whose GT has this side."""
    for number in range(PAIRS):
        write_pair(root / "Patches", f"train_{number:03d}", side, side, seed=number)
    write_pair(root / "Val", "val_000", side, side, seed=1000)
    return root
