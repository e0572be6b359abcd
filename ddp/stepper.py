"""One optimizer step: micro-batches forward and backward under DDP, clip, AdamW. Knows no commands and no records."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ddp.adaptive import Controller
from ddp.window import Window
from ddp.workload import Batch
from ddp.world import World
from service.settings import RunConfig


class Stepper:
    """Owns the network, its DDP wrapper, the loss and the optimizer."""

    def __init__(self, world: World, config: RunConfig, model: nn.Module, loss: nn.Module) -> None:
        self._world = world
        self._accumulation_steps = config.accumulation_steps
        self.model = model.to(world.device)
        self.loss = loss.to(world.device)
        self._wrapped = world.wrap(self.model)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=config.max_lr, weight_decay=config.weight_decay)
        self._grad_norm = torch.tensor(float("nan"))
        self._weights: tuple[tuple[float, ...], Tensor] | None = None

    def make_step(
        self,
        batches: Iterator[Batch],
        learning_rate: float,
        controller: Controller,
        window: Window,
        before_update: Callable[[], None],
    ) -> None:
        """Walk all micro-batches and update the weights; `before_update` is called once all gradients are under way."""
        weights = self._on_device(controller.weights)
        for number in range(1, self._accumulation_steps + 1):
            batch = self._next(batches, window)
            if number == self._accumulation_steps:
                self._backward(batch, weights, window)
            else:
                with self._world.no_sync(self._wrapped):
                    self._backward(batch, weights, window)
        before_update()
        self._grad_norm = nn.utils.clip_grad_norm_(self.model.parameters(), controller.grad_clip)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        window.clock.tick()

    def _on_device(self, weights: tuple[float, ...]) -> Tensor:
        """The weights (4,), copied to the device only when they changed: a copy waits for it."""
        if self._weights is None or self._weights[0] != weights:
            self._weights = weights, torch.tensor(weights, device=self._world.device)
        return self._weights[1]

    def _next(self, batches: Iterator[Batch], window: Window) -> Batch:
        asked_at = time.perf_counter()
        batch = next(batches)
        window.add_data(time.perf_counter() - asked_at, batch.skipped)
        return batch

    def _backward(self, batch: Batch, weights: Tensor, window: Window) -> None:
        lr = self._to_device(batch.lr)  # (B, T, 3, h, w)
        target = self._to_device(batch.gt)  # (B, 3, H, W)
        terms = self.loss(self._wrapped(lr), target)  # (4,) unweighted
        total = (terms * weights).sum()
        (total / self._accumulation_steps).backward()
        window.add_losses(total.detach(), terms.detach())

    def _to_device(self, pixels: Tensor) -> Tensor:
        return pixels.to(self._world.device, non_blocking=True).float() / 255

    def report(self) -> dict[str, Any]:
        """The record's keys about gradients and moments. Waits for the device: only at log points."""
        return {"grad_norm": float(self._grad_norm), "adam_momentum_avg": self._mean_momentum()}

    def _mean_momentum(self) -> float:
        norms = [state["exp_avg"].norm() for state in self.optimizer.state.values() if "exp_avg" in state]
        return float(torch.stack(norms).mean()) if norms else 0.0
