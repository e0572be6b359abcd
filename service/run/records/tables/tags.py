"""Names of the record's numbers in TensorBoard and other trackers: the group before the slash, the unit in the name."""

from collections.abc import Iterator, Mapping
from typing import Any

from service.loss_terms import LOSS_TERMS, TOTAL_LABEL, TOTAL_LOSS_KEY

TRAINING_TAGS: Mapping[str, str] = {
    TOTAL_LOSS_KEY: f"loss/{TOTAL_LABEL}",
    **{term.loss_key: f"loss/{term.label}" for term in LOSS_TERMS},
    **{term.weight_key: f"weight/{term.label}" for term in LOSS_TERMS},
    "learning_rate_value": "train/learning_rate",
    "gradient_clip_val": "train/grad_clip",
    "grad_norm": "train/grad_norm",
    "adam_momentum_avg": "train/adam_momentum",
    "samples_seen": "train/samples",
    "epoch_num": "train/epoch",
    "epoch_step_current": "train/epoch_step",
    "epoch_step_total": "train/epoch_steps",
    "skipped_steps": "train/skipped_steps",
    "branch_id": "train/branch",
    "adaptive_cooldown_remaining": "adaptive/cooldown_steps",
    "adaptive_plateau_counter": "adaptive/plateau_steps",
    "adaptive_perceptual_trend": "adaptive/perceptual_trend",
    "iteration_duration": "speed/step_seconds",
    "samples_per_second": "speed/samples_per_second",
    "data_wait_ratio": "speed/data_wait_ratio",
    "vram_usage_gb": "speed/peak_memory_gib",
}
"""Tags of the values of every log point."""

VALIDATION_TAGS: Mapping[str, str] = {
    "quality_ki_value": "quality/ki",
    "quality_lr_value": "quality/lr",
    "quality_ema_value": "quality/ema",
    "quality_improvement_value": "quality/improvement",
    "quality_ki_to_gt_value": "quality/ki_to_gt",
    "quality_lr_to_gt_value": "quality/lr_to_gt",
    "best_quality_ever": "quality/best",
    "validation_loss_value": "validation/loss",
    "validation_loss_ema_value": "validation/loss_ema",
    "psnr_ki_db": "validation/psnr_ki_db",
    "psnr_lr_db": "validation/psnr_lr_db",
    "psnr_ema_db": "validation/psnr_ema_db",
    "psnr_y_ki_db": "validation/psnr_y_ki_db",
    "psnr_y_lr_db": "validation/psnr_y_lr_db",
    "psnr_y_ema_db": "validation/psnr_y_ema_db",
    "ssim_ki": "validation/ssim_ki",
    "ssim_lr": "validation/ssim_lr",
    "ssim_ema": "validation/ssim_ema",
    "ssim_y_ki": "validation/ssim_y_ki",
    "ssim_y_lr": "validation/ssim_y_lr",
    "ssim_y_ema": "validation/ssim_y_ema",
    "validation_image_count": "validation/images",
    "validation_duration": "validation/seconds",
    "layer_activity_peak_value": "activity/strongest",
}
"""Tags of the values that only a validation measures."""

RANK_TAGS: Mapping[str, str] = {
    "step_duration": "step_seconds",
    "own_duration": "own_seconds",
    "data_wait": "data_wait_seconds",
    "memory": "memory_gib",
}
"""Tags of the values of a rank, below `rank/<n>/`."""

Scalar = tuple[str, float]


def training_scalars(snapshot: Mapping[str, Any]) -> Iterator[Scalar]:
    """Yield the scalars of a log point; unknown values are omitted."""
    yield from _numbers((tag, snapshot.get(key)) for key, tag in TRAINING_TAGS.items())
    for row in snapshot.get("per_rank") or ():
        yield from _numbers((f"rank/{row['rank']}/{tag}", row.get(key)) for key, tag in RANK_TAGS.items())


def validation_scalars(record: Mapping[str, Any]) -> Iterator[Scalar]:
    """Yield the scalars of a validation; unknown values are omitted."""
    yield from _numbers((tag, record.get(key)) for key, tag in VALIDATION_TAGS.items())
    yield from _numbers((f"activity/{layer}", mean) for layer, mean in record["layer_activity_raw_map"].items())


def record_scalars(values: Mapping[str, Any]) -> Iterator[Scalar]:
    """Yield all scalars of a saved record, whoever wrote it: what is nested in it may have any shape."""
    ranks = [rank for rank in values["per_rank"] or () if isinstance(rank, dict) and type(rank.get("rank")) is int]
    numbers = [{key: value for key, value in rank.items() if isinstance(value, int | float)} for rank in ranks]
    known = {**values, "per_rank": numbers, "layer_activity_raw_map": _known(values["layer_activity_raw_map"] or {})}
    yield from training_scalars(known)
    yield from validation_scalars(known)


def _known(means: Mapping[str, float | None]) -> Mapping[str, float]:
    return {layer: mean for layer, mean in means.items() if mean is not None}


def _numbers(pairs: Iterator[tuple[str, Any]]) -> Iterator[Scalar]:
    return ((tag, float(value)) for tag, value in pairs if value is not None)
