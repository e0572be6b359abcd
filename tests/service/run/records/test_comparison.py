"""Several runs against each other."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from service.run.records.comparison import differences, other_versions, places, scatter, verdict
from service.run.records.curves.columns import RunColumns, columns_of
from service.run.records.history import Records
from tests.service.harness.saved_records import save_original, save_record


def run_of(folder: Path, qualities: Sequence[float], every: int = 500, **values: Any) -> RunColumns:
    for index, quality in enumerate(qualities, start=1):
        step = index * every
        own = {"samples_seen": 8 * step, "iteration_duration": 3.6, **values}
        save_record(folder, step, quality_ki_value=quality, **own)
    return columns_of(folder.name, Records(folder).summaries(folder))


def zigzag(base: float, height: float, count: int = 20) -> list[float]:
    return [base + index / 1000 + (height if index % 2 else -height) for index in range(count)]


def test_runs_compare_at_the_last_step_samples_and_hours_that_all_reached(tmp_path: Path) -> None:
    first = run_of(tmp_path / "a", [0.5, 0.6, 0.7, 0.8])
    second = run_of(tmp_path / "b", [0.51, 0.61, 0.71], every=400, samples_seen=9000, iteration_duration=7.2)
    found = {place.axis: place for place in places([first, second])}

    assert (found["step"].at, found["step"].found) == (1200, {"a": (1000, 0.6), "b": (1200, 0.71)})
    assert (found["samples"].at, found["samples"].found) == (9000, {"a": (1000, 0.6), "b": (1200, 0.71)})
    assert found["time"].at == pytest.approx(2.0)
    assert {label: step for label, (step, _) in found["time"].found.items()} == {"a": 2000, "b": 800}


def test_records_without_samples_compare_at_a_step_and_at_a_time_only(tmp_path: Path) -> None:
    save_original(tmp_path / "old", 500)
    old = columns_of("old", Records(tmp_path / "old").summaries(tmp_path / "old"))

    assert [place.axis for place in places([old, run_of(tmp_path / "new", [0.5])])] == ["step", "time"]


def test_scatter_is_that_of_validations_about_their_trend(tmp_path: Path) -> None:
    straight = run_of(tmp_path / "a", [0.5 + index / 100 for index in range(20)])
    noisy = run_of(tmp_path / "b", zigzag(0.5, 0.01))

    assert scatter(straight) == pytest.approx(0, abs=1e-12)
    assert scatter(noisy) == pytest.approx(1.4826 * 0.04 / math.sqrt(6))
    assert scatter(run_of(tmp_path / "c", [0.5, 0.6, 0.7, 0.8])) is None


def test_a_difference_beyond_the_scatter_makes_a_run_better_and_one_within_it_none(tmp_path: Path) -> None:
    good = run_of(tmp_path / "good", zigzag(0.70, 0.002))
    near = run_of(tmp_path / "near", zigzag(0.699, 0.002))
    bad = run_of(tmp_path / "bad", zigzag(0.60, 0.002))

    assert verdict([bad, good]) == (
        "good is better than bad: 0.7210 (step 10000) against 0.6210 (step 10000), a difference of 0.1000 where two "
        "validations differ by 0.0068 by chance."
    )
    assert verdict([near, good, bad]).startswith("good and near cannot be told apart: 0.7210 (step 10000) against")
    assert "second best of 3" in verdict([bad, good, run_of(tmp_path / "worse", zigzag(0.5, 0.002))])


def test_equal_runs_have_reached_the_same_however_few_validations_they_have(tmp_path: Path) -> None:
    one, other = run_of(tmp_path / "one", [0.7]), run_of(tmp_path / "other", [0.7])

    assert verdict([one, other]) == "one and other reached the same, 0.7000 (step 500) against 0.7000 (step 500)."


def test_no_verdict_where_qualities_do_not_compare(tmp_path: Path) -> None:
    first = run_of(tmp_path / "a", zigzag(0.7, 0.001))
    elsewhere = run_of(tmp_path / "b", zigzag(0.6, 0.001), validation_data="others")
    save_original(tmp_path / "old", 500)
    old = columns_of("old", Records(tmp_path / "old").summaries(tmp_path / "old"))

    assert verdict([first, elsewhere]).startswith("These runs were not validated on the same images")
    assert verdict([first, old]).startswith("The original system measured quality otherwise")
    assert verdict([first]) == "There are no two runs with a quality to compare."
    assert "too few validations" in verdict([first, run_of(tmp_path / "c", [0.5, 0.6])])


def test_differences_are_those_of_data_and_settings_and_a_run_without_settings_has_none(tmp_path: Path) -> None:
    runs = [run_of(tmp_path / "a", [0.5]), run_of(tmp_path / "b", [0.5], training_data="more", world_size=4)]
    settings = {"a": {"N_FEATS": 64, "SEED": 1, "DATA_ROOT": "a"}, "b": {"N_FEATS": 96, "SEED": 1, "DATA_ROOT": "b"}}

    assert [(one.name, dict(one.values)) for one in differences(runs, settings)] == [
        ("training_data", {"a": "t", "b": "more"}), ("world_size", {"a": 2, "b": 4}), ("N_FEATS", {"a": 64, "b": 96}),
    ]  # fmt: skip
    assert [one.name for one in differences(runs, {"a": settings["a"], "b": {}})] == ["training_data", "world_size"]


def test_versions_differ_only_where_all_runs_tell_theirs() -> None:
    both = {"a": {"commit": "1", "torch": "2.6"}, "b": {"commit": "2", "torch": "2.6"}}

    assert [(one.name, dict(one.values)) for one in other_versions(both)] == [("commit", {"a": "1", "b": "2"})]
    assert other_versions({**both, "c": {}}) == []
