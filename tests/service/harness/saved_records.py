"""Records as files: those of Leitstand, and those that the original system wrote."""

import json
from pathlib import Path
from typing import Any

from service.run.record import KEYS, SCHEMA_VERSION, Record, build_record, encode_record, record_name
from service.run.record_schema import FIELDS, NULLABLE

_VALUES: dict[str, Any] = {
    "object": {"Backward 1": 50.0, "Forward 1": 100.0}, "array": [], "string": "a", "boolean": False, "integer": 1,
    "number": 0.5,
}  # fmt: skip


def a_record(step: int, **values: Any) -> Record:
    """A record of the present version that the schema allows."""
    plain = {
        field.name: None if field.name in NULLABLE else field.choices[0] if field.choices else _VALUES[field.kind]
        for field in FIELDS
    }
    own = {
        "step_current": step, "schema_version": SCHEMA_VERSION, "run_id": "r1", "last_update_time": 1e9 + step,
        "step_max": 100_000, "branch_id": 0, "skipped_steps": 0, "world_size": 2, "adaptive_plateau_counter": 0,
        "eta_total_formatted": "00:01:00", "eta_epoch_formatted": "00:01:00", "data_wait_ratio": 0.01,
        "training_data": "t", "validation_data": "v", "grad_norm": 1.0,
    }  # fmt: skip
    return build_record({**plain, **own, **values})


def save_record(folder: Path, step: int, **values: Any) -> Path:
    """Write a record as the trainer does."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / record_name(step)
    path.write_bytes(encode_record(a_record(step, **values)))
    return path


def an_original(step: int, **values: Any) -> dict[str, Any]:
    """The 40 keys and the three later ones of the original's file of `step`, of a validation over three images."""
    quality = {"quality_lr_value": 0.971, "quality_ki_value": 0.07, "quality_improvement_value": -2.703,
               "quality_ki_to_gt_value": -2.79, "quality_lr_to_gt_value": -0.087, "validation_loss_value": 0.3,
               "best_quality_ever": 0.0}  # fmt: skip
    plain = {key: a_record(step)[key] for key in KEYS[:40]}
    own = {
        "step_current": step + 2, "adaptive_mode": "Stable", "adaptive_lr_boost_available": False,
        "adaptive_perceptual_trend": 0, "eta_total_formatted": "1d 2h 3m", "eta_epoch_formatted": "N/A",
        "layer_activity_map": {"Backward 1": 0.4, "Final Fusion": 1.6}, "local_ip_address": "localhost",
        "tensorboard_port": 6006, "layer_activity_peak_value": 1.6,
    }  # fmt: skip
    return {**plain, **quality, **own, **values}


def save_original(folder: Path, step: int, **values: Any) -> Path:
    """Write a file as the original does: indented, numbers that are not finite as `NaN`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / record_name(step)
    path.write_text(json.dumps(an_original(step, **values), indent=2))
    return path
