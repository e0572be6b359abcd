"""Records of the original system: what is converted, what is doubted, what is dropped."""

from pathlib import Path
from typing import Any

import pytest

from service.run.records.history import Records
from service.run.records.saved_record import Origin, RemarkKind, SavedRecord
from tests.service.harness.saved_records import an_original, save_original, save_record


def read(folder: Path, **values: Any) -> SavedRecord:
    save_original(folder, 500, **values)
    (record,) = Records(folder)
    return record


def kinds(record: SavedRecord, key: str) -> set[str]:
    return {str(remark.kind) for remark in record.remarks if remark.key == key}


def test_its_step_is_that_of_the_validation_and_training_values_are_marked_as_later(tmp_path: Path) -> None:
    record = read(tmp_path / "old")

    assert (record.origin, record.run, record.step) == (Origin.ORIGINAL, "old", 500)
    assert record.values["step_current"] == 500
    assert record.raw["step_current"] == 502
    assert kinds(record, "step_current") == {"converted"}
    assert any(r.key == "learning_rate_value" and r.text == "is of step 502" for r in record.remarks)
    assert any(r.key == "total_loss_value" and "EMA 0.95" in r.text for r in record.remarks)


def test_sums_over_images_become_means_where_their_number_follows_from_the_values(tmp_path: Path) -> None:
    record = read(tmp_path)

    assert record.values["quality_improvement_value"] == pytest.approx(-0.901)
    assert record.values["quality_ki_to_gt_value"] == pytest.approx(0.93)
    assert record.values["quality_lr_to_gt_value"] == pytest.approx(0.029)
    assert kinds(record, "quality_improvement_value") == {"converted"}


@pytest.mark.parametrize("changed", [{"quality_ki_to_gt_value": -2.6}, {"quality_improvement_value": 1.0}])
def test_sums_whose_number_of_images_is_not_certain_are_dropped(changed: dict[str, float], tmp_path: Path) -> None:
    record = read(tmp_path, **changed)

    assert record.values["quality_improvement_value"] is None
    assert kinds(record, "quality_ki_to_gt_value") == {"dropped"}
    assert record.values["quality_ki_value"] == 0.07


def test_raw_activities_become_raw_activities_and_percentages_of_the_strongest(tmp_path: Path) -> None:
    record = read(tmp_path)

    assert record.values["layer_activity_raw_map"] == {"Backward 1": 0.4, "Final Fusion": 1.6}
    assert record.values["layer_activity_map"] == pytest.approx({"Backward 1": 25.0, "Final Fusion": 100.0})
    assert record.values["layer_activity_peak_value"] == 1.6


def test_earlier_percentages_stay_and_a_map_of_neither_kind_is_dropped(tmp_path: Path) -> None:
    percent = {"Backward 1": 25, "Final Fusion": 100}
    kept = read(tmp_path / "a", layer_activity_map=percent, layer_activity_peak_value=None)
    dropped = read(tmp_path / "b", layer_activity_map={"a": 34.5, "b": 67.3}, layer_activity_peak_value=None)
    doubted = read(tmp_path / "c", layer_activity_map={"a": 0.5}, layer_activity_peak_value=None)

    assert (kept.values["layer_activity_map"], kept.values["layer_activity_raw_map"]) == (percent, None)
    assert dropped.values["layer_activity_map"] is None
    assert kinds(dropped, "layer_activity_map") == {"dropped"}
    assert kinds(doubted, "layer_activity_raw_map") == {"doubtful"}


def test_values_of_a_page_without_a_validation_or_losses_are_dropped_and_not_taken_for_zeros(tmp_path: Path) -> None:
    losses = [key for key in an_original(1) if key.endswith("_loss_value") and key != "validation_loss_value"]
    nothing = dict.fromkeys(("quality_ki_value", "quality_lr_value", *losses), 0.0)
    record = read(tmp_path, **nothing)

    assert {key: record.values[key] for key in nothing} == dict.fromkeys(nothing)
    assert record.values["validation_loss_value"] is None
    assert all(kinds(record, key) == {"dropped"} for key in nothing)


def test_constants_foreign_keys_and_an_unset_best_are_dropped_and_durations_converted(tmp_path: Path) -> None:
    record = read(tmp_path)

    dropped = {remark.key for remark in record.remarks if remark.kind is RemarkKind.DROPPED}
    assert dropped == {
        "adaptive_lr_boost_available", "adaptive_perceptual_trend", "best_quality_ever", "local_ip_address",
        "tensorboard_port",
    }  # fmt: skip
    assert record.values["eta_total_formatted"] == "26:03:00"
    assert record.values["eta_epoch_formatted"] == "--:--:--"
    assert "local_ip_address" not in record.values
    assert {"quality_ki_value", "epoch_num", "vram_usage_gb", "adaptive_mode"} <= {
        remark.key for remark in record.remarks if remark.kind is RemarkKind.DOUBTFUL
    }


def test_nan_texts_and_half_steps_in_its_files_are_flagged(tmp_path: Path) -> None:
    record = read(tmp_path, l1_loss_value=float("nan"), ms_loss_value="0.25", adaptive_plateau_counter=12.5)

    assert record.values["l1_loss_value"] is None
    assert kinds(record, "l1_loss_value") == {"not-finite"}
    assert record.values["ms_loss_value"] == 0.25
    assert "converted" in kinds(record, "ms_loss_value")
    assert (record.values["adaptive_plateau_counter"], record.raw["adaptive_plateau_counter"]) == (None, 12.5)
    assert kinds(record, "adaptive_plateau_counter") == {"dropped"}


def test_a_folder_may_hold_records_of_both_systems(tmp_path: Path) -> None:
    save_original(tmp_path, 500)
    save_record(tmp_path, 1000)

    assert [str(record.origin) for record in Records(tmp_path)] == ["original", "leitstand"]
