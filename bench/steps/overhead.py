"""What telemetry, control and the adaptive controller add to a step, against the same loop bare.

    torchrun --nproc-per-node=2 -m bench.steps.overhead [--model tiny|demo] [--pairs N] [--log-every N] [--ema]

Both loops run in the same processes, in alternating blocks on two copies of one network: each pair of neighbouring
blocks gives one difference. `bare/bare` pairs the bare loop with a twin of itself, in turn with the other pairs, and
shows the noise. Everything is on that is on by default: controller, watchdog, recorder with a real store.
"""

import argparse
import logging
import sys
import tempfile
import threading
import time
from collections import defaultdict
from pathlib import Path

from bench.steps.blocks import BLOCK_STEPS, Pair, describe, load_text, measure
from bench.steps.loops import NEVER, Bare, trainer_at_work
from bench.steps.synthetic import SIZES, Synthetic
from ddp.distributed.environment import rank_environment
from ddp.distributed.world import World
from service.config.settings import RunConfig

PORTION = 20
"""Pairs in a row of one kind."""
REST_SECONDS = 15.0
MIN_SHARE = 0.0005
"""Threads that take less are not named."""


def compare(world: World, config: RunConfig, pairs: int) -> dict[str, list[Pair]]:
    """Pairs of bare against itself and against Leitstand, in turn."""
    workload = Synthetic(config)
    bare, twin = Bare(world, config, workload), Bare(world, config, workload)
    found: dict[str, list[Pair]] = {"bare/bare": [], "bare/leitstand": []}
    with trainer_at_work(world, config, workload) as trainer:
        if world.is_main:
            shares = idle_shares()
            most = sorted(shares.items(), key=lambda item: -item[1])
            named = ", ".join(f"{name} {share:.2%}" for name, share in most if share >= MIN_SHARE)
            sys.stdout.write(f"background threads of rank 0 at rest: {sum(shares.values()):.2%} of a core ({named})\n")
        others = dict(zip(found, (twin.advance, trainer.advance), strict=True))
        for other in others.values():  # warm-up
            measure(4, bare.advance, other, world.device)
        while len(found["bare/leitstand"]) < pairs:
            for name, other in others.items():
                found[name] += measure(min(PORTION, pairs), bare.advance, other, world.device)
    return found


def idle_shares() -> dict[str, float]:
    """CPU seconds per second of the other threads, by name, while this sleeps: what they take from the bare loop."""
    began, before = time.perf_counter(), thread_seconds()
    time.sleep(REST_SECONDS)
    seconds, shares = time.perf_counter() - began, defaultdict[str, float](float)
    for number, (name, spent) in thread_seconds().items():
        shares[name] += (spent - before.get(number, (name, 0.0))[1]) / seconds
    return shares


def thread_seconds() -> dict[str, tuple[str, float]]:
    """Name and CPU seconds of each thread of this process, by the system's number; libraries have threads too."""
    names = {str(thread.native_id): thread.name for thread in threading.enumerate()}
    found = {}
    for task in Path("/proc/self/task").iterdir():
        name = names.get(task.name) or (task / "comm").read_text().strip()
        found[task.name] = name, int((task / "schedstat").read_text().split()[0]) / 1e9
    return found


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", choices=("tiny", "demo"), default="tiny")
    parser.add_argument("--pairs", type=int, default=60)
    parser.add_argument("--log-every", type=int, default=100)
    parser.add_argument("--ema", action="store_true", help="keep averaged weights, too")
    given = parser.parse_args()
    if given.pairs < 2:
        parser.error(f"--pairs {given.pairs}: a spread needs at least two")
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
