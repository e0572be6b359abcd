"""The ranks of `bench/steps/stall.py`: they make steps and save checkpoints, and rank 0 notes how long each took.

    torchrun … bench/steps/saving_ranks.py --model demo --saves 20 --out FILE

What it imports is of the tree in PYTHONPATH, so that it also measures a tree that has no such script.
"""

import argparse
import json
import logging
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from bench.steps.loops import NEVER, components_at_work
from bench.steps.synthetic import Size, Synthetic
from ddp.checkpoint.folder import Reason
from ddp.distributed.environment import rank_environment
from ddp.distributed.world import World
from ddp.training.checkpoints import Checkpoints
from ddp.training.components import build_checkpoints, build_trainer
from ddp.training.trainer import Trainer
from service.config.settings import RunConfig

WARM_UP_STEPS = 4
MODELS = {"demo": Size(32, 10, 32, 2), "large": Size(128, 36, 12, 1), "huge": Size(256, 36, 8, 1)}


@dataclass
class Seconds:
    """What rank 0 has timed, in seconds.

    `held` is `Checkpoints.save` at the boundary, `held_cpu` the training thread's time on a processor in it, `saving`
    the step after it too, `ordinary` a step while nothing is being saved, `meanwhile` a later one that began while the
    state was being written, `written` the time until it was durable.
    """

    parameters: int = 0
    held: list[float] = field(default_factory=list)
    held_cpu: list[float] = field(default_factory=list)
    saving: list[float] = field(default_factory=list)
    ordinary: list[float] = field(default_factory=list)
    meanwhile: list[float] = field(default_factory=list)
    written: list[float] = field(default_factory=list)


def timed(act: Callable[[], None]) -> float:
    """Seconds that it takes."""
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def save_once(trainer: Trainer, checkpoints: Checkpoints, steps: int, seconds: Seconds) -> None:
    """Some steps, a checkpoint, and as many steps again."""
    seconds.ordinary += [timed(trainer.advance) for _ in range(steps)]
    written = threading.Event()
    began, began_cpu = time.perf_counter(), time.thread_time()

    def note(_step: int, _problem: str | None) -> None:
        seconds.written.append(time.perf_counter() - began)
        written.set()

    checkpoints.save(Reason.SCHEDULE, note)
    seconds.held.append(time.perf_counter() - began)
    seconds.held_cpu.append(time.thread_time() - began_cpu)
    trainer.advance()
    seconds.saving.append(time.perf_counter() - began)
    for _ in range(steps):
        is_writing = not written.is_set()
        took = timed(trainer.advance)
        (seconds.meanwhile if is_writing else seconds.ordinary).append(took)


def main() -> None:
    """Measure on every rank of a launcher."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", choices=MODELS, required=True)
    parser.add_argument("--saves", type=int, required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    logging.getLogger().setLevel(logging.ERROR)
    world, seconds = World.join(rank_environment(), "auto", threads=1), Seconds()
    with tempfile.TemporaryDirectory() as folder:
        config = RunConfig(
            data_root=Path(world.from_main(folder)), **MODELS[given.model]._asdict(),
            val_step_every=NEVER, checkpoint_every=NEVER, max_steps=NEVER, keep_checkpoints=1,
        )  # fmt: skip
        with components_at_work(world, config, Synthetic(config)) as components:
            trainer, checkpoints = build_trainer(components), build_checkpoints(components)
            for _ in range(WARM_UP_STEPS):
                trainer.advance()
            for _ in range(given.saves):
                save_once(trainer, checkpoints, given.steps, seconds)
                components.checkpointer.drain()
            seconds.parameters = sum(parameter.numel() for parameter in components.stepper.model.parameters())
        if world.is_main:
            given.out.write_text(json.dumps(asdict(seconds)))
    world.leave()


main()
