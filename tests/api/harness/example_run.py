"""A run directory as a trainer leaves it: store, series, records, written with the product's own parts."""

import hashlib
import json
import math
import tempfile
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from service.atomic_files import write_atomically
from service.run.record import Record, build_record, encode_record, record_name
from service.run.state import RunState
from service.store.store import SeriesRow, Store

RUN_ID = "5f0c1e77ab42"
LOG_EVERY = 100
VALIDATE_EVERY = 700
LAST_STEP = 4200
MAX_STEPS = 20_000
PROVENANCE = b'{"settings": {"N_FEATS": 48}}'
PROVENANCE_SHA256 = hashlib.sha256(PROVENANCE).hexdigest()
RECORD_STEPS = tuple(range(VALIDATE_EVERY, LAST_STEP + 1, VALIDATE_EVERY))
MEASURED_BY_VALIDATION = (
    "quality_lr_value", "quality_ki_value", "quality_improvement_value", "quality_ki_to_gt_value",
    "quality_lr_to_gt_value", "validation_loss_value", "best_quality_ever", "psnr_ki_db", "psnr_lr_db",
    "ssim_ki", "ssim_lr", "psnr_y_ki_db", "psnr_y_lr_db", "validation_duration", "quality_ema_value", "psnr_ema_db",
    "ssim_ema", "psnr_y_ema_db", "validation_loss_ema_value", "ssim_y_ki", "ssim_y_lr", "ssim_y_ema",
)  # fmt: skip


def write_run(
    root: Path, *, last_step: int = LAST_STEP, state: RunState = RunState.RUNNING, age_seconds: float = 0.0
) -> Store:
    """Write a run of 42 log points and 6 records below `root`; its heartbeat is `age_seconds` old.

    Log points and records are as old as the first run of this process that was written so.
    """
    root.mkdir(parents=True, exist_ok=True)
    for name, content in _written_files(last_step).items():
        unfinished = root / f".{name}.unfinished"
        unfinished.write_bytes(content)
        unfinished.replace(root / name)  # whole at once, since a server may be looking already
    store = Store(root / "leitstand.db")
    _enliven(store, last_step, state, age_seconds)
    return store


def write_provenance(root: Path) -> None:
    """Write from what a start of the run was made."""
    (root / "provenance").mkdir(exist_ok=True)
    (root / "provenance" / f"{PROVENANCE_SHA256}.json").write_bytes(PROVENANCE)


def write_files_of(store: Store, root: Path) -> None:
    """Write below `root` the directory of the run that `store`, a database server's, holds; its heartbeat is fresh."""
    root.mkdir(parents=True, exist_ok=True)
    for name, content in _written_files(LAST_STEP).items():
        if name != "leitstand.db":
            (root / name).write_bytes(content)
    (root / "run.json").write_text(json.dumps({"run_id": RUN_ID}))
    _enliven(store, LAST_STEP, RunState.RUNNING, 0.0)


def _enliven(store: Store, last_step: int, state: RunState, age_seconds: float) -> None:
    now = time.time() - age_seconds
    snapshot = example_record(last_step, now) if last_step else None
    values = {"heartbeat_at": now, "progress_at": now, "state": state.value, "snapshot": snapshot}
    store.runs.update(RUN_ID, started_at=now - 0.21 * last_step, **values)


@cache
def _written_files(last_step: int) -> Mapping[str, bytes]:
    """The files of a run up to `last_step`, by name: whoever needs the same run again need not write it row by row."""
    with tempfile.TemporaryDirectory() as folder:
        root, now = Path(folder), time.time()
        store = Store(root / "leitstand.db", create=True)
        store.open_run(RUN_ID, {"MAX_STEPS": MAX_STEPS})
        steps = range(LOG_EVERY, last_step + 1, LOG_EVERY)
        records = {step: example_record(step, now - 0.21 * (last_step - step)) for step in steps}
        store.series.add(
            RUN_ID, [SeriesRow(step, record["last_update_time"], curves(record)) for step, record in records.items()]
        )
        for step in RECORD_STEPS:
            if step in records:
                save_record(root, store, records[step])
        store.runs.update(RUN_ID, step=last_step)
        store.close()
        return {path.name: path.read_bytes() for path in root.iterdir()}


def save_record(root: Path, store: Store, record: Record) -> str:
    """Write a record's file and its copy in the store; returns the sha256."""
    step = record["step_current"]
    sha256 = write_atomically(root / record_name(step), encode_record(record))
    store.records.add(RUN_ID, step, record, sha256)
    return sha256


def curves(record: Record) -> dict[str, Any]:
    """The numbers of a record that join the series; what a validation measures only at the steps of one."""
    left_out = () if record["step_current"] in RECORD_STEPS else MEASURED_BY_VALIDATION
    return {
        key: value
        for key, value in record.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and key not in left_out
    }


def example_record(step: int, at: float, **changes: Any) -> Record:
    """A whole record of `step`, taken at the Unix time `at`."""
    values = {**_position(step), **_losses(step), **_scores(step), **_fixed(), "last_update_time": at, **changes}
    return build_record(values)


def _position(step: int) -> Mapping[str, Any]:
    seconds_left = int(0.21 * (MAX_STEPS - step))
    return {
        "step_current": step,
        "step_max": MAX_STEPS,
        "epoch_num": (step - 1) // 1250 + 1,
        "epoch_step_current": (step - 1) % 1250 + 1,
        "epoch_step_total": 1250,
        "learning_rate_value": 1e-4 * min(1.0, step / 1000) * (0.5 + 0.5 * math.cos(math.pi * step / MAX_STEPS)),
        "lr_phase_name": "warmup" if step <= 1000 else "cosine",
        "samples_seen": 8 * step,
        "trigger": "manual" if step == 2800 else "schedule",
        "command_id": "c" * 32 if step == 2800 else None,
        "eta_total_formatted": f"{seconds_left // 3600:02d}:{seconds_left // 60 % 60:02d}:{seconds_left % 60:02d}",
        "eta_epoch_formatted": "00:03:11",
    }


def _losses(step: int) -> Mapping[str, Any]:
    ripple = 0.0016 * math.sin(step / 90) + 0.0011 * math.sin(step / 37)
    total = 0.017 + 0.055 * math.exp(-step / 700) + ripple
    return {
        "total_loss_value": total,
        "l1_loss_value": 1.02 * total,
        "ms_loss_value": 0.71 * total,
        "gradient_loss_value": 0.84 * total,
        "perceptual_loss_value": 1.56 * total,
        "validation_loss_value": 0.018 + 0.05 * math.exp(-step / 800),
        "grad_norm": 0.4 + 9 * total,
        "adam_momentum_avg": 0.0021,
    }


def _scores(step: int) -> Mapping[str, Any]:
    lr, ki = 0.6412, 0.7034 - 0.22 * math.exp(-step / 1150)
    return {
        "quality_lr_value": lr,
        "quality_ki_value": ki,
        "quality_improvement_value": ki - lr,
        "quality_ki_to_gt_value": 1 - ki,
        "quality_lr_to_gt_value": 1 - lr,
        "best_quality_ever": ki,
        "psnr_ki_db": 27 + 12 * ki,
        "psnr_lr_db": 32.91,
        "psnr_y_ki_db": 28 + 12 * ki,
        "psnr_y_lr_db": 34.12,
        "ssim_ki": 0.87,
        "ssim_lr": 0.84,
        "validation_duration": 4.2,
        "quality_ema_value": ki + 0.01,
        "psnr_ema_db": 27.2 + 12 * ki,
        "ssim_ema": 0.872,
        "psnr_y_ema_db": 28.2 + 12 * ki,
        "ssim_y_ki": 0.89,
        "ssim_y_lr": 0.86,
        "ssim_y_ema": 0.892,
        "validation_loss_ema_value": 0.017 + 0.05 * math.exp(-step / 800),
        "validation_image_count": 1,
        "validation_images": [
            {"name": "bikes_0001", "psnr_lr_db": 32.9, "psnr_ki_db": 35.2, "ssim_lr": 0.84, "ssim_ki": 0.87,
             "quality_lr": lr, "quality_ki": ki}
        ],
    }  # fmt: skip


def _fixed() -> Mapping[str, Any]:
    ranks = [
        {"rank": rank, "host": "gpu-07", "device": f"cuda:{rank}", "step_duration": seconds, "data_wait": 0.004 * rank,
         "memory": 11.2 + 0.1 * rank, "own_duration": 0.08}
        for rank, seconds in enumerate((0.208, 0.21))
    ]  # fmt: skip
    layers = ("Backward_Block_01", "Backward_Fuse", "Forward_Block_01", "Forward_Fuse", "Final_Fusion")
    return {
        "l1_weight_current": 0.6,
        "ms_weight_current": 0.2,
        "gradient_weight_current": 0.2,
        "perceptual_weight_current": 0.05,
        "gradient_clip_val": 1.5,
        "adaptive_mode": "Stable",
        "adaptive_is_cooldown": False,
        "adaptive_cooldown_remaining": 0,
        "adaptive_plateau_counter": 0,
        "adaptive_lr_boost_available": False,
        "adaptive_perceptual_trend": 0.0,
        "iteration_duration": 0.21,
        "samples_per_second": 38.1,
        "data_wait_ratio": 0.012,
        "vram_usage_gb": 11.3,
        "layer_activity_map": {name: 20.0 * (place + 1) for place, name in enumerate(layers)},
        "layer_activity_raw_map": {name: 0.1 * (place + 1) for place, name in enumerate(layers)},
        "layer_activity_peak_value": 0.5,
        "training_active": True,
        "validation_running": False,
        "training_paused": False,
        "schema_version": 4,
        "training_data": "0f3a5c7e9b1d2f40",
        "validation_data": "7c21b8d04e6f9a35",
        "run_id": RUN_ID,
        "world_size": 2,
        "per_rank": ranks,
        "slow_rank": None,
        "branch_id": 0,
        "skipped_steps": 2,
        "init_from": None,
        "parent_run": None,
        "parent_step": None,
        "provenance": None,
        "validation_sets": [],
    }
