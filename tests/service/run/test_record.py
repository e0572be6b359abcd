"""The record: keys, order, strict JSON, names, and the published schema."""

import json
import math
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from service.run.record import KEYS, build_record, encode_record, finite, list_records, record_name, record_step
from service.run.record_schema import FIELDS, RecordField, record_schema

FIXED_KEYS = [
    "step_current", "step_max", "epoch_num", "epoch_step_current", "epoch_step_total", "learning_rate_value",
    "lr_phase_name", "total_loss_value", "l1_loss_value", "ms_loss_value", "gradient_loss_value",
    "perceptual_loss_value", "l1_weight_current", "ms_weight_current", "gradient_weight_current",
    "perceptual_weight_current", "gradient_clip_val", "adaptive_mode", "adaptive_is_cooldown",
    "adaptive_cooldown_remaining", "adaptive_plateau_counter", "adaptive_lr_boost_available",
    "adaptive_perceptual_trend", "quality_lr_value", "quality_ki_value", "quality_improvement_value",
    "quality_ki_to_gt_value", "quality_lr_to_gt_value", "validation_loss_value", "best_quality_ever",
    "iteration_duration", "vram_usage_gb", "adam_momentum_avg", "eta_total_formatted", "eta_epoch_formatted",
    "layer_activity_map", "training_active", "validation_running", "training_paused", "last_update_time",
    "schema_version", "run_id", "trigger", "command_id", "world_size", "samples_seen", "samples_per_second",
    "psnr_ki_db", "psnr_lr_db", "ssim_ki", "ssim_lr", "psnr_y_ki_db", "psnr_y_lr_db", "validation_image_count",
    "validation_duration", "layer_activity_raw_map", "layer_activity_peak_value", "grad_norm", "data_wait_ratio",
    "per_rank", "validation_images", "slow_rank", "branch_id", "skipped_steps", "quality_ema_value", "psnr_ema_db",
    "ssim_ema", "psnr_y_ema_db", "validation_loss_ema_value",
    "init_from", "parent_run", "parent_step",
    "training_data", "validation_data", "provenance",
    "ssim_y_ki", "ssim_y_lr", "ssim_y_ema", "validation_sets",
]  # fmt: skip
"""Released names in their released order: people's scripts depend on both."""

RANK = {
    "rank": 0,
    "host": "a",
    "device": "cpu",
    "step_duration": 0.1,
    "data_wait": 0.0,
    "memory": 0.0,
    "own_duration": 0.1,
}
IMAGE = {
    "name": "a.png", "psnr_lr_db": 28.0, "psnr_ki_db": 30.0, "ssim_lr": 0.8, "ssim_ki": 0.9, "quality_lr": 0.5,
    "quality_ki": 0.6,
}  # fmt: skip
SET = {
    "name": "city", "image_count": 2,
    **{
        f"{score}_{variant}{unit}": 0.5
        for score, unit in (("psnr", "_db"), ("ssim", ""), ("psnr_y", "_db"), ("quality", ""), ("ssim_y", ""))
        for variant in ("lr", "ki", "ema")
    },
}  # fmt: skip
SPECIAL: dict[str, Any] = {
    "layer_activity_map": {"Forward_Fuse": 100.0},
    "layer_activity_raw_map": {"Forward_Fuse": 0.3},
    "command_id": None,
    "per_rank": [RANK],
    "validation_images": [IMAGE],
    "validation_sets": [SET],
}


def value_for(field: RecordField) -> Any:
    """A value that the field's own rule allows."""
    if field.name in SPECIAL:
        return SPECIAL[field.name]
    if field.choices:
        return field.choices[0]
    return {"integer": 7, "number": 0.5, "string": "text", "boolean": True}[field.kind]


@pytest.fixture
def values() -> dict[str, Any]:
    return {field.name: value_for(field) for field in FIELDS}


def test_the_keys_and_their_order_are_the_released_ones() -> None:
    assert list(KEYS) == FIXED_KEYS


def test_groups_are_joined_in_the_fixed_order(values: dict[str, Any]) -> None:
    backwards = dict(reversed(list(values.items())))
    first = {key: backwards.pop(key) for key in ("trigger", "step_current")}

    assert list(build_record(first, backwards)) == FIXED_KEYS


def test_a_missing_an_unknown_and_a_repeated_key_are_defects(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"missing: \[\], unknown: \['other'\]"):
        build_record(values, {"other": 1})
    with pytest.raises(ValueError, match=r"given twice: \['run_id'\]"):
        build_record(values, {"run_id": "again"})
    del values["psnr_ki_db"]
    with pytest.raises(ValueError, match=r"missing: \['psnr_ki_db'\], unknown: \[\]"):
        build_record(values)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_is_null_at_any_depth(number: float) -> None:
    deep = {"a": [1.5, number, {"b": (number, True)}], "c": number, "d": "x", "e": None}

    assert finite(deep) == {"a": [1.5, None, {"b": [None, True]}], "c": None, "d": "x", "e": None}


def test_the_file_is_strict_two_space_utf8_json(values: dict[str, Any]) -> None:
    values["total_loss_value"] = math.nan
    values["run_id"] = "läuft"

    content = encode_record(build_record(values))

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    assert json.loads(content, parse_constant=refuse)["total_loss_value"] is None
    assert content.startswith(b'{\n  "step_current": 7,\n  "step_max"')
    assert content.endswith(b"}\n")
    assert "läuft".encode() in content


def test_a_number_that_is_not_finite_never_reaches_the_file() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        encode_record({"total_loss_value": math.inf})


@pytest.mark.parametrize("step", [0, 5, 500, 10_000_000])
def test_a_name_and_its_step_belong_together(step: int) -> None:
    assert record_step(record_name(step)) == step


@pytest.mark.parametrize(
    "name",
    [
        "Statistik_.json", "Statistik_05.json", "Statistik_-5.json", "Statistik_5.json.tmp", "statistik_5.json",
        ".tmp-Statistik_5.json.77", "Statistik_5.json\n", "Statistik_٣.json", "a/Statistik_5.json",
        "Statistik_1e3.json", "Statistik_99999999999999999999.json", "latest",
    ],
)  # fmt: skip
def test_other_names_are_no_records(name: str) -> None:
    assert record_step(name) is None


def test_records_are_listed_by_step_as_a_number(tmp_path: Path) -> None:
    for name in ("Statistik_1000.json", "Statistik_500.json", "Statistik_9.json", "notes.txt", "Statistik_.json"):
        (tmp_path / name).touch()

    assert [(step, path.name) for step, path in list_records(tmp_path)] == [
        (9, "Statistik_9.json"), (500, "Statistik_500.json"), (1000, "Statistik_1000.json"),
    ]  # fmt: skip


def test_the_schema_is_a_valid_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(record_schema())


def test_a_record_satisfies_the_schema_also_with_nulls_and_images(values: dict[str, Any]) -> None:
    validator = jsonschema.Draft202012Validator(record_schema())
    validator.validate(json.loads(encode_record(build_record(values))))
    for field in FIELDS:
        if field.kind == "number":
            values[field.name] = math.nan

    validator.validate(json.loads(encode_record(build_record(values))))


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)
def test_the_schema_refuses_what_the_table_does_not_allow(field: RecordField, values: dict[str, Any]) -> None:
    validator = jsonschema.Draft202012Validator(record_schema())
    wrong: list[Any] = [{"text": 1}] if field.kind == "array" else [[1]]
    if field.minimum is not None:
        wrong.append(field.minimum - 1)
    if field.maximum is not None:
        wrong.append(field.maximum + 0.1)
    if field.choices:
        wrong.append("other")
    if field.items is not None and field.kind == "array":
        wrong += [[{}], [{**values[field.name][0], "more": 1}]]
    if field.items is not None and field.kind == "object":
        wrong += [{"a": "text"}, {"a": -1.0}]

    for value in wrong:
        assert not validator.is_valid({**values, field.name: value}), value
    without = {key: value for key, value in values.items() if key != field.name}
    assert not validator.is_valid(without)


def test_the_schema_knows_no_other_key(values: dict[str, Any]) -> None:
    assert not jsonschema.Draft202012Validator(record_schema()).is_valid({**values, "other": 1})
