"""Records of the original single-GPU system: recognised, and converted where their meaning is certain.

Its file of step S was written two steps later from what its page showed, so only validation values are of step S.
"""

import re
from collections.abc import Mapping
from typing import Any

from service.loss_terms import LOSS_TERMS, TOTAL_LOSS_KEY
from service.run.record import KEYS, UNKNOWN_DURATION, Record
from service.run.records.saved_record import Remark, RemarkKind

MARKS = frozenset({"step_current", TOTAL_LOSS_KEY, "quality_ki_value", "quality_lr_value", "layer_activity_map"})
"""Keys that all its files have. Records of Leitstand have a `schema_version` too."""

ORIGINAL_KEYS = KEYS[:40]
"""The keys that all its files have: Leitstand kept them, and their order, when it took its place."""

_DISTANCES = ("quality_improvement_value", "quality_ki_to_gt_value", "quality_lr_to_gt_value")
_QUALITIES = ("quality_ki_value", "quality_lr_value", "best_quality_ever", "validation_loss_value", *_DISTANCES)
_LOSSES = (TOTAL_LOSS_KEY, *(term.loss_key for term in LOSS_TERMS))
_CONSTANT = {"adaptive_lr_boost_available": False, "adaptive_perceptual_trend": 0}
_FOREIGN_KEYS = ("local_ip_address", "tensorboard_port")
_DURATION = re.compile(r"(?:(\d+)d )?(\d+)h (\d+)m")
_MAX_RAW_ACTIVITY = 10.0
"""Mean outputs of its layers are about 0 to 2: more is a percentage, if the file has no peak to compare with."""
_DOUBTS = {
    "quality_ki_value": "was measured with SSIM over a uniform window and outputs that were not rounded to 8 bits",
    "quality_lr_value": "was measured with SSIM over a uniform window and values that were not rounded to 8 bits",
    "epoch_num": "counts from the start of the process",
    "vram_usage_gb": "is the peak since the start of the process, of one GPU",
    "adaptive_mode": "says Stable also while warming up or settling",
}


def is_original(raw: Mapping[str, Any]) -> bool:
    """Return True if an object is a record of the original system."""
    return "schema_version" not in raw and raw.keys() >= MARKS


def convert(values: Record, step: int) -> list[Remark]:
    """Change typed values of the original's file of `step` to the meaning of Leitstand's keys; returns remarks."""
    remarks = [Remark(key, RemarkKind.DOUBTFUL, text) for key, text in _DOUBTS.items() if values[key] is not None]
    for part in (_quality, _distances, _training, _activity, _durations):
        remarks += part(values)
    remarks += _step(values, step)
    for key in _FOREIGN_KEYS:
        if values.pop(key, None) is not None:
            remarks.append(Remark(key, RemarkKind.DROPPED, "is no value of a validation"))
    for key, constant in _CONSTANT.items():
        if values[key] == constant:
            remarks += _drop(values, key, f"is always {constant}")
    return [remark for remark in remarks if remark.kind is not RemarkKind.DOUBTFUL or values[remark.key] is not None]


def _drop(values: Record, key: str, text: str) -> list[Remark]:
    values[key] = None
    return [Remark(key, RemarkKind.DROPPED, text)]


def _step(values: Record, step: int) -> list[Remark]:
    inner, values["step_current"] = values["step_current"], step
    if inner in (None, step):
        return []
    later = f"is of step {inner}"
    touched = ("learning_rate_value", *(term.weight_key for term in LOSS_TERMS), *_LOSSES)
    doubts = [Remark(key, RemarkKind.DOUBTFUL, later) for key in touched]
    return [Remark("step_current", RemarkKind.CONVERTED, f"was {inner}, when the file was written"), *doubts]


def _quality(values: Record) -> list[Remark]:
    """Drop what was written before the validation's values were there: the page showed zeros until then."""
    if not values["quality_ki_value"] and not values["quality_lr_value"]:
        return [remark for key in _QUALITIES for remark in _drop(values, key, "was 0: no validation had ended yet")]
    if values["best_quality_ever"] == 0:
        return _drop(values, "best_quality_ever", "was 0: no checkpoint had been saved as the best")
    return [Remark("best_quality_ever", RemarkKind.DOUBTFUL, "is the best that led to a checkpoint since the start")]


def _distances(values: Record) -> list[Remark]:
    """Turn sums over images into means, if the number of images follows from the values themselves."""
    sums = {key: values[key] for key in _DISTANCES}
    if None in sums.values():
        return []
    count = _image_count(values)
    if count is None:
        text = "is a sum over images whose number the file does not have"
        return [remark for key in _DISTANCES for remark in _drop(values, key, text)]
    remarks: list[Remark] = []
    for key, total in sums.items():
        values[key] = total / count if key == "quality_improvement_value" else abs(total) / count
        if values[key] != total:
            remarks.append(Remark(key, RemarkKind.CONVERTED, f"was {total}, a sum over {count} images"))
    return remarks


def _image_count(values: Record) -> int | None:
    """Return over how many images the sums are; None if the values do not agree on one number.

    A sum of (1 - quality) is the number times (1 - mean quality), unless scores of single images were clamped.
    """
    improvement, *distances = (values[key] for key in _DISTANCES)
    qualities = (values["quality_ki_value"], values["quality_lr_value"])
    if None in qualities or max(qualities) >= 1:
        return None
    counts = [abs(total) / (1 - quality) for total, quality in zip(distances, qualities, strict=True)]
    count = round(counts[0])
    agree = count >= 1 and all(abs(value - count) < 0.01 for value in counts)
    return count if agree and abs(abs(distances[1]) - abs(distances[0]) - improvement) < 1e-4 * count else None


def _training(values: Record) -> list[Remark]:
    """Drop losses that are all zero, which its page showed after every validation; the others were smoothed."""
    if all(not values[key] for key in _LOSSES):
        text = "was 0: the page had no losses when the file was written"
        return [remark for key in _LOSSES for remark in _drop(values, key, text)]
    text = "was smoothed over about 20 steps (EMA 0.95) of last micro-batches"
    return [Remark(key, RemarkKind.DOUBTFUL, text) for key in _LOSSES]


def _activity(values: Record) -> list[Remark]:
    """Split its one map, which held percentages at first and means later, into the two that Leitstand has."""
    key, activity, peak = "layer_activity_map", values["layer_activity_map"], values["layer_activity_peak_value"]
    numbers = [value for value in (activity or {}).values() if value is not None]
    highest = max(numbers, default=0)
    if highest <= 0:
        return []
    if highest == 100 and peak != highest:
        return [] if peak is None else [Remark(key, RemarkKind.DOUBTFUL, f"has the peak {peak} beside percentages")]
    is_raw = peak is not None and abs(peak - highest) <= 1e-6 * highest
    if not is_raw and (peak is not None or highest > _MAX_RAW_ACTIVITY):
        return _drop(values, key, "has neither percentages of the strongest layer nor means that fit its peak")
    values["layer_activity_raw_map"], values["layer_activity_peak_value"] = activity, highest
    values[key] = {name: None if value is None else 100 * value / highest for name, value in activity.items()}
    remarks = [Remark(key, RemarkKind.CONVERTED, "was mean |output| of each layer, which is layer_activity_raw_map")]
    if not is_raw:
        remarks.append(Remark("layer_activity_raw_map", RemarkKind.DOUBTFUL, "is taken for means: there is no peak"))
    return remarks


def _durations(values: Record) -> list[Remark]:
    """Write `1d 2h 3m` as HH:MM:SS; `N/A` and `PAUSED` are a duration that is not known."""
    remarks: list[Remark] = []
    for key in ("eta_total_formatted", "eta_epoch_formatted"):
        text = values[key]
        if text is None:
            continue
        match = _DURATION.fullmatch(text)
        days, hours, minutes = (int(group or 0) for group in match.groups()) if match else (0, 0, 0)
        values[key] = f"{24 * days + hours:02d}:{minutes:02d}:00" if match else UNKNOWN_DURATION
        remarks.append(Remark(key, RemarkKind.CONVERTED, f"was {text!r}"))
    return remarks
