"""GET /state."""

import shutil
import time
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from api.runs.state_answer import state_answer
from service.cli.stats.stored.events import read_run
from service.cli.stats.stored.history import own_history, shared_history
from service.run.ledger.answer import LedgerAnswer
from service.run.lock import launch_mark
from service.run.record import KEYS
from service.run.state import RunState
from service.store.store import RunRow, Store
from tests.api.conftest import on_both_databases
from tests.api.harness.example_run import LAST_STEP, RUN_ID, example_record, write_run


def run_row(written: RunState, *, age_seconds: float = 0.0, step: int = 4200, **snapshot: object) -> RunRow:
    at = 1000.0 - age_seconds
    values = example_record(4200, at, **snapshot)
    return RunRow("r", {}, 900.0, at, at, step, written, None, values)


@on_both_databases
def test_the_state_holds_every_key_of_a_record_in_its_order(client: FlaskClient, store: Store) -> None:
    answer = client.get("/state")

    assert answer.status_code == 200
    assert tuple(answer.get_json())[: len(KEYS)] == KEYS


@on_both_databases
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


@pytest.mark.parametrize("jump", [3600.0, -3600.0])
def test_a_jump_of_the_clock_makes_no_run_lost_or_stalled(
    client: FlaskClient, store: Store, monkeypatch: pytest.MonkeyPatch, jump: float
) -> None:
    client.get("/state")
    present = time.time

    monkeypatch.setattr(time, "time", lambda: present() + jump)

    state = client.get("/state").get_json()
    assert state["run_state"] == "running"
    assert 0 <= state["age_seconds"] < 10
    assert 0 <= state["progress_age_seconds"] < 10
    assert client.get("/readyz").status_code == 200
    assert client.get("/alerts").get_json()["alerts"] == []
    assert client.get("/runs").get_json()["runs"][0]["run_state"] == "running"
    assert client.post("/validate").status_code == 202


def test_a_trainer_without_a_heartbeat_is_reported_lost(client: FlaskClient, root: Path) -> None:
    write_run(root, age_seconds=47).close()

    state = client.get("/state").get_json()

    assert state["run_state"] == "lost"
    assert 47 <= state["age_seconds"] < 60
    assert state["training_active"] is False


@pytest.mark.parametrize(("state", "silent_seconds"), [("lost", 60.0), ("stalled", 5.0), ("running", 0.0)])
@on_both_databases
def test_every_view_of_a_run_tells_the_same_state(
    client: FlaskClient, store: Store, root: Path, store_address: str, state: str, silent_seconds: float
) -> None:
    """The row says `running` in all cases: nobody is left to write that a trainer is gone, or hangs."""
    now = time.time()
    store.runs.update(RUN_ID, state="running", heartbeat_at=now - silent_seconds, progress_at=now - 30 * silent_seconds)

    history = shared_history(store_address, RUN_ID, "en") if store_address else own_history(root, RUN_ID, "en")

    assert client.get("/state").get_json()["run_state"] == state
    assert [run["run_state"] for run in client.get("/runs").get_json()["runs"]] == [state]
    assert f'leitstand_run_state{{state="{state}"}} 1.0' in client.get("/metrics").get_data(as_text=True)
    assert client.get("/readyz").status_code == (503 if state == "lost" else 200)
    assert history.state == state
    assert read_run(root, RUN_ID, store_address).state == state


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
    answer = state_answer(
        run_row(written, training_active=not active, training_paused=not paused), 1000.0, LedgerAnswer()
    )

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

    assert state_answer(row, 1000.0, LedgerAnswer())["validation_running"] is expected


def test_a_clock_set_back_gives_no_negative_age() -> None:
    answer = state_answer(run_row(RunState.RUNNING, age_seconds=-100.0), 1000.0, LedgerAnswer())

    assert (answer["age_seconds"], answer["progress_age_seconds"]) == (0.0, 0.0)


def test_without_a_run_the_answer_is_a_problem_that_says_what_to_do(client: FlaskClient) -> None:
    answer = client.get("/state")

    assert answer.status_code == 503
    assert answer.mimetype == "application/problem+json"
    assert answer.get_json()["type"] == "/problems/no-run"
    assert "leitstand up" in answer.get_json()["detail"]
    assert int(answer.headers["Retry-After"]) > 0


def test_while_a_training_is_launched_nobody_is_told_to_start_one(client: FlaskClient, root: Path) -> None:
    root.mkdir()

    with launch_mark(root):
        answer = client.get("/state").get_json()

    assert (answer["status"], answer["type"]) == (503, "/problems/no-run")
    assert answer["detail"] == "A training is being launched in DATA_ROOT; it reports within seconds."
    assert "leitstand up" in client.get("/state").get_json()["detail"]


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

    assert "is gone" in client.get("/state").get_json()["run_reason"]
    write_run(root, last_step=100).close()
    assert client.get("/state").get_json()["step_live"] == 100


@pytest.mark.parametrize("way", ["moved", "deleted", "emptied"])
def test_a_run_that_was_seen_is_lost_when_its_directory_is_gone(client: FlaskClient, root: Path, way: str) -> None:
    write_run(root, age_seconds=60.0).close()
    assert client.get("/state").get_json()["run_state"] == "lost"
    if way == "moved":
        root.rename(root.with_name("elsewhere"))
    elif way == "deleted":
        shutil.rmtree(root)
    else:
        for path in root.iterdir():
            path.unlink()

    state = client.get("/state")
    assert state.status_code == 200
    answer = state.get_json()
    assert (answer["run_id"], answer["run_state"], answer["step_live"]) == (RUN_ID, "lost", LAST_STEP)
    assert answer["run_reason"] == f"{root / 'leitstand.db'} is gone: its folder was moved, deleted or unmounted."
    assert [alert["name"] for alert in client.get("/alerts").get_json()["alerts"]] == ["lost"]
    assert [run["run_state"] for run in client.get("/runs").get_json()["runs"]] == ["lost"]
    assert client.get(f"/runs/{RUN_ID}/state").get_json()["run_state"] == "lost"
    assert 'leitstand_run_state{state="lost"} 1.0' in client.get("/metrics").get_data(as_text=True)
    refused = client.post("/validate", json={})
    assert (refused.status_code, refused.get_json()["type"]) == (503, "/problems/no-trainer")
    assert (client.get("/series").status_code, client.get("/readyz").status_code) == (503, 503)

    shutil.rmtree(root, ignore_errors=True)
    write_run(root).close()
    assert client.get("/state").get_json()["run_state"] == "running"


def test_a_run_that_had_ended_is_not_missed_when_its_directory_is_gone(client: FlaskClient, root: Path) -> None:
    write_run(root, state=RunState.FINISHED).close()
    assert client.get("/state").status_code == 200
    shutil.rmtree(root)

    assert (client.get("/state").status_code, client.get("/state").get_json()["type"]) == (503, "/problems/no-run")
    assert client.get("/runs").get_json()["runs"] == []


@on_both_databases
def test_the_ledger_of_the_run_is_part_of_its_state(client: FlaskClient, store: Store) -> None:
    before = client.get("/state").get_json()
    rolled_back = {"from_step": 4200, "checkpoint": "step_0004000", "reason": "a person asked for it"}
    store.events.add(RUN_ID, 4000, "rollback", rolled_back)
    store.runs.update(RUN_ID, step=4000)

    state = client.get("/state").get_json()

    assert (before["incidents"], before["incident_counts"], before["steps_lost"]) == ([], {}, 0)
    assert (state["incident_counts"], state["steps_lost"]) == ({"rollback": 1}, 200)
    (incident,) = state["incidents"]
    assert (incident["kind"], incident["steps_lost"], incident["named_by"]) == ("rollback", 200, "person")
    assert sum(state["time_seconds"].values()) == pytest.approx(state["wall_seconds"], abs=0.01)
    assert state["useful_time_ratio"] is None, "its trainer measured nothing"
