"""Definition of the record's keys: order, JSON type, range and meaning; the JSON Schema is generated from it."""

from dataclasses import dataclass
from typing import Any

from service.loss_terms import LOSS_TERMS, TOTAL_LOSS_KEY, LossTerm

NULLABLE = frozenset({"command_id", "slow_rank", "init_from", "parent_run", "parent_step", "provenance"})
"""Keys that may be null beside all numbers."""


@dataclass(frozen=True)
class RecordField:
    """One key of the record. `kind` is a JSON type; numbers are `null` if they are not finite or not known yet."""

    name: str
    kind: str
    meaning: str
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    items: dict[str, Any] | None = None

    def schema(self) -> dict[str, Any]:
        """Return the JSON Schema (draft 2020-12) of this key."""
        nullable = self.kind == "number" or self.name in NULLABLE
        schema: dict[str, Any] = {"type": [self.kind, "null"] if nullable else self.kind, "description": self.meaning}
        bounds = {"minimum": self.minimum, "maximum": self.maximum, "enum": list(self.choices) or None}
        schema.update({key: value for key, value in bounds.items() if value is not None})
        if self.items is not None:
            schema["items" if self.kind == "array" else "additionalProperties"] = self.items
        return schema


def _integer(name: str, meaning: str, minimum: float = 0) -> RecordField:
    return RecordField(name, "integer", meaning, minimum)


def _number(name: str, meaning: str, minimum: float | None = 0, maximum: float | None = None) -> RecordField:
    return RecordField(name, "number", meaning, minimum, maximum)


def _text(name: str, meaning: str, *choices: str) -> RecordField:
    return RecordField(name, "string", meaning, choices=choices)


def _boolean(name: str, meaning: str) -> RecordField:
    return RecordField(name, "boolean", meaning)


def _object(properties: dict[str, str]) -> dict[str, Any]:
    """Return the schema of an object with exactly these properties ({name: JSON type}); numbers are nullable."""
    types = {key: {"type": ["number", "null"] if kind == "number" else kind} for key, kind in properties.items()}
    return {"type": "object", "properties": types, "required": list(properties), "additionalProperties": False}


def _weight_meaning(term: LossTerm) -> str:
    return f"weight of the {term.title} term in force{'; 0 when the term is off' if term.is_optional else ''}"


_MAP_VALUE: dict[str, Any] = {"type": ["number", "null"], "minimum": 0}
_RANK = _object(
    {
        "rank": "integer",
        "host": "string",
        "device": "string",
        "step_duration": "number",
        "data_wait": "number",
        "memory": "number",
        "own_duration": "number",
    }
)
_SET = _object(
    {
        "name": "string",
        "image_count": "integer",
        **{
            f"{score}_{variant}{unit}": "number"
            for score, unit in (("psnr", "_db"), ("ssim", ""), ("psnr_y", "_db"), ("quality", ""), ("ssim_y", ""))
            for variant in ("lr", "ki", "ema")
        },
    }
)
_IMAGE = _object(
    {
        "name": "string",
        "psnr_lr_db": "number",
        "psnr_ki_db": "number",
        "ssim_lr": "number",
        "ssim_ki": "number",
        "quality_lr": "number",
        "quality_ki": "number",
    }
)
_WINDOW = "mean over all ranks and micro-batches since the last log point"

FIELDS: tuple[RecordField, ...] = (
    _integer("step_current", "optimizer steps done; equals the number in the file's name"),
    _integer("step_max", "MAX_STEPS", 1),
    _integer("epoch_num", "epoch, from 1, surviving a resume", 1),
    _integer("epoch_step_current", "optimizer steps in this epoch"),
    _integer("epoch_step_total", "optimizer steps per epoch", 1),
    _number("learning_rate_value", "learning rate used by this step"),
    _text("lr_phase_name", "phase of the schedule", "warmup", "cosine", "plateau_boost", "manual"),
    _number(TOTAL_LOSS_KEY, f"the weighted total that was optimised; {_WINDOW}", None),
    *(_number(term.loss_key, f"unweighted {term.title} term; {_WINDOW}") for term in LOSS_TERMS),
    *(_number(term.weight_key, _weight_meaning(term)) for term in LOSS_TERMS),
    _number("gradient_clip_val", "gradient norm above which gradients are scaled down"),
    _text("adaptive_mode", "mode of the adaptive controller", "Warmup", "Settling", "Stable", "Aggressive"),
    _boolean("adaptive_is_cooldown", "whether the controller waits after a change"),
    _integer("adaptive_cooldown_remaining", "steps of waiting left"),
    _integer("adaptive_plateau_counter", "steps without improvement"),
    _boolean("adaptive_lr_boost_available", "whether a plateau could raise the learning rate now"),
    _number("adaptive_perceptual_trend", "mean change of the perceptual weight per step over the last 100 steps", None),
    _number("quality_lr_value", "mean quality of the enlarged input over the validation images", 0, 1),
    _number("quality_ki_value", "mean quality of the network's output over the validation images", 0, 1),
    _number("quality_improvement_value", "mean over images of (quality KI - quality LR)", -1, 1),
    _number("quality_ki_to_gt_value", "mean over images of (1 - quality KI): the distance still to go", 0, 1),
    _number("quality_lr_to_gt_value", "mean over images of (1 - quality LR)", 0, 1),
    _number("validation_loss_value", "mean total loss over the validation images, weights in force", None),
    _number("best_quality_ever", "highest quality_ki_value of the run so far, this one included", 0, 1),
    _number("iteration_duration", "seconds per step, median of the window, pauses and validations excluded"),
    _number("vram_usage_gb", "GiB, highest peak of any rank since the last record; 0 on CPU"),
    _number("adam_momentum_avg", "mean over parameter tensors of the L2 norm of exp_avg"),
    _text("eta_total_formatted", "time left to step_max, HH:MM:SS, hours may exceed 99"),
    _text("eta_epoch_formatted", "time left in this epoch, HH:MM:SS"),
    RecordField("layer_activity_map", "object", "layer: 100 · mean |output| / strongest layer's", items=_MAP_VALUE),
    _boolean("training_active", "whether steps are being made (not paused, not ended)"),
    _boolean("validation_running", "whether a validation is running now; false in a file"),
    _boolean("training_paused", "whether the run is paused"),
    _number("last_update_time", "Unix seconds at which these values were taken"),
    _integer("schema_version", "counts changes of this table", 1),
    _text("run_id", "identity of the run, kept by a resume"),
    _text("trigger", "what asked for the validation", "schedule", "manual", "final"),
    RecordField("command_id", "string", "the command that asked for a manual validation, or null"),
    _integer("world_size", "ranks that trained together", 1),
    _integer("samples_seen", "training samples seen by all ranks together, surviving a resume"),
    _number("samples_per_second", "training samples of all ranks per second, over the window"),
    _number("psnr_ki_db", "mean PSNR of the output, RGB, 8-bit, dB", None),
    _number("psnr_lr_db", "mean PSNR of the enlarged input, RGB, 8-bit, dB", None),
    _number("ssim_ki", "mean SSIM of the output, RGB", -1, 1),
    _number("ssim_lr", "mean SSIM of the enlarged input, RGB", -1, 1),
    _number("psnr_y_ki_db", "mean PSNR of the output's luma (BT.601), dB", None),
    _number("psnr_y_lr_db", "mean PSNR of the enlarged input's luma (BT.601), dB", None),
    _integer("validation_image_count", "validation images scored"),
    _number("validation_duration", "seconds the validation took on the slowest rank"),
    RecordField("layer_activity_raw_map", "object", "layer: mean |output| over the validation", items=_MAP_VALUE),
    _number("layer_activity_peak_value", "the strongest layer's mean |output|"),
    _number("grad_norm", "L2 norm of all gradients before clipping, at this step"),
    _number("data_wait_ratio", "share of the window's time spent waiting for data, mean over ranks", 0, 1),
    RecordField(
        "per_rank",
        "array",
        "by rank: seconds per step, of them data wait and own work before waiting; GiB",
        items=_RANK,
    ),
    RecordField("validation_images", "array", "each image's scores, in the order of the names", items=_IMAGE),
    RecordField("slow_rank", "integer", "the rank on which the others wait, or null when none is clearly slower"),
    _integer("branch_id", "0, and one more after every rollback"),
    _integer("skipped_steps", "steps of the run that were skipped because a loss or gradient was not finite"),
    _number("quality_ema_value", "mean quality of the averaged (EMA) weights' output; null without EMA", 0, 1),
    _number("psnr_ema_db", "mean PSNR of the averaged weights' output, RGB, 8-bit, dB; null without EMA", None),
    _number("ssim_ema", "mean SSIM of the averaged weights' output, RGB; null without EMA", -1, 1),
    _number("psnr_y_ema_db", "mean PSNR of its luma (BT.601), dB; null without EMA", None),
    _number("validation_loss_ema_value", "validation_loss_value of the averaged weights; null without EMA", None),
    _text("init_from", "INIT_FROM: what the run's first weights were read from; null if they were random"),
    _text("parent_run", "the run that this one was forked from, or whose weights it began with; null if none"),
    _integer("parent_step", "the step of that run; null if none or not known"),
    _text("training_data", "fingerprint of the training set: other names, sizes or pictures give another"),
    _text("validation_data", "fingerprint of the validation set: scores compare only where it is the same"),
    _text("provenance", "sha256 of the file in provenance/ with what this start was made from; null if there is none"),
    _number("ssim_y_ki", "mean SSIM of the luma (BT.601) of KI", -1, 1),
    _number("ssim_y_lr", "mean SSIM of the luma of LR", -1, 1),
    _number("ssim_y_ema", "mean SSIM of the luma of the averaged weights' output; null without EMA", -1, 1),
    RecordField("validation_sets", "array", "means of each validation set, in the order of DATA_SOURCES", items=_SET),
)


def record_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a record, published at `/schema/statistik.json`."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "/schema/statistik.json",
        "title": "Statistik_<step>.json",
        "type": "object",
        "properties": {field.name: field.schema() for field in FIELDS},
        "required": [field.name for field in FIELDS],
        "additionalProperties": False,
    }
