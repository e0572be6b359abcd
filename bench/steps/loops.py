"""The loops that are compared: the step by hand, and Leitstand's with everything on that is on by default."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from bench.steps.blocks import Pair, measure
from bench.steps.synthetic import Pixels, Synthetic
from ddp.adaptive.controller import Controller
from ddp.control.shutdown import ShutdownRequest
from ddp.distributed.world import World
from ddp.training.builder import build_components
from ddp.training.components import TrainerComponents, build_trainer, watchdog_running
from ddp.training.trainer import Trainer
from ddp.workload import Share, Workload
from service.config.loader import LoadedConfig
from service.config.settings import RunConfig
from service.run.identity import RunIdentity
from service.run.state import RunState

NEVER = 10**9
WARM_UP_BLOCKS = 2


class Bare:
    """The same step by hand: forward, backward, clip, AdamW, and nothing else."""

    def __init__(self, world: World, config: RunConfig, workload: Synthetic) -> None:
        self._device = world.device
        self._precision = torch.bfloat16 if config.precision == "bfloat16" else None
        model = workload.build_model().to(world.device)
        if config.channels_last:
            model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in its stub
        self.model = world.wrap(model, static_graph=False, share_buckets=config.gradient_as_bucket_view)
        self.loss = workload.build_loss().to(world.device)
        controller = Controller.of(config, has_perceptual=False)
        self.grad_clip = controller.grad_clip
        self.weights = torch.tensor(controller.weights, device=world.device)
        self.optimizer = make_optimizer(config, workload, model)
        self.batches = workload.batches(Share(world.rank, world.size, 0))

    def terms(self, batch: Pixels) -> Tensor:
        """The four unweighted terms (4,)."""
        lr, target = to_float(batch.lr, self._device), to_float(batch.gt, self._device)
        if self._precision is None:
            output = self.model(lr)
        else:
            with torch.autocast(self._device.type, self._precision):
                output = self.model(lr)
        terms: Tensor = self.loss(output, target)
        return terms

    def advance(self) -> None:
        """One step."""
        total = (self.terms(next(self.batches)) * self.weights).sum()
        total.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), self.grad_clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)


def to_float(pixels: Tensor, device: torch.device) -> Tensor:
    """8-bit pixels as numbers from 0 to 1 on the device."""
    return pixels.to(device, non_blocking=True).float() / 255


def make_optimizer(config: RunConfig, workload: Synthetic, model: nn.Module) -> torch.optim.AdamW:
    """AdamW over the workload's groups, as Leitstand's own."""
    groups = workload.parameter_groups(model)
    return torch.optim.AdamW(groups, lr=config.max_lr, weight_decay=config.weight_decay, fused=config.fused_adamw)


@contextmanager
def components_at_work(world: World, config: RunConfig, workload: Workload) -> Iterator[TrainerComponents]:
    """The components of a whole trainer, its recorder writing a real store and its watchdog watching."""
    components = build_components(world, LoadedConfig(config, {}), RunIdentity("bench"), ShutdownRequest(), workload)
    with watchdog_running(components):
        components.window.timer.restart()
        yield components
    components.checkpointer.close()
    components.recorder.close(RunState.STOPPED)


@contextmanager
def trainer_at_work(world: World, config: RunConfig, workload: Synthetic) -> Iterator[Trainer]:
    """A whole trainer."""
    with components_at_work(world, config, workload) as components:
        yield build_trainer(components)


class Bench:
    """What every loop that is paired with the bare one is given."""

    def __init__(self, world: World, config: RunConfig) -> None:
        self.world, self.config = world, config
        self.workload = Synthetic(config)
        self.bare = Bare(world, config, self.workload)

    def batches(self) -> Iterator[Pixels]:
        """The batches of this rank."""
        return self.workload.batches(Share(self.world.rank, self.world.size, 0))

    def pairs(self, count: int, advance: Callable[[], None]) -> list[Pair]:
        """So many pairs of blocks, after warming up."""
        measure(WARM_UP_BLOCKS, self.bare.advance, advance, self.world.device)
        return measure(count, self.bare.advance, advance, self.world.device)
