"""GET /state."""

import time
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from api.runs.state_answer import state_answer
from service.run.record import KEYS
from service.run.state import RunState
from service.store.store import RunRow, Store
from tests.api.harness.example_run import LAST_STEP, RUN_ID, example_record, write_run


def run_row(written: RunState, *, age_seconds: float = 0.0, step: int = 4200, **snapshot: object) -> RunRow:
    at = 1000.0 - age_seconds
    values = example_record(4200, at, **snapshot)
    return RunRow("r", {}, 900.0, at, at, step, written, None, values)


def test_the_state_holds_every_key_of_a_record_in_its_order(client: FlaskClient, store: Store) -> None:
    answer = client.get("/state")

    assert answer.status_code == 200
    assert tuple(answer.get_json())[: len(KEYS)] == KEYS


def test_the_state_adds_what_the_run_is_doing_now(client: FlaskClient, store: Store) -> None:
    store.runs.update(RUN_ID, step=4237)

    state = client.get("/state").get_json()

    assert (state["run_state"], state["run_reason"], state["run_id"]) == ("running", None, RUN_ID)
    assert (state["step_current"], state["step_live"]) == (LAST_STEP, 4237)
    assert 0 <= state["age_seconds"] < 10
    assert 0 <= state["progress_age_seconds"] < 10
    assert state["started_at"] < time.time()


def test_before_the_first_log_point_the_records_keys_are_null(client: FlaskClient, root: Path) -> None:
    write_run(root, last_step=0, state=RunState.STARTING).close()

    state = client.get("/state").get_json()

    flags = {"training_active", "validation_running", "training_paused", "run_id"}
    assert all(state[key] is None for key in KEYS if key not in flags)
    assert state["run_state"] == "starting"
    assert (state["training_active"], state["training_paused"], state["validation_running"]) == (False, False, False)


def test_a_trainer_without_a_heartbeat_is_reported_lost(client: FlaskClient, root: Path) -> None:
    write_run(root, age_seconds=47).close()

    state = client.get("/state").get_json()

    assert state["run_state"] == "lost"
    assert 47 <= state["age_seconds"] < 60
    assert state["training_active"] is False


@pytest.mark.parametrize(
    ("written", "active", "paused"),
    [
        (RunState.RUNNING, True, False),
        (RunState.PAUSED, False, True),
        (RunState.STARTING, False, False),
        (RunState.FINISHED, False, False),
        (RunState.STOPPED, False, False),
        (RunState.FAILED, False, False),
    ],
)
def test_the_flags_follow_the_reported_state_not_an_older_snapshot(
    written: RunState, active: bool, paused: bool
) -> None:
    answer = state_answer(run_row(written, training_active=not active, training_paused=not paused), now=1000.0)

    assert (answer["training_active"], answer["training_paused"]) == (active, paused)


@pytest.mark.parametrize(
    ("written", "age_seconds", "step", "expected"),
    [
        (RunState.RUNNING, 0.0, 4200, True),
        (RunState.PAUSED, 0.0, 4200, True),
        (RunState.RUNNING, 0.0, 4201, False),
        (RunState.RUNNING, 30.0, 4200, False),
        (RunState.STARTING, 0.0, 4200, False),
        (RunState.STOPPED, 0.0, 4200, False),
    ],
)
def test_a_validation_is_shown_only_while_it_can_be_running(
    written: RunState, age_seconds: float, step: int, expected: bool
) -> None:
    row = run_row(written, age_seconds=age_seconds, step=step, validation_running=True)

    assert state_answer(row, now=1000.0)["validation_running"] is expected


def test_a_clock_set_back_gives_no_negative_age() -> None:
    answer = state_answer(run_row(RunState.RUNNING, age_seconds=-100.0), now=1000.0)

    assert (answer["age_seconds"], answer["progress_age_seconds"]) == (0.0, 0.0)


def test_without_a_run_the_answer_is_a_problem_that_says_what_to_do(client: FlaskClient) -> None:
    answer = client.get("/state")

    assert answer.status_code == 503
    assert answer.mimetype == "application/problem+json"
    assert answer.get_json()["type"] == "/problems/no-run"
    assert "leitstand up" in answer.get_json()["detail"]
    assert int(answer.headers["Retry-After"]) > 0


def test_a_damaged_store_is_a_problem_not_a_crash(client: FlaskClient, root: Path) -> None:
    root.mkdir()
    (root / "leitstand.db").write_bytes(b"rubbish" * 500)

    answer = client.get("/state")

    assert answer.status_code == 503
    assert answer.get_json()["type"] == "/problems/storage-unavailable"


def test_a_fresh_start_is_seen_without_a_restart_of_the_api(client: FlaskClient, store: Store, root: Path) -> None:
    assert client.get("/state").get_json()["run_state"] == "running"

    for path in root.glob("leitstand.db*"):
        path.rename(root / f"old-{path.name}")

    assert client.get("/state").get_json()["type"] == "/problems/no-run"
    write_run(root, last_step=100).close()
    assert client.get("/state").get_json()["step_live"] == 100
