"""What a checkpoint costs the training thread.

    torchrun --nproc-per-node=2 -m bench.steps.stall [--model demo|large] [--saves N]

The time that `Checkpoints.save` keeps the training thread (gathering random generators, copying the state) against the
median step, and the steps made while the writer's thread is at work against those before.
"""

import argparse
import logging
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from bench.steps.blocks import load_text
from bench.steps.loops import NEVER, components_at_work
from bench.steps.synthetic import SIZES, Synthetic
from ddp.checkpoint.folder import Reason
from ddp.distributed.environment import rank_environment
from ddp.distributed.world import World
from ddp.training.checkpoints import Checkpoints
from ddp.training.components import build_checkpoints, build_trainer
from ddp.training.trainer import Trainer
from service.config.settings import RunConfig

WARM_UP_STEPS = 3


class Saving(NamedTuple):
    """One checkpoint, in seconds: of the training thread, of the writer, of a step before, and of those meanwhile."""

    copying: float
    writing: float
    step_before: float
    steps_meanwhile: tuple[float, ...]


def timed(act: Callable[[], None]) -> float:
    """Seconds that it takes."""
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def save_once(trainer: Trainer, checkpoints: Checkpoints, drain: Callable[[], object], steps: int) -> Saving:
    """Some steps, a checkpoint, as many steps again: those that began while it was being written are `meanwhile`."""
    before = [timed(trainer.advance) for _ in range(steps)]
    written_at: list[float] = []
    written = threading.Event()

    def note(_step: int, _problem: str | None) -> None:
        written_at.append(time.perf_counter())
        written.set()

    began = time.perf_counter()
    checkpoints.save(Reason.SCHEDULE, note)
    copied_at = time.perf_counter()
    meanwhile = []
    for _ in range(steps):
        is_writing = not written.is_set()
        seconds = timed(trainer.advance)
        if is_writing:
            meanwhile.append(seconds)
    drain()
    writing = written_at[0] - copied_at if written_at else float("nan")  # only rank 0 writes
    return Saving(copied_at - began, writing, statistics.median(before), tuple(meanwhile))


def measure_saving(model: str, saves: int, steps: int) -> None:
    """On every rank of a launcher: save so often, and say what it cost."""
    logging.getLogger().setLevel(logging.ERROR)
    world = World.join(rank_environment(), "auto", threads=1)
    with tempfile.TemporaryDirectory() as folder:
        config = RunConfig(
            data_root=Path(world.from_main(folder)), **SIZES[model]._asdict(),
            val_step_every=NEVER, checkpoint_every=NEVER, max_steps=NEVER,
        )  # fmt: skip
        with components_at_work(world, config, Synthetic(config)) as components:
            trainer, checkpoints = build_trainer(components), build_checkpoints(components)
            for _ in range(WARM_UP_STEPS):
                trainer.advance()
            found = [save_once(trainer, checkpoints, components.checkpointer.drain, steps) for _ in range(saves)]
            parameters = sum(parameter.numel() for parameter in components.stepper.model.parameters())
        if world.is_main:
            sys.stdout.write(describe_saving(model, parameters, found))
    world.leave()


def describe_saving(model: str, parameters: int, found: list[Saving]) -> str:
    """The figures as lines of text; medians over the checkpoints, the largest in brackets."""
    before = statistics.median(saving.step_before for saving in found)
    held = statistics.median(saving.copying for saving in found) / before
    during = [seconds for saving in found for seconds in saving.steps_meanwhile]
    slower = statistics.median(during) / before if during else float("nan")
    return (
        f"{model}: {parameters / 1e6:.2f} M parameters, {len(found)} checkpoints; {load_text()}\n"
        f"  training thread held for {in_milliseconds([saving.copying for saving in found])}, "
        f"a step takes {before * 1000:.0f} ms: {held:.2f} steps\n"
        f"  written after {in_milliseconds([saving.writing for saving in found])}; "
        f"{len(during)} steps meanwhile, each {slower:.2f} times a step before\n"
    )


def in_milliseconds(seconds: list[float]) -> str:
    return f"{statistics.median(seconds) * 1000:.1f} ms (max {max(seconds) * 1000:.1f})"


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", choices=("demo", "large"), default="demo")
    parser.add_argument("--saves", type=int, default=5)
    parser.add_argument("--steps", type=int, default=10, help="steps before and after each checkpoint")
    given = parser.parse_args()
    measure_saving(given.model, given.saves, given.steps)


if __name__ == "__main__":
    main()
