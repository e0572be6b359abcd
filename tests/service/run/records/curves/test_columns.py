"""A run's records as columns."""

import math
from pathlib import Path

from service.run.records.curves.columns import columns_of, training_seconds
from service.run.records.history import Records
from tests.service.harness.saved_records import save_original, save_record


def test_columns_hold_the_numbers_of_all_records_and_nan_where_one_lacks_a_value(tmp_path: Path) -> None:
    save_original(tmp_path, 500)
    save_record(tmp_path, 1000, samples_seen=8000, quality_ki_value=0.7, grad_norm=None)
    save_record(tmp_path, 1500, samples_seen=12_000, quality_ki_value=0.7)
    columns = columns_of("a", Records(tmp_path).summaries(tmp_path))

    assert list(columns.steps) == [500, 1000, 1500]
    assert math.isnan(columns.numbers["samples_seen"][0])
    assert list(columns.numbers["samples_seen"])[1:] == [8000, 12_000]
    assert math.isnan(columns.numbers["grad_norm"][1])
    assert columns.best() == (1000, 0.7)
    assert columns.has("samples_seen")


def test_stretches_of_the_same_phase_are_told_with_their_first_and_last_record(tmp_path: Path) -> None:
    for step, phase in ((1, "warmup"), (2, "warmup"), (3, "cosine"), (4, "plateau_boost")):
        save_record(tmp_path, step, lr_phase_name=phase)
    columns = columns_of("a", Records(tmp_path).summaries(tmp_path))

    assert columns.stretches("lr_phase_name") == [(0, 2, "warmup"), (2, 3, "cosine"), (3, 3, "plateau_boost")]


def test_time_of_training_is_steps_times_seconds_per_step_with_the_last_known_for_what_is_missing(
    tmp_path: Path,
) -> None:
    for step, duration in ((100, 0.5), (200, None), (400, 0.25)):
        save_record(tmp_path, step, iteration_duration=duration)

    assert list(training_seconds(columns_of("a", Records(tmp_path).summaries(tmp_path)))) == [50, 100, 150]


def test_activity_of_many_records_is_averaged_over_neighbours(tmp_path: Path) -> None:
    for step in range(1, 501):
        save_record(tmp_path, step, layer_activity_map={"x": 100.0, "y": 0.0 if step <= 250 else 50.0})
    columns = columns_of("a", Records(tmp_path).summaries(tmp_path), 500)
    assert columns.activity is not None
    rows = columns.activity.rows()

    assert list(rows) == ["x", "y"]
    assert set(rows["x"]) == {100.0}
    assert len(rows["y"]) == 240
    assert (rows["y"][0], rows["y"][-1]) == (0.0, 50.0)
