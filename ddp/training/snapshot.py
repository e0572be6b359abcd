"""Everything known at a step under the record's keys: what the live snapshot shows and what a record holds."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ddp.adaptive.controller import Controller
from ddp.distributed.world import World
from ddp.metrics.step_metrics import grad_norm
from ddp.metrics.window import WindowMetrics
from ddp.step.nonfinite import NonFiniteSteps
from ddp.step.stepper import Stepper
from ddp.training import record_values
from ddp.training.run_status import RunStatus
from ddp.validation.result import ValidationResult
from ddp.workload import Workload
from service.run.record import Record, build_record


class SnapshotBuilder:
    """Keeps the last measurements and joins them with the components' current values; the same on every rank."""

    def __init__(
        self,
        world: World,
        run_id: str,
        workload: Workload,
        stepper: Stepper,
        controller: Controller,
        nonfinite_steps: NonFiniteSteps,
        run_status: RunStatus,
    ) -> None:
        # What it asks
        self._world = world
        self._run_id = run_id
        self._workload = workload
        self._stepper = stepper
        self._controller = controller
        self._nonfinite_steps = nonfinite_steps
        self._run_status = run_status
        self._places = world.gather((world.host, str(world.device)))
        # What was measured last
        self._summary = WindowMetrics()
        self._validation: dict[str, Any] = record_values.NOT_YET_VALIDATED
        self._peak_gib = 0.0
        self._step = {"learning_rate_value": controller.learning_rate(0), "lr_phase_name": "warmup"}
        self._grad_norm: Tensor = torch.tensor(float("nan"))

    def note_step(self, learning_rate: float, phase: str, row: Tensor) -> None:
        """Keep what a step measured, made at this learning rate; `row` is its row (ROW,), on the device."""
        self._step = {"learning_rate_value": learning_rate, "lr_phase_name": phase}
        self._grad_norm = grad_norm(row)

    def note_window(self, summary: WindowMetrics) -> None:
        """The window as it is now."""
        self._summary = summary
        self._peak_gib = summary.peak_gib

    def note_validation(self, result: ValidationResult) -> dict[str, Any]:
        """A validation is done; returns the record's keys that it fills."""
        self._validation = result.report(self._controller.weights)
        self._peak_gib = max(self._peak_gib, result.peak_gib)
        return self._validation

    def build(self, trigger: str, command_id: str | None = None, *, validating: bool = False) -> Record:
        """All keys of a record. Waits for the device."""
        run_status = self._run_status
        position = run_status.progress.report(run_status.config, self._workload.sample_count, self._world.size)
        return build_record(
            position,
            {
                **self._step,
                "vram_usage_gb": self._peak_gib,
                "grad_norm": float(self._grad_norm),
                "adam_momentum_avg": self._stepper.mean_momentum(),
                "skipped_steps": self._nonfinite_steps.total,
            },
            record_values.losses_of(self._summary),
            self._controller.report(),
            self._validation,
            record_values.speed_of(self._summary, run_status.config, position),
            record_values.ranks_of(self._summary, self._places),
            record_values.flags_of(paused=run_status.is_paused, validating=validating),
            record_values.identity_of(self._run_id, self._world, trigger, command_id),
        )

    def state(self) -> dict[str, Any]:
        """What a record made right after a resume needs, for a checkpoint."""
        return {
            "step": self._step,
            "validation": self._validation,
            "grad_norm": self._grad_norm,
            "total_loss": self._summary.total_loss,
            "terms": list(self._summary.terms),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint."""
        self._step = state["step"]
        self._validation = state["validation"]
        self._grad_norm = state["grad_norm"]
        self._summary = WindowMetrics(state["total_loss"], tuple(state["terms"]))
