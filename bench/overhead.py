"""What telemetry, control and the adaptive controller add to a step, against the same loop bare.

    torchrun --nproc-per-node=2 bench/overhead.py [--model tiny|demo] [--pairs N] [--log-every N] [--ema]

Both loops run in the same processes, in alternating blocks on two copies of one network: each pair of neighbouring
blocks gives one difference. `bare/bare` pairs the bare loop with a twin of itself, in turn with the other pairs, and
shows the noise. Everything is on that is on by default: controller, watchdog, recorder with a real store.
"""

import argparse
import logging
import sys
import tempfile
import time
from pathlib import Path

from bench.blocks import BLOCK_STEPS, Pair, describe, load_text, measure
from bench.loops import NEVER, Bare, trainer_at_work
from bench.synthetic import SIZES, Synthetic
from ddp.distributed.environment import rank_environment
from ddp.distributed.world import World
from service.config.settings import RunConfig

PORTION = 20
"""Pairs in a row of one kind."""
REST_SECONDS = 5.0


def compare(world: World, config: RunConfig, pairs: int) -> dict[str, list[Pair]]:
    """Pairs of bare against itself and against Leitstand, in turn."""
    workload = Synthetic(config)
    bare, twin = Bare(world, config, workload), Bare(world, config, workload)
    found: dict[str, list[Pair]] = {"bare/bare": [], "bare/leitstand": []}
    with trainer_at_work(world, config, workload) as trainer:
        if world.is_main:
            sys.stdout.write(f"background threads of rank 0 at rest: {idle_share():.2%} of a core\n")
        others = dict(zip(found, (twin.advance, trainer.advance), strict=True))
        for other in others.values():  # warm-up
            measure(4, bare.advance, other, world.device)
        while len(found["bare/leitstand"]) < pairs:
            for name, other in others.items():
                found[name] += measure(min(PORTION, pairs), bare.advance, other, world.device)
    return found


def idle_share() -> float:
    """CPU seconds per second of all other threads, while this one sleeps: what they take from the bare loop, too."""
    began, cpu = time.perf_counter(), time.process_time()
    time.sleep(REST_SECONDS)
    return (time.process_time() - cpu) / (time.perf_counter() - began)


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", choices=("tiny", "demo"), default="tiny")
    parser.add_argument("--pairs", type=int, default=60)
    parser.add_argument("--log-every", type=int, default=100)
    parser.add_argument("--ema", action="store_true", help="keep averaged weights, too")
    given = parser.parse_args()
    logging.getLogger().setLevel(logging.ERROR)
    world = World.join(rank_environment(), "auto", threads=1)
    with tempfile.TemporaryDirectory() as folder:
        config = RunConfig(
            data_root=Path(world.from_main(folder)), **SIZES[given.model]._asdict(), log_every=given.log_every,
            ema_decay=0.999 if given.ema else 0.0, val_step_every=NEVER, checkpoint_every=NEVER, max_steps=NEVER,
        )  # fmt: skip
        found = compare(world, config, given.pairs)
    if world.is_main:
        ema = ", with EMA" if given.ema else ""
        sys.stdout.write(
            f"{given.model}, {world.size} ranks on {world.device}, a log every {given.log_every} steps{ema}, "
            f"{len(found['bare/bare'])} pairs of {BLOCK_STEPS} steps each; {load_text()}\n"
        )
        sys.stdout.write("".join(describe(name, pairs) + "\n" for name, pairs in found.items()))
    world.leave()


if __name__ == "__main__":
    main()
