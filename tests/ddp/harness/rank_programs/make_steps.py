"""Makes some steps with a whole trainer on every rank, and counts what crosses between the ranks in each.

    torchrun … make_steps.py OUT STEPS KEY=VALUE …

Rank 0 saves to OUT: weights, losses by step, own (our collectives by step), gradients (DDP's by step), seconds.
"""

import logging
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from ddp.control.shutdown import ShutdownRequest
from ddp.distributed.environment import rank_environment
from ddp.distributed.world import World
from ddp.metrics.step_metrics import losses
from ddp.training.builder import build_components, open_workload
from ddp.training.components import TrainerComponents, build_trainer
from service.config.loader import load_config
from service.run.identity import RunIdentity
from service.run.state import RunState

OURS = ("all_reduce", "all_gather_object", "broadcast_object_list", "broadcast", "all_gather", "barrier", "reduce")


class Counted:
    """Collectives by step; `step` is the one being made."""

    def __init__(self) -> None:
        self.step = 0
        self.own: dict[int, Counter[str]] = {}
        self.gradients: Counter[int] = Counter()
        for name in OURS:
            setattr(dist, name, self._counting(name, getattr(dist, name)))

    def _counting(self, name: str, collective: Any) -> Any:
        def call(*arguments: Any, **named: Any) -> Any:
            kind = "control" if named.get("async_op") else name
            self.own.setdefault(self.step, Counter())[kind] += 1
            return collective(*arguments, **named)

        return call

    def watch(self, network: torch.nn.Module) -> None:
        """Count DDP's own buckets too; the hook does what DDP does without one."""
        if isinstance(network, torch.nn.parallel.DistributedDataParallel):
            network.register_comm_hook(None, self._reduce)

    def _reduce(self, _state: Any, bucket: dist.GradBucket) -> torch.futures.Future[torch.Tensor]:
        self.gradients[self.step] += 1
        buffer = bucket.buffer().div_(dist.get_world_size())
        work: Any = dist.distributed_c10d.all_reduce(buffer, async_op=True)
        future: torch.futures.Future[torch.Tensor] = work.get_future().then(lambda done: done.value()[0])
        return future


def note_wrapped(world: World) -> list[torch.nn.Module]:
    """The networks that are wrapped from now on."""
    networks: list[torch.nn.Module] = []
    wrap = world.wrap

    def noting(model: torch.nn.Module, **options: bool) -> torch.nn.Module:
        networks.append(wrap(model, **options))
        return networks[-1]

    world.wrap = noting  # type: ignore[method-assign]
    return networks


def watch_losses(components: TrainerComponents) -> list[float]:
    """The total loss of each step from now on."""
    totals: list[float] = []
    note = components.metrics_buffer.append

    def add(row: torch.Tensor, step: int) -> None:
        totals.append(float(losses(row)[0]))
        note(row, step)

    components.metrics_buffer.append = add  # type: ignore[method-assign]
    return totals


def main() -> None:
    logging.basicConfig(level=logging.ERROR)
    out, steps, *overrides = sys.argv[1:]
    loaded = load_config(None, overrides, {})
    world = World.join(rank_environment(), "cpu", threads=1)
    wrapped = note_wrapped(world)
    components = build_components(
        world, loaded, RunIdentity("steps"), ShutdownRequest(), open_workload(world, loaded.config)
    )
    counted = Counted()
    for network in wrapped:
        counted.watch(network)
    trainer = build_trainer(components)
    totals, began = watch_losses(components), time.monotonic()
    components.window.timer.restart()
    for step in range(1, int(steps) + 1):
        counted.step = step
        trainer.advance()
    seconds = time.monotonic() - began
    weights = torch.cat([parameter.detach().flatten() for parameter in components.stepper.model.parameters()])
    components.checkpointer.close()
    components.recorder.close(RunState.STOPPED)
    if world.is_main:
        torch.save(
            {
                "weights": weights,
                "losses": totals,
                "own": {step: dict(kinds) for step, kinds in counted.own.items()},
                "gradients": dict(counted.gradients),
                "seconds": seconds,
            },
            Path(out),
        )
    world.leave()


main()
