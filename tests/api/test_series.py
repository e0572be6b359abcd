"""GET /series."""

import pytest
from flask.testing import FlaskClient

from service.store import SeriesRow, Store
from tests.api.example_run import LAST_STEP, LOG_EVERY, RECORD_STEPS, RUN_ID, example_record


def test_without_names_every_series_that_exists_comes_in_step_order(client: FlaskClient, store: Store) -> None:
    answer = client.get("/series").get_json()

    assert answer["run_id"] == RUN_ID
    assert answer["steps"] == list(range(LOG_EVERY, LAST_STEP + 1, LOG_EVERY))
    assert {"total_loss_value", "quality_ki_value", "learning_rate_value"} <= set(answer["names"])
    assert set(answer["names"]) == set(answer["values"])
    assert all(len(column) == len(answer["steps"]) for column in [answer["times"], *answer["values"].values()])


def test_a_value_that_a_step_lacks_is_null(client: FlaskClient, store: Store) -> None:
    answer = client.get("/series?names=quality_ki_value").get_json()

    measured = {
        step: value
        for step, value in zip(answer["steps"], answer["values"]["quality_ki_value"], strict=True)
        if value is not None
    }
    assert measured == {step: example_record(step, 0.0)["quality_ki_value"] for step in RECORD_STEPS}


def test_names_are_answered_in_the_order_asked_each_once(client: FlaskClient, store: Store) -> None:
    answer = client.get("/series?names=grad_norm,total_loss_value,grad_norm,").get_json()

    assert answer["names"] == ["grad_norm", "total_loss_value"]


def test_both_ends_of_the_range_are_included(client: FlaskClient, store: Store) -> None:
    assert client.get("/series?from=500&to=800").get_json()["steps"] == [500, 600, 700, 800]
    assert client.get("/series?from=4100").get_json()["steps"] == [4100, 4200]
    assert client.get("/series?to=200").get_json()["steps"] == [100, 200]
    assert client.get("/series?from=800&to=500").get_json()["steps"] == []


def test_a_known_name_without_values_is_all_null(client: FlaskClient, store: Store) -> None:
    store.add_series(RUN_ID, [SeriesRow(5000, 1.0, {"total_loss_value": 0.1})])

    answer = client.get("/series?names=ssim_ki&from=5000").get_json()

    assert answer["values"] == {"ssim_ki": [None]}


@pytest.mark.parametrize("name", ["from", "to"])
@pytest.mark.parametrize("text", ["-1", "1.5", "abc", "0x10", "1_000", " 1", "9" * 19, "9" * 5000, "nan"])
def test_a_bound_that_is_no_whole_number_is_refused(client: FlaskClient, store: Store, name: str, text: str) -> None:
    answer = client.get("/series", query_string={name: text})

    assert (answer.status_code, answer.get_json()["type"]) == (422, "/problems/invalid-argument")
    assert name in answer.get_json()["detail"]


@pytest.mark.parametrize(
    ("name", "hint"),
    [("qualty_ki", "quality_ki_value"), ("zzz", "docs/api.md"), ("lr_phase_name", ""), ("per_rank", "")],
)
def test_an_unknown_name_is_refused_with_the_nearest_right_one(
    client: FlaskClient, store: Store, name: str, hint: str
) -> None:
    answer = client.get("/series", query_string={"names": f"grad_norm,{name}"})

    assert (answer.status_code, answer.get_json()["type"]) == (422, "/problems/invalid-argument")
    assert repr(name) in answer.get_json()["detail"]
    assert hint in answer.get_json()["detail"]


def test_without_a_run_there_is_no_series(client: FlaskClient) -> None:
    assert client.get("/series").status_code == 503
