"""The places of records on an axis, and curves made of few points."""

from pathlib import Path

import pytest

from service.run.records.curves.axis import MissingAxisError, positions, thinned
from service.run.records.curves.columns import columns_of
from service.run.records.history import Records
from tests.service.harness.saved_records import save_original, save_record


def test_a_record_lies_at_its_step_its_samples_or_its_hours_of_training(tmp_path: Path) -> None:
    save_record(tmp_path, 3600, samples_seen=8, iteration_duration=2.0)
    columns = columns_of("a", Records(tmp_path).summaries(tmp_path))

    assert [list(positions(columns, axis)) for axis in ("step", "samples", "time")] == [[3600], [8], [2.0]]


def test_records_without_samples_have_no_place_among_samples(tmp_path: Path) -> None:
    save_original(tmp_path, 500)
    columns = columns_of("a", Records(tmp_path).summaries(tmp_path))

    with pytest.raises(MissingAxisError, match="the records of a have no samples_seen"):
        positions(columns, "samples")


def test_a_thinned_curve_keeps_its_extremes_and_its_ends() -> None:
    x = list(range(10_000))
    y = [0.0] * 10_000
    y[1234], y[5678] = 9.0, -9.0
    at, values = thinned(x, y, 400)

    assert len(at) <= 600
    assert at == sorted(at)
    assert (at[-1], max(values), min(values)) == (9999, 9.0, -9.0)
    assert (at[values.index(9.0)], at[values.index(-9.0)]) == (1234, 5678)


def test_unknown_points_are_left_out() -> None:
    nan = float("nan")

    assert thinned([1, 2, nan, 4], [1.0, nan, 3.0, 4.0], 100) == ([1, 4], [1.0, 4.0])
