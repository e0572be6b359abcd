"""Builds live snapshots and records: all values known at a step, under the record's keys."""

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
from ddp.training.run_status import RunStatus
from ddp.validation import record_values
from ddp.validation.result import ValidationResult
from ddp.workload import Workload, data_identity
from service.run.identity import RunIdentity
from service.run.record import Record, build_record


class SnapshotBuilder:
    """Combines the last measured values with the current state of the components. The same on every rank."""

    def __init__(
        self,
        world: World,
        identity: RunIdentity,
        workload: Workload,
        stepper: Stepper,
        controller: Controller,
        nonfinite_steps: NonFiniteSteps,
        run_status: RunStatus,
    ) -> None:
        # Read at every build
        self._world = world
        self._identity = identity
        self._workload = workload
        self._stepper = stepper
        self._controller = controller
        self._nonfinite_steps = nonfinite_steps
        self._run_status = run_status
        data = data_identity(workload)
        self._data = {"training_data": data.training, "validation_data": data.validation}
        self._devices = world.gather((world.host, str(world.device)))
        # Last measured values
        self._summary = WindowMetrics()
        self._validation: dict[str, Any] = record_values.NOT_YET_VALIDATED
        self._peak_gib = 0.0
        self._step = {"learning_rate_value": controller.learning_rate(0), "lr_phase_name": "warmup"}
        self._grad_norm: Tensor = torch.tensor(float("nan"))

    def note_step(self, learning_rate: float, phase: str, row: Tensor) -> None:
        """Store learning rate, schedule phase and gradient norm of a step; `row` is (ROW,), on the device."""
        self._step = {"learning_rate_value": learning_rate, "lr_phase_name": phase}
        self._grad_norm = grad_norm(row)

    def note_window(self, summary: WindowMetrics) -> None:
        """Store the metrics of the window."""
        self._summary = summary
        self._peak_gib = summary.peak_gib

    def note_validation(self, result: ValidationResult) -> dict[str, Any]:
        """Store the result of a validation; return its values under the record's keys."""
        self._validation = result.report(self._controller.weights)
        self._peak_gib = max(self._peak_gib, result.peak_gib)
        return self._validation

    def build(self, trigger: str, command_id: str | None = None, *, validating: bool = False) -> Record:
        """Return all keys of a record. Waits for the device."""
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
            self._data,
            record_values.losses_of(self._summary),
            self._controller.report(),
            self._validation,
            record_values.speed_of(self._summary, run_status.config, position),
            record_values.ranks_of(self._summary, self._devices),
            record_values.flags_of(paused=run_status.is_paused, validating=validating),
            record_values.identity_of(self._identity, self._world, trigger, command_id),
        )

    def state(self) -> dict[str, Any]:
        """Return the values for a checkpoint that the first record after a resume needs."""
        return {
            "step": self._step,
            "validation": self._validation,
            "grad_norm": self._grad_norm,
            "total_loss": self._summary.total_loss,
            "terms": list(self._summary.terms),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore the values of a checkpoint."""
        self._step = state["step"]
        self._validation = {**record_values.NOT_YET_VALIDATED, **state["validation"]}
        self._grad_norm = state["grad_norm"]
        self._summary = WindowMetrics(state["total_loss"], tuple(state["terms"]))
