"""What telemetry and control add to a step, against the same loop bare.

    torchrun --nproc-per-node=2 bench/overhead.py [--model tiny|demo] [--pairs N] [--log-every N]

Both loops run in the same processes, in alternating blocks on two copies of one network, so that the machine's drift
falls on both: each pair of neighbouring blocks gives one difference. `bare/bare` pairs the bare loop with itself and
shows the noise. The Leitstand loop logs every N steps (10), with its recorder thread at work on a real store.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ddp.adaptive import Controller
from ddp.assembly import Start, build_parts
from ddp.signals import LeaveRequest
from ddp.trainer import Trainer
from ddp.vsr.losses import HybridLoss
from ddp.vsr.model import VSR, enlarge_centre, tracked_layers
from ddp.workload import Share
from ddp.world import World, environment_place
from service.config import LoadedConfig
from service.run_state import RunState
from service.settings import RunConfig

BLOCK_STEPS = 20
MODELS = {"tiny": (4, 4, 16, 2), "demo": (32, 10, 32, 2)}  # n_feats, n_blocks, LR pixels, batch per rank


class Pixels(NamedTuple):
    """A micro-batch made of random numbers."""

    lr: Tensor
    gt: Tensor
    skipped: tuple[str, ...] = ()


class NoImages:
    """A validation set that is never asked."""

    names: tuple[str, ...] = ()

    def read(self, index: int) -> tuple[Tensor, Tensor]:
        raise IndexError(index)


class Synthetic:
    """A workload without files: the same random pixels again and again, so that no loop waits for data."""

    sample_count = 1000
    validation_images = NoImages()
    left_out = ()
    notices = ()
    has_perceptual = False

    def __init__(self, config: RunConfig) -> None:
        self._config = config

    def build_model(self) -> nn.Module:
        config = self._config
        return VSR(config.n_feats, config.n_blocks, config.n_frames, config.scale)

    def build_loss(self) -> nn.Module:
        return HybridLoss(None)

    def batches(self, share: Share) -> Iterator[Pixels]:
        config, side = self._config, self._config.patch_size
        generator = torch.Generator().manual_seed(share.rank)
        lr = torch.randint(0, 256, (config.batch_size, config.n_frames, 3, side, side), generator=generator)
        gt = torch.randint(0, 256, (config.batch_size, 3, 3 * side, 3 * side), generator=generator)
        while True:
            yield Pixels(lr.byte(), gt.byte())

    def layers(self, model: nn.Module) -> Mapping[str, nn.Module]:
        assert isinstance(model, VSR)
        return tracked_layers(model)

    def enlarge(self, lr: Tensor) -> Tensor:
        return enlarge_centre(lr, self._config.scale)

    def score(self, picture: Tensor, target: Tensor) -> Mapping[str, Tensor]:
        raise NotImplementedError


class Bare:
    """The same step by hand: forward, backward, clip, AdamW, and nothing else."""

    def __init__(self, world: World, config: RunConfig, workload: Synthetic) -> None:
        self._world = world
        self._model = world.wrap(workload.build_model().to(world.device))
        self._loss = workload.build_loss()
        self._controller = Controller.of(config, has_perceptual=False)
        self._weights = torch.tensor(self._controller.weights, device=world.device)
        self._optimizer = torch.optim.AdamW(self._model.parameters(), lr=config.max_lr)
        self._batches = workload.batches(Share(world.rank, world.size, 0))

    def advance(self) -> None:
        batch = next(self._batches)
        lr = batch.lr.to(self._world.device).float() / 255
        target = batch.gt.to(self._world.device).float() / 255
        total = (self._loss(self._model(lr), target) * self._weights).sum()
        total.backward()
        nn.utils.clip_grad_norm_(self._model.parameters(), self._controller.grad_clip)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)


def block_seconds(advance: Callable[[], None], device: torch.device) -> float:
    """Seconds per step, mean of one block: log points and control words fall on some of its steps only."""
    started_at = time.perf_counter()
    for _ in range(BLOCK_STEPS):
        advance()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - started_at) / BLOCK_STEPS


def measure(
    pairs: int, first: Callable[[], None], second: Callable[[], None], device: torch.device
) -> list[tuple[float, float]]:
    """(first, second) seconds per step for each pair of blocks; who goes first alternates."""
    found = []
    for number in range(pairs):
        if number % 2:
            b = block_seconds(second, device)
            a = block_seconds(first, device)
        else:
            a = block_seconds(first, device)
            b = block_seconds(second, device)
        found.append((a, b))
    return found


def describe(name: str, pairs: list[tuple[float, float]]) -> str:
    """Median difference in milliseconds with its quartiles, and the median ratio."""
    differences = sorted((b - a) * 1000 for a, b in pairs)
    low, middle, high = statistics.quantiles(differences, n=4)
    ratio = statistics.median(b / a for a, b in pairs)
    base = statistics.median(a for a, _ in pairs) * 1000
    return f"{name:18} base {base:8.2f} ms   +{middle:6.3f} ms (quartiles {low:+.3f} {high:+.3f})   ratio {ratio:.4f}"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", choices=MODELS, default="tiny")
    parser.add_argument("--pairs", type=int, default=60)
    parser.add_argument("--log-every", type=int, default=10)
    given = parser.parse_args()
    n_feats, n_blocks, side, batch = MODELS[given.model]
    world = World.join(environment_place(), "auto", threads=1)
    with tempfile.TemporaryDirectory() as folder:
        config = RunConfig(
            data_root=Path(world.from_main(folder)), n_feats=n_feats, n_blocks=n_blocks, patch_size=side,
            batch_size=batch, log_every=given.log_every, val_step_every=10**9, checkpoint_every=10**9, max_steps=10**9,
        )  # fmt: skip
        workload = Synthetic(config)
        parts = build_parts(
            world, Start(LoadedConfig(config, {}), resume=False, fresh=False), "bench", LeaveRequest(), workload
        )
        trainer, bare, twin = Trainer(parts), Bare(world, config, workload), Bare(world, config, workload)
        batches = workload.batches(Share(world.rank, world.size, 0))

        def steered() -> None:
            trainer.advance(batches)

        measure(4, bare.advance, steered, world.device)  # warm-up
        noise = measure(given.pairs, bare.advance, twin.advance, world.device)
        added = measure(given.pairs, bare.advance, steered, world.device)
        parts.recorder.close(RunState.STOPPED)
        if world.is_main:
            sys.stdout.write(
                f"{given.model}, {world.size} ranks on {world.device}, a log every {given.log_every} steps, "
                f"{given.pairs} pairs of {BLOCK_STEPS} steps\n"
            )
            sys.stdout.write(describe("bare/bare", noise) + "\n" + describe("bare/leitstand", added) + "\n")
    world.leave()


if __name__ == "__main__":
    main()
