"""GET /series."""

import pytest
from flask.testing import FlaskClient

from service.store.store import SeriesRow, Store
from tests.api.conftest import on_both_databases
from tests.api.harness.example_run import LAST_STEP, LOG_EVERY, RECORD_STEPS, RUN_ID, example_record


@on_both_databases
def test_without_names_every_series_that_exists_comes_in_step_order(client: FlaskClient, store: Store) -> None:
    answer = client.get("/series").get_json()

    assert answer["run_id"] == RUN_ID
    assert answer["steps"] == list(range(LOG_EVERY, LAST_STEP + 1, LOG_EVERY))
    assert {"total_loss_value", "quality_ki_value", "learning_rate_value"} <= set(answer["names"])
    assert set(answer["names"]) == set(answer["values"])
    assert all(len(column) == len(answer["steps"]) for column in [answer["times"], *answer["values"].values()])


@on_both_databases
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


@on_both_databases
def test_both_ends_of_the_range_are_included(client: FlaskClient, store: Store) -> None:
    assert client.get("/series?from=500&to=800").get_json()["steps"] == [500, 600, 700, 800]
    assert client.get("/series?from=4100").get_json()["steps"] == [4100, 4200]
    assert client.get("/series?to=200").get_json()["steps"] == [100, 200]
    assert client.get("/series?from=800&to=500").get_json()["steps"] == []


@on_both_databases
def test_a_known_name_without_values_is_all_null(client: FlaskClient, store: Store) -> None:
    store.series.add(RUN_ID, [SeriesRow(5000, 1.0, {"total_loss_value": 0.1})])

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
    [
        ("qualty_ki", "quality_ki_value"),
        ("zzz", "the documentation on this server"),
        ("lr_phase_name", ""),
        ("per_rank", ""),
    ],
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


def add_points(store: Store, steps: range) -> None:
    """Log points with a loss of step / 10 and one spike down and one up."""
    store.series.add(RUN_ID, [SeriesRow(step, float(step), {"total_loss_value": loss_at(step)}) for step in steps])


def loss_at(step: int) -> float:
    return {10_007: -5.0, 11_003: 9e9}.get(step, step / 10)


@on_both_databases
def test_a_long_history_is_refused_with_a_way_out(
    client: FlaskClient, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.routes.run.series.MAX_POINTS", 30)
    monkeypatch.setattr("api.routes.run.series.BATCH_SIZE", 7)

    answer = client.get("/series")

    assert (answer.status_code, answer.get_json()["type"]) == (422, "/problems/invalid-argument")
    assert "points=1000" in answer.get_json()["detail"]
    assert len(client.get("/series?to=3000").get_json()["steps"]) == 30
    assert client.get("/series?to=3100").status_code == 422
    assert client.get("/series?from=4100").get_json()["steps"] == [4100, 4200]


@on_both_databases
@pytest.mark.parametrize("batch", [1, 2, 41, 42, 43])
def test_however_the_store_is_asked_the_history_is_the_same(
    client: FlaskClient, store: Store, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    whole = client.get("/series").get_json()
    monkeypatch.setattr("api.routes.run.series.BATCH_SIZE", batch)

    assert client.get("/series").get_json() == whole
    assert client.get("/series?from=200&to=4000").get_json()["steps"] == list(range(200, 4001, LOG_EVERY))


def test_with_points_a_history_is_reduced_without_losing_a_spike(client: FlaskClient, store: Store) -> None:
    add_points(store, range(10_000, 12_000))

    answer = client.get("/series?names=total_loss_value&from=10000&points=50").get_json()

    series = answer["series"]["total_loss_value"]
    assert (answer["run_id"], answer["names"]) == (RUN_ID, ["total_loss_value"])
    assert (answer["first_step"], answer["last_step"]) == (10_000, 11_999)
    assert 25 <= len(series["steps"]) <= 51
    assert sum(series["counts"]) == 2000
    assert (min(series["lows"]), series["low_steps"][series["lows"].index(-5.0)]) == (-5.0, 10_007)
    assert (max(series["highs"]), series["high_steps"][series["highs"].index(9e9)]) == (9e9, 11_003)
    assert answer["stretch_steps"] == max(
        last - first + 1 for first, last in zip(series["steps"], series["last_steps"], strict=True)
    )


def test_stretches_lie_side_by_side_and_say_the_mean(client: FlaskClient, store: Store) -> None:
    add_points(store, range(10_000, 12_000))

    series = client.get("/series?names=total_loss_value&from=10000&points=50").get_json()["series"]["total_loss_value"]

    assert all(last < first for last, first in zip(series["last_steps"], series["steps"][1:], strict=False))
    for first, last, mean in zip(series["steps"], series["last_steps"], series["means"], strict=True):
        values = [loss_at(step) for step in range(first, last + 1)]
        assert mean == pytest.approx(sum(values) / len(values))


@on_both_databases
def test_with_enough_points_each_stretch_is_one_log_point(client: FlaskClient, store: Store) -> None:
    logged = client.get("/series?names=total_loss_value,quality_ki_value").get_json()

    answer = client.get("/series?names=total_loss_value,quality_ki_value&points=100").get_json()

    loss, quality = (answer["series"][name] for name in ("total_loss_value", "quality_ki_value"))
    assert answer["stretch_steps"] == 1
    assert (loss["steps"], loss["means"]) == (logged["steps"], logged["values"]["total_loss_value"])
    assert loss["lows"] == loss["highs"] == loss["means"]
    assert quality["steps"] == list(RECORD_STEPS)


def test_without_names_all_values_are_reduced_in_the_records_order(client: FlaskClient, store: Store) -> None:
    assert client.get("/series?points=10").get_json()["names"] == client.get("/series").get_json()["names"]


@on_both_databases
def test_a_stretch_of_steps_without_points_is_empty(client: FlaskClient, store: Store) -> None:
    answer = client.get("/series?names=grad_norm&from=9000&points=10").get_json()

    assert (answer["first_step"], answer["last_step"], answer["stretch_steps"]) == (9000, 9000, 1)
    assert {column: values for column, values in answer["series"]["grad_norm"].items() if values} == {}


@pytest.mark.parametrize("points", ["9", "5001", "-10", "many", "", "10.5"])
def test_a_wrong_number_of_points_is_refused(client: FlaskClient, store: Store, points: str) -> None:
    answer = client.get(f"/series?points={points}")

    assert (answer.status_code, answer.get_json()["type"]) == (422, "/problems/invalid-argument")
    assert "points" in answer.get_json()["detail"]


def test_a_misspelt_parameter_is_refused(client: FlaskClient, store: Store) -> None:
    answer = client.get("/series?form=10")

    assert "did you mean from?" in answer.get_json()["detail"]


def test_steps_that_were_set_aside_are_read_by_the_name_of_their_branch(client: FlaskClient, store: Store) -> None:
    before = client.get("/series?names=total_loss_value&from=4100").get_json()
    store.move_to_branch(RUN_ID, 4000, f"{RUN_ID}-after-4000")
    store.series.add(f"{RUN_ID}-after-all", [SeriesRow(1, 1.0, {})])  # another run, which is no branch

    branch = client.get(f"/series?names=total_loss_value&branch={RUN_ID}-after-4000").get_json()
    assert branch == {**before, "run_id": f"{RUN_ID}-after-4000"}
    assert client.get("/series").get_json()["steps"][-1] == 4000
    reduced = client.get(f"/series?names=total_loss_value&points=10&branch={RUN_ID}-after-4000").get_json()
    assert (reduced["first_step"], reduced["last_step"]) == (4100, 4200)

    for unknown in (f"{RUN_ID}-branch-7", f"{RUN_ID}-after-all"):
        missing = client.get(f"/series?branch={unknown}")
        assert (missing.status_code, missing.get_json()["type"]) == (404, "/problems/not-found")
        assert f"choose one of: {RUN_ID}-after-4000." in missing.get_json()["detail"]
