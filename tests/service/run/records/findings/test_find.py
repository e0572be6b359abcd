"""What `stats check` finds in the records of a run."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from service.run.records.findings.find import find_all
from service.run.records.findings.finding import Finding, Point, point_of
from service.run.records.findings.texts import ADVICE, EVIDENCE, Language
from service.run.records.history import Records
from tests.service.harness.saved_records import save_original, save_record


def point(step: int, quality: float | None = 0.5, **values: Any) -> Point:
    plain = Point(step, quality, 0.01, None, None, (), 0)
    return replace(plain, **values)


def rising(steps: Iterable[int]) -> list[Point]:
    return [point(step, 0.5 + step / 1e6) for step in steps]


def found(points: list[Point]) -> list[tuple[str, int, int]]:
    return [(finding.kind, finding.first_step, finding.last_step) for finding in find_all(points)]


def only(points: list[Point]) -> Finding:
    (finding,) = find_all(points)
    return finding


def test_a_run_that_improves_has_no_finding_and_neither_has_one_without_records() -> None:
    assert found(rising(range(500, 50_000, 500))) == []
    assert found([]) == []


def test_a_plateau_begins_at_the_best_validation() -> None:
    finding = only([point(step, min(step, 2000) / 4000) for step in range(500, 7501, 500)])

    assert (finding.kind, finding.first_step, finding.last_step) == ("plateau", 2000, 7500)
    assert finding.evidence == "No validation was better than the 0.5000 of step 2000 for 5500 steps."
    assert found([point(step, min(step, 2000) / 4000) for step in range(500, 6501, 500)]) == []


def test_a_regression_is_told_once_from_its_first_step_to_its_last() -> None:
    qualities = [0.6, 0.61, 0.62, 0.5, 0.48, 0.51, 0.62, 0.63]
    finding = only([point(500 * (index + 1), quality) for index, quality in enumerate(qualities)])

    assert (finding.kind, finding.first_step, finding.last_step) == ("regression", 2000, 3000)
    assert finding.evidence.startswith("Quality fell to 0.4800 at step 2500, from 0.6200 at step 1500;")


def test_validations_that_differ_that_much_anyway_are_no_regression_and_one_at_the_end_is_told() -> None:
    assert found([point(500 * index, 0.6 + 0.05 * (index % 2)) for index in range(10)]) == []
    assert found([*rising(range(500, 3001, 500)), point(3500, 0.3)]) == [("regression", 3500, 3500)]


def test_a_gap_is_told_and_another_interval_from_some_step_on_is_none() -> None:
    assert found(rising([500, 1000, 1500, 4000, 4500, 5000])) == [("gap", 1500, 4000)]
    assert found(rising([100, 200, 300, 400, 500, 1000, 1500, 2000])) == []


def test_stretches_of_starved_data_and_of_a_slow_rank_are_told_with_their_extent() -> None:
    points = rising(range(500, 4001, 500))
    points[2:5] = [replace(one, data_wait=0.25 + index / 10) for index, one in enumerate(points[2:5])]
    points[4:6] = [replace(one, slow_rank=0, slowness=1.8) for one in points[4:6]]
    starved, slow = find_all(points)

    assert (starved.kind, starved.first_step, starved.last_step) == ("starved", 1500, 2500)
    assert starved.evidence == "The ranks spent up to 45% of their time waiting for data, in 3 successive records."
    assert (slow.kind, slow.first_step, slow.last_step) == ("slow-rank", 2500, 3000)
    assert slow.evidence.startswith("All ranks waited for rank 0, whose own work took 1.8 times the median, in 2 ")


def test_values_that_were_not_finite_are_found_in_files_of_both_systems(tmp_path: Path) -> None:
    save_original(tmp_path, 500, l1_loss_value=float("nan"))
    save_record(tmp_path, 1000, total_loss_value=None, grad_norm=float("inf"))
    save_record(tmp_path, 1500, skipped_steps=3)
    findings = find_all([point_of(record) for record in Records(tmp_path).summaries(tmp_path)])

    assert [(finding.kind, finding.first_step) for finding in findings if finding.kind != "regression"] == [
        ("not-finite", 500), ("not-finite", 1000), ("skipped-steps", 1000),
    ]  # fmt: skip
    assert findings[0].evidence == "l1_loss_value: not finite in 1 record."
    assert findings[1].evidence == "total_loss_value, grad_norm: not finite in 1 record."
    assert findings[2].evidence.startswith("3 steps were skipped")


def test_the_slow_rank_is_compared_with_the_median_of_all(tmp_path: Path) -> None:
    ranks = [
        {"rank": rank, "host": "a", "device": "cpu", "step_duration": 1.0, "data_wait": 0.0, "memory": 0.0,
         "own_duration": own}
        for rank, own in enumerate((0.5, 0.5, 1.0))
    ]  # fmt: skip
    save_record(tmp_path, 5, slow_rank=2, per_rank=ranks)
    (record,) = Records(tmp_path).summaries(tmp_path)

    assert (point_of(record).slow_rank, point_of(record).slowness) == (2, 2.0)


def test_a_boost_is_judged_by_the_validations_after_it() -> None:
    before = [point(step, 0.6, may_boost=True) for step in range(500, 2001, 500)]
    during = [point(2500, 0.6, phase="plateau_boost", may_boost=False)]
    helped = only([*before, *during, point(3000, 0.65), point(3500, 0.66)])
    fruitless = [*before, *during, *(point(step, 0.6) for step in range(3000, 8001, 500))]
    found_then = {finding.kind: finding for finding in find_all(fruitless)}

    assert (helped.kind, helped.first_step, helped.last_step) == ("boost-helped", 2500, 3500)
    assert not helped.is_problem
    assert "from 0.6000 at step 500 to 0.6600 at step 3500" in helped.evidence
    assert found([*before, *during, point(3000, 0.6)]) == []
    assert set(found_then) == {"boost-no-help", "plateau"}
    assert found_then["boost-no-help"].last_step == 7500


def test_a_boost_that_began_and_ended_between_two_records_is_seen_by_none_being_available() -> None:
    points = [point(step, 0.6, may_boost=step < 2500) for step in range(500, 8001, 500)]

    assert ("boost-no-help", 2500, 7500) in found(points)


def test_a_spike_among_steady_values_is_an_anomaly_and_a_steep_fall_at_the_start_is_none() -> None:
    def with_loss(step: int, loss: float) -> Point:
        return replace(rising([step])[0], watched=(loss, 1.0, 0.1, 0.5))

    steady = [with_loss(step, 0.1 + step / 1e6) for step in range(500, 15_001, 500)]
    spiked = [*steady[:20], with_loss(steady[20].step, 0.9), *steady[21:]]
    falling = [with_loss(500 * index, 1.0 / index) for index in range(1, 40)]

    assert found(steady) == found(falling) == []
    finding = only(spiked)
    assert (finding.kind, finding.first_step, finding.last_step) == ("anomaly", 10_500, 10_500)
    assert finding.evidence == "total_loss_value was 0.9, where the records around it have 0.113."


def test_qualities_on_either_side_of_other_validation_images_are_not_compared() -> None:
    points = [point(500, 0.9, validation_data="a"), *(point(s, 0.5, validation_data="b") for s in (1000, 1500))]

    assert found(points) == [("other-images", 500, 1000)]


@pytest.mark.parametrize("language", ["en", "de"])
def test_every_kind_of_finding_has_evidence_and_advice_in_both_languages(language: Language) -> None:
    facts = {"best": 0.5, "best_step": 1, "worst": 0.4, "worst_step": 2, "spread": 0.1, "later": 0.6, "later_step": 3,
             "usual": 500, "keys": "a", "count": 2, "key": "a", "value": 1.0, "rank": 1, "slowness": 2.0,
             "share": 0.3}  # fmt: skip
    for kind in EVIDENCE["en"]:
        finding = Finding(kind, 1, 5, facts)
        assert finding.evidence_in(language).endswith(".")
        assert finding.advice_in(language).endswith(".")
        assert "{" not in finding.advice_in(language)
    assert set(EVIDENCE[language]) == set(ADVICE[language]) == set(EVIDENCE["en"])
