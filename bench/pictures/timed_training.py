"""Trains one network for a number of processor seconds a rank, and saves its weights.

    torchrun --nproc-per-node=N -m bench.pictures.timed_training --seconds S --to FILE [--set KEY=VALUE …]

Processor time, not the clock's: on a shared machine the clock tells of the others. Fetching and augmenting count. The
step is the product's own; the cosine runs over the time instead of the steps, so that every network ends at MIN_LR.
"""

import argparse
import json
import math
import sys
import time
from pathlib import Path

import torch

from ddp.adaptive.controller import Controller
from ddp.checkpoint.network_shape import shape_of
from ddp.checkpoint.safetensors import write_safetensors
from ddp.distributed.environment import rank_environment
from ddp.distributed.rng import seed_rng
from ddp.distributed.world import World
from ddp.metrics.window import MetricsWindow
from ddp.step.stepper import Stepper
from ddp.watchdog.stages import StageMarker
from ddp.workload import Share, load_workload
from service.config.settings import RunConfig
from service.config.source import SettingsSource


def learning_rate(config: RunConfig, step: int, share: float) -> float:
    """Return the rate of a step when this share of the time is over: linear warm-up in steps, cosine in time."""
    warm = min(1.0, (step + 1) / max(1, config.warmup_steps))
    return warm * (config.min_lr + (config.max_lr - config.min_lr) * 0.5 * (1 + math.cos(math.pi * min(1.0, share))))


def train(world: World, config: RunConfig, seconds: float) -> tuple[Stepper, int, float]:
    """Train until the ranks have used that much in the mean; return the steps and the mean of the seconds used."""
    workload = load_workload(config)
    seed_rng(config.seed)
    stepper = Stepper(world, config, workload, StageMarker())
    controller = Controller.of(config, has_perceptual=workload.has_perceptual)
    batches, window = workload.batches(Share(world.rank, world.size, 0)), MetricsWindow(world)
    window.timer.restart()
    step, used, began = 0, 0.0, time.process_time()
    while used < seconds:
        rate = learning_rate(config, step, used / seconds)
        row = stepper.make_step(batches, controller.weights, rate, config.initial_grad_clip, window, lambda: None)
        window.add(row)
        step += 1
        mean = world.sum(torch.tensor([time.process_time() - began], dtype=torch.float64)) / world.size
        used = float(mean)
    return stepper, step, used


def main() -> None:
    """Train, save, and say how far it came."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--set", action="append", default=[], dest="settings")
    given = parser.parse_args()
    config = SettingsSource(None, tuple(given.settings)).load({}).config
    world = World.join(rank_environment(), "cpu", threads=1)
    stepper, steps, used = train(world, config, given.seconds)
    if world.is_main:
        shape = {name: str(value) for name, value in shape_of(config).items()}
        write_safetensors(given.to, stepper.model.state_dict(), shape)
        parameters = sum(parameter.numel() for parameter in stepper.model.parameters())
        sys.stdout.write(json.dumps({"steps": steps, "seconds": used, "parameters": parameters}) + "\n")
    world.leave()


if __name__ == "__main__":
    main()
