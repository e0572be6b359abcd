"""One optimizer step: forward and backward pass of the micro-batches under DDP, clipping, AdamW.

Nothing in a step waits for the device: the optimizer's kernel skips a step whose loss or gradient is not finite, on all
ranks alike, because all have the same reduced gradients.
"""

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from ddp.distributed.rng import preserved_rng
from ddp.distributed.world import World
from ddp.metrics.piggyback import PiggybackModule
from ddp.metrics.step_metrics import REDUCED, pack, pack_values, skip_flag
from ddp.metrics.total_variation import total_variation
from ddp.metrics.window import MetricsWindow
from ddp.step.adamw import EagerAdamW
from ddp.step.buffers import ChangingBuffers
from ddp.step.copy_fence import CopyFence
from ddp.step.ema import EmaModel
from ddp.step.out_of_memory import is_out_of_memory, largest_fitting_batch, out_of_memory_sentence
from ddp.step.precision import autocast, log_arithmetic
from ddp.watchdog.stages import Stage, StageMarker
from ddp.workload import Batch, Workload
from service.config.fixed_settings import FixedSettings
from service.errors import MemoryShortageError

BUCKET_PASSES = 2
"""Number of backward passes after which DDP (torch 2.13) no longer rebuilds its gradient buckets."""


class Stepper:
    """Owner of the network, its DDP wrapper, the EMA weights, the loss and the optimizer.

    While `fence` is closed, a copy of weights, moments and EMA weights is being taken, and nothing changes them.
    """

    def __init__(self, world: World, settings: FixedSettings, workload: Workload, marker: StageMarker) -> None:
        self._world = world
        self._settings = settings
        self._marker = marker
        if world.is_main:
            log_arithmetic(settings.precision, world.device)
        self.fence = CopyFence()
        self.model = workload.build_model().to(world.device)
        if settings.channels_last:
            self.model = self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in its stub
        self.loss = workload.build_loss().to(world.device)
        self.ema = EmaModel(self.model, settings.ema_decay) if settings.ema_decay else None
        self.optimizer = _optimizer(workload.parameter_groups(self.model), settings)
        # Compiled inside the wrapper, so that `self.model` keeps its parameter names for checkpoints and hooks.
        network: Any = torch.compile(self.model) if settings.compile_model else self.model
        self._network = PiggybackModule(network, REDUCED, world.device)
        self._wrapped = world.wrap(
            self._network, static_graph=settings.static_graph, share_buckets=settings.gradient_as_bucket_view
        )
        # Lists, because to walk through the modules at every step costs more than the use of the result.
        self._parameters = list(self.model.parameters())
        self._with_gradients = list(self._network.parameters())
        self._buffers = ChangingBuffers(world, self.model)
        self._weights: tuple[tuple[float, ...], Tensor] | None = None
        self._has_final_buckets = world.size == 1

    def make_step(
        self,
        batches: Iterator[Batch],
        weights: tuple[float, ...],
        learning_rate: float,
        grad_clip: float,
        window: MetricsWindow,
        before_update: Callable[[], None],
    ) -> Tensor:
        """Process all micro-batches and update the weights; return the step's row (ROW,), on the device.

        `before_update` is called after the last backward pass was issued; until then no weight has changed. Raises
        `MemoryShortageError`.
        """
        device_weights = self._weights_on_device(weights)
        self._buffers.begin_step()
        for number in range(1, self._settings.accumulation_steps + 1):
            self._marker.enter(Stage.DATA)
            is_first = not self._has_final_buckets
            batch = window.next_batch(batches, is_timed=not is_first)
            try:
                if is_first:
                    with window.excluded():
                        self._settle_buckets(batch, device_weights)
                self._forward_backward(
                    batch, device_weights, window, is_last=number == self._settings.accumulation_steps
                )
            except (RuntimeError, MemoryError) as error:  # torch.OutOfMemoryError is a RuntimeError
                if not is_out_of_memory(error):
                    raise
            else:
                continue
            # Outside the except block, where the frames of the failed call have released their memory.
            raise MemoryShortageError(self._explain_shortage(batch))
        self._buffers.end_step()
        self._wait_for_copies()
        before_update()
        self._marker.enter(Stage.UPDATE)
        row = self._update(learning_rate, grad_clip)
        window.timer.step_done()
        return row

    def _wait_for_copies(self) -> None:
        if self.fence.is_closed:
            self._marker.enter(Stage.CHECKPOINT)
            self.fence.wait()

    def _forward_backward(self, batch: Batch, weights: Tensor, window: MetricsWindow, *, is_last: bool) -> None:
        """Run one micro-batch forward and backward; the last one of a step averages gradients over the ranks."""
        with nullcontext() if is_last else self._world.no_sync(self._wrapped):
            self._marker.enter(Stage.FORWARD)
            loss = self._loss(self._wrapped, self._network, batch, weights) / self._settings.accumulation_steps
            if is_last:
                window.timer.local_done()
                self._marker.enter(Stage.ALL_REDUCE)
            loss.backward()

    def _settle_buckets(self, batch: Batch, weights: Tensor) -> None:
        """Process a batch twice and discard the result, so that every start of a run sums gradients in the same order.

        After the first backward of each wrapper (with a static graph after the second) DDP rebuilds its buckets, and
        the order in which gloo's ring adds the ranks depends on the index in a bucket. Without this, steps after a
        resume on three or more ranks differ in the last bits (findings/ddp-resume-three-ranks.sh).
        """
        buffers = [buffer.clone() for buffer in self.model.buffers()]
        with preserved_rng(self._world.device):
            for _ in range(BUCKET_PASSES):
                self._marker.enter(Stage.FORWARD)
                loss = self._loss(self._wrapped, self._network, batch, weights)
                self._marker.enter(Stage.ALL_REDUCE)
                loss.backward()
        self._drop_gradients()
        for buffer, saved in zip(self.model.buffers(), buffers, strict=True):
            buffer.copy_(saved)
        self._has_final_buckets = True

    def _weights_on_device(self, weights: tuple[float, ...]) -> Tensor:
        """Return the loss weights (4,) on the device; copy them only if they changed, since a copy waits for it."""
        if self._weights is None or self._weights[0] != weights:
            self._weights = weights, torch.tensor(weights, device=self._world.device)
        return self._weights[1]

    def _loss(self, network: nn.Module, piggyback: PiggybackModule, batch: Batch, weights: Tensor) -> Tensor:
        """Return the weighted loss () of one micro-batch; `piggyback`, part of `network`, carries its values."""
        lr = self._to_device(batch.lr)  # (B, T, 3, h, w)
        target = self._to_device(batch.gt)  # (B, 3, H, W)
        with autocast(self._settings.precision, self._world.device):
            output = network(lr)
        terms = self.loss(output, target)  # (4,) unweighted
        total = (terms * weights).sum()
        with torch.no_grad():
            values = pack_values(total, terms, total_variation(output.float(), target))
        return total + piggyback.attach(values)

    def _update(self, learning_rate: float, grad_clip: float) -> Tensor:
        """Clip the gradients and update the weights, unless loss or gradients are not finite; return the step's row."""
        reduced = self._network.reduced()
        norm = nn.utils.clip_grad_norm_(self._parameters, grad_clip)
        row = pack(reduced, norm)
        skipped = skip_flag(row)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate * group["lr_factor"]
        self._optimize_unless(skipped)
        self._buffers.undo_if(skipped)
        if self.ema is not None:
            self.ema.update(skipped)
        self._drop_gradients()
        return row

    def _drop_gradients(self) -> None:
        for parameter in self._with_gradients:
            parameter.grad = None

    def _optimize_unless(self, skipped: Tensor) -> None:
        if self._settings.fused_adamw:
            # The fused kernel reads these two attributes, by which torch.amp.GradScaler makes it skip a step.
            vars(self.optimizer).update(found_inf=skipped, grad_scale=None)
            self.optimizer.step()
        elif not bool(skipped):
            self.optimizer.step()

    def discard_step(self) -> None:
        """Put back what a step that will not be finished has changed before its update."""
        self._buffers.discard_step()

    def _explain_shortage(self, batch: Batch) -> str:
        """Try smaller batches on a copy without DDP hooks; return the error message for the user."""
        self._drop_gradients()
        trial = PiggybackModule(copy.deepcopy(self.model), REDUCED, self._world.device)

        def attempt(batch_size: int) -> None:
            trial.zero_grad(set_to_none=True)
            smaller = _BatchSlice(batch.lr[:batch_size], batch.gt[:batch_size])
            self._loss(trial, trial, smaller, self._weights_on_device((1.0, 0.0, 0.0, 0.0))).backward()

        fitting = largest_fitting_batch(attempt, len(batch.lr) // 2)
        return out_of_memory_sentence(self._world.rank, str(self._world.device), self._settings, fitting)

    def _to_device(self, pixels: Tensor) -> Tensor:
        return pixels.to(self._world.device, non_blocking=True).float() / 255

    def mean_momentum(self) -> float:
        """Return the mean over parameter tensors of the L2 norm of AdamW's first moment. Waits for the device."""
        norms = [state["exp_avg"].norm() for state in self.optimizer.state.values() if "exp_avg" in state]
        return float(torch.stack(norms).mean()) if norms else 0.0

    def state(self) -> dict[str, Any]:
        """Return weights, moments and EMA weights. The optimizer's settings are not saved: each start sets them."""
        return self.collect_later()()

    def collect_later(self) -> Callable[[], dict[str, Any]]:
        """Return a function that returns the present `state`; another thread may call it until `fence` is waited for.

        These are references, which the next update changes; buffers that forward passes change are copied now.
        """
        buffers = self._buffers.copies()

        def collect() -> dict[str, Any]:
            model = self.model.state_dict()
            model.update({name: copy for name, copy in buffers.items() if name in model})
            ema = None if self.ema is None else self.ema.model.state_dict()
            return {"model": model, "moments": self.optimizer.state_dict()["state"], "average": ema}

        return collect

    def begin_with(self, weights: Mapping[str, Tensor]) -> None:
        """Replace weights of a network that has not been trained yet; averaged weights begin at the same."""
        self.fence.wait()
        self.model.load_state_dict({**self.model.state_dict(), **weights})
        if self.ema is not None:
            self.ema.model.load_state_dict(self.model.state_dict())

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore a saved state in place. Raises `RuntimeError` if it does not fit the network."""
        self.fence.wait()
        self.model.load_state_dict(state["model"])
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state["moments"], "param_groups": groups})
        if self.ema is not None:  # if EMA is new since the checkpoint, it starts at the restored weights
            self.ema.model.load_state_dict(state["model"] if state["average"] is None else state["average"])


class _BatchSlice:
    """The first samples of a micro-batch."""

    skipped: tuple[str, ...] = ()

    def __init__(self, lr: Tensor, gt: Tensor) -> None:
        self.lr, self.gt = lr, gt


def _optimizer(groups: list[dict[str, Any]], settings: FixedSettings) -> EagerAdamW:
    for group in groups:
        group.setdefault("lr_factor", 1.0)
    # Every step sets its own learning rate.
    return EagerAdamW(groups, lr=0.0, weight_decay=settings.weight_decay, fused=settings.fused_adamw)
