"""What several GPUs cost: gradients through NCCL, and what the trainer adds; on one GPU, one rank that has NCCL.

Without a GPU two gloo ranks are the rehearsal.
"""

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist

from bench.gpu.context import BLOCKS, SIZES, WARM_UP_STEPS, Context, block_seconds
from bench.gpu.throughput import FAST
from bench.steps.loops import Bare, trainer_at_work
from bench.steps.synthetic import Synthetic
from ddp.distributed.environment import rank_environment
from ddp.distributed.world import World

MOST_RANKS = 8
REHEARSAL_RANKS = 2


def measure_ranks(context: Context) -> None:
    """Start the ranks by torchrun; rank 0 writes the rows."""
    ranks = min(MOST_RANKS, torch.cuda.device_count()) if context.is_gpu else REHEARSAL_RANKS
    size = next(name for name, value in SIZES.items() if value == context.size)
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}", "-m",
        "bench.gpu.part", "rank", "--device", context.device.type, "--size", size,
        "--seconds", str(context.seconds), "--rows", str(context.rows),
    ]  # fmt: skip
    subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=True)


def be_a_rank(context: Context) -> None:
    """Rows of rank 0: the gradients' exchange, the step by hand, and the whole trainer, all on all ranks."""
    world = World.join(rank_environment(), context.device.type, threads=1)
    with tempfile.TemporaryDirectory(prefix="leitstand-gpu-") as folder:
        config = context.config(Path(world.from_main(folder)), **FAST)
        bare = Bare(world, config, Synthetic(config))
        gradients = torch.zeros(sum(parameter.numel() for parameter in bare.model.parameters()), device=world.device)
        name = f"{world.size} ranks, {dist.get_backend()}"
        exchange = step_seconds(context, world, lambda: dist.all_reduce(gradients), 0.05)
        by_hand = step_seconds(context, world, bare.advance, 0.2)
        with trainer_at_work(world, config, Synthetic(config)) as trainer:
            whole = step_seconds(context, world, trainer.advance, 0.2)
        if world.is_main:
            images = world.size * config.batch_size
            size = f"{4 * gradients.numel() / 2**20:.1f} MiB, one all_reduce"
            context.write(f"{name}: gradients", exchange * 1000, "ms", size)
            context.write(f"{name}: by hand", images / by_hand, "images/s")
            added = f"{(whole - by_hand) * 1000:+.3f} ms a step against by hand"
            context.write(f"{name}: Leitstand", images / whole, "images/s", added)
    world.leave()


def step_seconds(context: Context, world: World, advance: Callable[[], object], share: float) -> float:
    """Seconds per step, median of blocks; all ranks make as many steps as rank 0 says."""
    for _ in range(WARM_UP_STEPS):
        advance()
    once = block_seconds(context, advance, 2)
    steps = world.from_main(max(1, min(100, int(context.seconds * share / BLOCKS / once))))
    return statistics.median(block_seconds(context, advance, steps) for _ in range(BLOCKS))
