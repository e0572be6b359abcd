"""Conditions of a submission: apply_at_step, expires_in, dry_run; and taking a command back."""

import time

import pytest
from flask.testing import FlaskClient

from service.commands import CommandState
from service.run.state import RunState
from service.store.store import Store
from tests.api.conftest import on_both_databases
from tests.api.harness.example_run import LAST_STEP, MAX_STEPS, RUN_ID


@on_both_databases
def test_a_command_can_be_put_off_to_a_step(client: FlaskClient, store: Store) -> None:
    answer = client.post(f"/checkpoint?apply_at_step={LAST_STEP + 1}")

    assert (answer.status_code, answer.get_json()["apply_at_step"]) == (202, LAST_STEP + 1)
    assert [command.apply_at_step for command in store.commands.find(RUN_ID)] == [LAST_STEP + 1]


@pytest.mark.parametrize("step", ["0", str(LAST_STEP)])
def test_a_step_that_is_over_is_refused_with_the_runs_step(client: FlaskClient, store: Store, step: str) -> None:
    answer = client.post(f"/checkpoint?apply_at_step={step}")

    assert (answer.status_code, answer.get_json()["type"]) == (422, "/problems/invalid-argument")
    assert f"the run is at step {LAST_STEP} already" in answer.get_json()["detail"]
    assert store.commands.find(RUN_ID) == []


@on_both_databases
def test_a_command_can_be_given_a_time_in_which_to_begin(client: FlaskClient, store: Store) -> None:
    before = time.time()
    answer = client.post("/validate?expires_in=90.5").get_json()

    assert before + 90.5 <= answer["expires_at"] <= time.time() + 90.5
    assert [command.expires_at for command in store.commands.find(RUN_ID)] == [answer["expires_at"]]


def test_a_command_without_conditions_has_none(client: FlaskClient, store: Store) -> None:
    answer = client.post("/validate").get_json()

    assert (answer["apply_at_step"], answer["expires_at"]) == (None, None)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("apply_at_step", value) for value in ("", "-1", "1.5", "soon", "９", "9" * 19)),
        *(("expires_in", value) for value in ("", "0", "0.0", "-1", "604800.1", "1e6", "1e", "nan", "inf", "soon")),
        *(("wait", value) for value in ("", "60.1", "-1", "nan", "long")),
        *(("dry_run", value) for value in ("yes", "2", "null")),
    ],
)
def test_a_condition_that_is_none_is_refused_by_name_and_value(
    client: FlaskClient, store: Store, name: str, value: str
) -> None:
    answer = client.post("/validate", query_string={name: value})

    assert (answer.status_code, answer.get_json()["type"]) == (422, "/problems/invalid-argument")
    assert answer.get_json()["detail"].startswith(f"{name} is {value!r}, but must be ")
    assert store.commands.find(RUN_ID) == []


@pytest.mark.parametrize("path", ["checkpoint", "settings"])
def test_a_step_beyond_the_end_of_the_run_is_refused_with_the_reason(
    client: FlaskClient, store: Store, path: str
) -> None:
    step = MAX_STEPS + 1
    ask = client.post if path == "checkpoint" else client.patch

    answer = ask(f"/{path}?apply_at_step={step}", json={} if path == "checkpoint" else {"LOG_EVERY": 7})

    assert (answer.status_code, answer.get_json()["type"]) == (422, "/problems/invalid-argument")
    assert answer.get_json()["detail"] == (
        f"apply_at_step is {step}, but the run ends at MAX_STEPS, which is {MAX_STEPS}; raise MAX_STEPS before."
    )
    assert store.commands.find(RUN_ID) == []


def test_the_end_of_the_run_is_the_one_that_was_asked_for_last(client: FlaskClient, store: Store) -> None:
    step = MAX_STEPS + 1
    client.patch(f"/settings?apply_at_step={LAST_STEP + 9}", json={"MAX_STEPS": str(step)})

    assert client.post(f"/stop?apply_at_step={step}").status_code == 202
    assert client.post(f"/stop?apply_at_step={step + 1}").status_code == 422


def test_a_run_whose_settings_cannot_be_read_takes_any_later_step(client: FlaskClient, store: Store) -> None:
    store.runs.update(RUN_ID, config={"MAX_STEPS": "many"})

    assert client.post(f"/stop?apply_at_step={'9' * 18}").status_code == 202


@on_both_databases
@pytest.mark.parametrize("query", ["expires_in=604800", "expires_in=0.001", "wait=0", f"apply_at_step={MAX_STEPS}"])
def test_the_bounds_themselves_are_allowed(client: FlaskClient, store: Store, query: str) -> None:
    assert client.post(f"/validate?{query}").status_code == 202


@pytest.mark.parametrize("query", ["dry_run", "dry_run=", "dry_run=1", "dry_run=true", "dry_run=True"])
def test_a_dry_run_says_what_would_be_queued_and_queues_nothing(client: FlaskClient, store: Store, query: str) -> None:
    answer = client.post(f"/stop?{query}&apply_at_step=5000&expires_in=60&wait=30")

    assert answer.status_code == 200
    acceptance = answer.get_json()
    assert acceptance.items() >= {
        "accepted": True, "run_id": RUN_ID, "step": LAST_STEP, "kind": "stop", "arguments": {}, "apply_at_step": 5000,
        "expires_in": 60.0, "id": "", "state": "accepted", "actor": "anonymous@127.0.0.1", "source": "api",
    }.items()  # fmt: skip
    assert acceptance["expires_at"] == pytest.approx(acceptance["created_at"] + 60)
    assert acceptance.keys() - {"accepted", "expires_in"} == client.post("/validate").get_json().keys()
    assert "Location" not in answer.headers
    assert [command.kind for command in store.commands.find(RUN_ID)] == ["validate"]


@pytest.mark.parametrize("query", ["dry_run=0", "dry_run=false"])
def test_a_dry_run_that_is_switched_off_is_none(client: FlaskClient, store: Store, query: str) -> None:
    assert client.post(f"/stop?{query}").status_code == 202


def test_a_dry_run_is_refused_as_the_command_would_be(client: FlaskClient, store: Store) -> None:
    store.runs.update(RUN_ID, state=RunState.FINISHED.value)

    assert client.post("/stop?dry_run").status_code == 409
    assert client.post("/stop?dry_run", json={"a": 1}).status_code == 422


@on_both_databases
def test_a_queued_command_is_cancelled_with_who_did_it(client: FlaskClient, store: Store) -> None:
    location = client.post("/validate").headers["Location"]

    answer = client.delete(location, headers={"X-Leitstand-Actor": "eva", "X-Leitstand-Source": "cli"})

    assert answer.status_code == 200
    assert (answer.get_json()["state"], answer.get_json()["reason"]) == (
        "cancelled",
        "cancelled by eva@127.0.0.1 (cli)",
    )
    assert client.get(location).get_json() == answer.get_json()
    assert store.commands.find(RUN_ID, CommandState.QUEUED) == []


@on_both_databases
def test_cancelling_twice_is_answered_as_the_first_time(client: FlaskClient, store: Store) -> None:
    location = client.post("/validate").headers["Location"]

    first = client.delete(location, headers={"X-Leitstand-Actor": "eva"})
    second = client.delete(location, headers={"X-Leitstand-Actor": "otto"})

    assert (second.status_code, second.get_json()) == (200, first.get_json())
    assert second.get_json()["reason"] == "cancelled by eva@127.0.0.1 (api)"


@on_both_databases
@pytest.mark.parametrize("state", ["running", "done"])
def test_a_command_that_has_begun_or_ended_is_not_cancelled(client: FlaskClient, store: Store, state: str) -> None:
    command_id = client.post("/validate").get_json()["id"]
    store.commands.begin(command_id)
    if state == "done":
        store.commands.finish(command_id, CommandState.DONE, step=4300)
    before = store.commands.get(command_id)

    answer = client.delete(f"/commands/{command_id}")

    assert (answer.status_code, answer.get_json()["type"]) == (409, "/problems/command-begun")
    assert f"is {state};" in answer.get_json()["detail"]
    assert store.commands.get(command_id) == before


def test_a_command_that_nobody_knows_cannot_be_cancelled(client: FlaskClient, store: Store) -> None:
    assert client.delete("/commands/nonsense").status_code == 404
    assert client.delete("/commands").status_code == 405


def test_a_command_is_cancelled_though_its_trainer_is_gone(client: FlaskClient, store: Store) -> None:
    location = client.post("/stop").headers["Location"]
    store.runs.update(RUN_ID, heartbeat_at=time.time() - 60)

    assert client.delete(location).status_code == 200
