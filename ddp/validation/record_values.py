"""Conversion of measured values to the record's keys. Pure functions: nothing is measured or written here."""

import time
from collections.abc import Mapping
from typing import Any

from ddp.adaptive.types import Change
from ddp.distributed.world import World
from ddp.metrics.window import WindowMetrics
from ddp.step.progress import format_duration, samples_per_step
from service.config.fixed_settings import FixedSettings
from service.loss_terms import LOSS_TERMS, TOTAL_LOSS_KEY
from service.run.identity import RunIdentity
from service.run.record import SCHEMA_VERSION, Record
from service.run.record_schema import FIELDS

NOT_YET_VALIDATED: dict[str, Any] = {
    **dict.fromkeys(
        (
            "quality_lr_value",
            "quality_ki_value",
            "quality_improvement_value",
            "quality_ki_to_gt_value",
            "quality_lr_to_gt_value",
            "validation_loss_value",
            "layer_activity_peak_value",
            "psnr_ki_db",
            "psnr_lr_db",
            "ssim_ki",
            "ssim_lr",
            "psnr_y_ki_db",
            "psnr_y_lr_db",
            "validation_duration",
            "quality_ema_value",
            "psnr_ema_db",
            "ssim_ema",
            "psnr_y_ema_db",
            "validation_loss_ema_value",
            "ssim_y_ki",
            "ssim_y_lr",
            "ssim_y_ema",
        )
    ),
    "layer_activity_map": {},
    "layer_activity_raw_map": {},
    "validation_image_count": 0,
    "validation_images": [],
    "validation_sets": [],
}
"""Validation keys of the live snapshot before the first validation."""


def losses_of(summary: WindowMetrics) -> dict[str, Any]:
    """Return the record's keys about losses."""
    terms = {term.loss_key: value for term, value in zip(LOSS_TERMS, summary.terms, strict=True)}
    return {TOTAL_LOSS_KEY: summary.total_loss, **terms}


def speed_of(summary: WindowMetrics, settings: FixedSettings, position: Mapping[str, Any]) -> dict[str, Any]:
    """Return the record's keys about speed and remaining time; `position` holds the keys about steps."""
    steps_left = position["step_max"] - position["step_current"]
    epoch_steps_left = position["epoch_step_total"] - position["epoch_step_current"]
    return {
        "iteration_duration": summary.step_seconds,
        "samples_per_second": summary.samples_per_second(samples_per_step(settings, world_size=1)),
        "data_wait_ratio": summary.data_wait_ratio,
        "eta_total_formatted": format_duration(steps_left * summary.step_seconds if steps_left else 0.0),
        "eta_epoch_formatted": format_duration(epoch_steps_left * summary.step_seconds if epoch_steps_left else 0.0),
    }


def ranks_of(summary: WindowMetrics, devices: list[tuple[str, str]]) -> dict[str, Any]:
    """Return the record's keys about ranks; `devices` holds (host, device) by rank."""
    return {
        "per_rank": [
            {
                "rank": rank,
                "host": host,
                "device": device,
                "step_duration": row.step_seconds,
                "data_wait": row.wait_seconds_per_step,
                "memory": row.memory_gib,
                "own_duration": row.own_seconds,
            }
            for rank, ((host, device), row) in enumerate(zip(devices, summary.ranks, strict=False))
        ],
        "slow_rank": summary.slow_rank,
    }


def identity_of(identity: RunIdentity, world: World, trigger: str, command_id: str | None) -> dict[str, Any]:
    """Return the record's keys that identify the run, its origin, and what triggered the record."""
    return {
        "schema_version": SCHEMA_VERSION,
        "run_id": identity.run_id,
        "init_from": identity.init_from,
        "parent_run": identity.parent_run,
        "parent_step": identity.parent_step,
        "provenance": identity.provenance,
        "trigger": trigger,
        "command_id": command_id,
        "world_size": world.size,
        "last_update_time": time.time(),
    }


def flags_of(*, paused: bool, validating: bool = False, ended: bool = False) -> dict[str, Any]:
    """Return the record's keys about the activity of the run."""
    return {
        "training_active": not paused and not ended,
        "validation_running": validating,
        "training_paused": paused,
    }


_NOT_A_CURVE = {
    "step_current", "step_max", "schema_version", "world_size", "last_update_time", "slow_rank", "parent_step",
}  # fmt: skip
CURVES = frozenset(field.name for field in FIELDS if field.kind in {"number", "integer"}) - _NOT_A_CURVE
"""Keys of the record that form a curve over steps."""


def curves_of(record: Record, *, with_validation: bool) -> dict[str, Any]:
    """Return the part of a record or snapshot that is added to the series at this step.

    A log point without a validation omits the values that only a validation measures: they are from an earlier step.
    """
    omitted = set() if with_validation else NOT_YET_VALIDATED.keys() | {"best_quality_ever"}
    return {key: value for key, value in record.items() if key in CURVES and key not in omitted}


def change_text(change: Change) -> str:
    """Format a change by the controller for the log: `mode Settling`, `weights l1 0.590, ms 0.200, …`."""
    after = change.details.get("after", "")
    if isinstance(after, Mapping):
        after = ", ".join(f"{name} {value:.3f}" for name, value in after.items())
    return f"{change.kind} {after}".strip()


def outcomes_of(reports: list[tuple[str | None, float]]) -> list[dict[str, Any]]:
    """Convert every rank's (problem, start as Unix time) to the result of a command."""
    return [
        {"rank": rank, "outcome": problem or "done", "began_at": began_at}
        for rank, (problem, began_at) in enumerate(reports)
    ]
