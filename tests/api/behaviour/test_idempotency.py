"""Idempotency-Key: a request that is sent again makes no second command, whatever happened in between."""

import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests
from flask.testing import FlaskClient

from service.commands import CommandState, Kind
from service.run.state import RunState
from service.store.store import Store
from tests.api.conftest import keep_alive, on_both_databases
from tests.api.harness.checkpoints import write_checkpoint
from tests.api.harness.example_run import RUN_ID
from tests.api.harness.serving import Server, Serving

Eventually = Callable[..., None]

KEY = {"Idempotency-Key": "8e03978e-40d5-43dd-bc93-6894a57f9324"}


def keyed(key: str) -> dict[str, str]:
    return {"Idempotency-Key": key}


@on_both_databases
def test_the_same_request_again_is_answered_as_the_first_time_and_queues_nothing(
    client: FlaskClient, store: Store
) -> None:
    first = client.post("/validate?apply_at_step=5000", headers=KEY)
    again = client.post("/validate?apply_at_step=5000", headers=KEY)

    assert (again.status_code, again.get_data()) == (202, first.get_data())
    assert again.headers["Location"] == first.headers["Location"]
    assert again.headers["Retry-After"] == "1"
    assert (first.headers.get("Idempotency-Replayed"), again.headers["Idempotency-Replayed"]) == (None, "true")
    assert [command.id for command in store.commands.find(RUN_ID)] == [first.get_json()["id"]]


def test_without_a_key_every_request_is_a_command(client: FlaskClient, store: Store) -> None:
    client.post("/validate")
    client.post("/validate")

    assert len(store.commands.find(RUN_ID)) == 2


@on_both_databases
def test_the_first_answer_stays_though_the_command_has_ended_since(client: FlaskClient, store: Store) -> None:
    first = client.post("/checkpoint", headers=KEY)
    store.commands.begin(first.get_json()["id"])
    store.commands.finish(first.get_json()["id"], CommandState.DONE, step=4300, result={"checkpoint": "step_0004300"})

    again = client.post("/checkpoint", headers=KEY)

    assert (again.status_code, again.get_json()["state"]) == (202, "queued")
    assert again.get_data() == first.get_data()


@on_both_databases
def test_who_waits_is_answered_with_the_end_of_the_first_command(client: FlaskClient, store: Store) -> None:
    first = client.post("/checkpoint", headers=KEY).get_json()
    store.commands.finish(first["id"], CommandState.DONE, step=4300)

    again = client.post("/checkpoint?wait=30", headers=KEY)

    assert (again.status_code, again.headers["Idempotency-Replayed"]) == (200, "true")
    assert (again.get_json()["id"], again.get_json()["state"]) == (first["id"], "done")


@pytest.mark.parametrize("state", [RunState.FINISHED, RunState.STOPPED, RunState.FAILED])
def test_a_replay_succeeds_though_the_run_has_ended(client: FlaskClient, store: Store, state: RunState) -> None:
    first = client.post("/stop", headers=KEY)
    store.runs.update(RUN_ID, state=state.value)

    assert client.post("/stop", headers=KEY).get_data() == first.get_data()
    assert client.post("/stop", headers=keyed("another")).status_code == 409


@on_both_databases
def test_a_replay_succeeds_though_the_trainer_is_gone(make_client: Callable[..., FlaskClient], store: Store) -> None:
    first = make_client().post("/stop", headers=KEY)
    store.runs.update(RUN_ID, heartbeat_at=0.0)
    later = make_client()  # one that has not seen the trainer alive: it goes by the time of the heartbeat

    assert later.post("/stop", headers=KEY).get_data() == first.get_data()
    assert later.post("/stop", headers=keyed("another")).status_code == 503


@on_both_databases
def test_a_replay_succeeds_though_its_step_is_over(client: FlaskClient, store: Store) -> None:
    first = client.post("/validate?apply_at_step=5000", headers=KEY)
    store.runs.update(RUN_ID, step=6000)

    assert client.post("/validate?apply_at_step=5000", headers=KEY).get_data() == first.get_data()


def request_of(kind: str, **arguments: Any) -> dict[str, Any]:
    path, method = ("/settings", "PATCH") if kind == "set" else (f"/{kind}", "POST")
    return {"path": path, "method": method, **arguments}


@pytest.mark.parametrize(
    ("first", "other"),
    [
        (request_of("validate"), request_of("pause")),
        (request_of("validate"), request_of("validate", query_string="apply_at_step=5000")),
        (request_of("validate"), request_of("validate", query_string="expires_in=60")),
        (request_of("rollback", json={"checkpoint": "best"}), request_of("rollback", json={"checkpoint": "latest"})),
        (request_of("set", json={"LR_SCALE": 0.5}), request_of("set", json={"LR_SCALE": 0.25})),
        (
            request_of("set", json={"LR_SCALE": 0.5}),
            request_of("set", json={"LR_SCALE": 0.5}, headers={"If-Match": "*"}),
        ),
    ],
)
def test_a_key_of_another_request_is_refused_and_names_its_command(
    client: FlaskClient, store: Store, root: Path, first: dict[str, Any], other: dict[str, Any]
) -> None:
    write_checkpoint(root, 4000, "best", "latest")
    command = client.open(**{**first, "headers": KEY}).get_json()

    refused = client.open(**{**other, "headers": {**other.get("headers", {}), **KEY}})

    assert (refused.status_code, refused.get_json()["type"]) == (422, "/problems/key-reused")
    assert command["id"] in refused.get_json()["detail"]
    assert len(store.commands.find(RUN_ID)) == 1


@pytest.mark.parametrize(
    ("first", "same"),
    [
        (request_of("validate"), request_of("validate", json={})),
        (request_of("validate"), request_of("validate", query_string="wait=0.01")),
        (request_of("validate"), request_of("validate", headers={"X-Leitstand-Actor": "otto"})),
        (request_of("validate"), {"path": f"/runs/{RUN_ID}/validate", "method": "POST"}),
        (
            request_of("set", json={"LR_SCALE": 0.5, "LOG_EVERY": 7}),
            request_of("set", data='{ "log_every": 7.0, "LR_SCALE" :5e-1}', content_type="application/json"),
        ),
    ],
)
def test_the_same_wish_is_recognised_however_it_is_written(
    client: FlaskClient, store: Store, first: dict[str, Any], same: dict[str, Any]
) -> None:
    command = client.open(**{**first, "headers": KEY}).get_json()

    again = client.open(**{**same, "headers": {**same.get("headers", {}), **KEY}})

    assert (again.status_code, again.get_json()) == (202, command)
    assert len(store.commands.find(RUN_ID)) == 1


@on_both_databases
def test_a_key_with_quotes_is_the_key_without(client: FlaskClient, store: Store) -> None:
    ids = {client.post("/validate", headers=keyed(key)).get_json()["id"] for key in ("a-key", '"a-key"')}
    others = {client.post("/validate", headers=keyed(key)).get_json()["id"] for key in (r'"a\"b\\c"', r"a\"b\\c")}

    assert (len(ids), len(others)) == (1, 2)
    assert {command.idempotency_key for command in store.commands.find(RUN_ID)} == {"a-key", 'a"b\\c', r"a\"b\\c"}


@pytest.mark.parametrize("key", ["!", "k" * 255, '"' + "k" * 255 + '"'])
def test_the_bounds_of_a_key_are_allowed(client: FlaskClient, store: Store, key: str) -> None:
    assert client.post("/validate", headers=keyed(key)).status_code == 202


@pytest.mark.parametrize(
    "key", ["", '""', "k" * 256, '"' + "k" * 256 + '"', "two words", "é", '"open', '"a"b', '"a";p']
)
def test_what_is_no_key_is_refused(client: FlaskClient, store: Store, key: str) -> None:
    answer = client.post("/validate", headers=keyed(key))

    assert (answer.status_code, answer.get_json()["type"]) == (422, "/problems/invalid-argument")
    assert store.commands.find(RUN_ID) == []


@on_both_databases
def test_a_dry_run_uses_up_no_key(client: FlaskClient, store: Store) -> None:
    assert client.post("/validate?dry_run=true", headers=KEY).status_code == 200
    assert client.post("/validate", headers=KEY).status_code == 202
    assert client.post("/pause?dry_run=true", headers=KEY).status_code == 200


@on_both_databases
def test_a_refused_request_uses_up_no_key(client: FlaskClient, store: Store) -> None:
    assert client.post("/validate?apply_at_step=1", headers=KEY).status_code == 422
    assert client.post("/validate", headers=KEY).status_code == 202


@on_both_databases
def test_simultaneous_duplicates_make_one_command(served: Server, served_store: Store) -> None:
    count = 16
    start = threading.Barrier(count)

    def send(number: int) -> requests.Response:
        start.wait()
        return requests.post(f"{served.url}/validate", headers=keyed(f"duplicate-{number // 8}"), timeout=30)

    with ThreadPoolExecutor(count) as threads:
        answers = list(threads.map(send, range(count)))

    assert {answer.status_code for answer in answers} == {202}
    for key, group in (("duplicate-0", answers[:8]), ("duplicate-1", answers[8:])):
        assert len({answer.content for answer in group}) == 1
        assert sorted(answer.headers.get("Idempotency-Replayed", "") for answer in group) == ["", *["true"] * 7]
        assert [c.id for c in served_store.commands.find(RUN_ID) if c.idempotency_key == key] == [group[0].json()["id"]]


@on_both_databases
def test_two_changes_on_the_strength_of_one_reading_do_not_both_pass(served: Server, served_store: Store) -> None:
    tag = requests.get(f"{served.url}/settings", timeout=30).headers["ETag"]
    start = threading.Barrier(8)

    def change(number: int) -> int:
        start.wait()
        body = {"LR_SCALE": 1 / (number + 2)}
        return requests.patch(f"{served.url}/settings", json=body, headers={"If-Match": tag}, timeout=30).status_code

    with ThreadPoolExecutor(8) as threads:
        statuses = sorted(threads.map(change, range(8)))

    queued = served_store.commands.find(RUN_ID, CommandState.QUEUED)
    changes = [command for command in queued if command.kind is Kind.SET]
    assert statuses == [202] + [412] * 7
    assert len(changes) == 1


@on_both_databases
def test_a_server_killed_before_its_answer_has_queued_the_command_once(
    serving: Serving, root: Path, store: Store, store_address: str, eventually: Eventually
) -> None:
    keep_alive(store)
    with ThreadPoolExecutor(1) as threads:
        with serving(root, STORE_URL=store_address) as server:
            # The answer waits for an end that does not come, so the kill surely comes between commit and answer.
            lost = threads.submit(requests.post, f"{server.url}/stop?wait=60", headers=KEY, timeout=60)
            eventually(lambda: store.commands.find(RUN_ID), what="the command is on disk")
            kill(server)
            assert isinstance(lost.exception(), requests.ConnectionError)
        with serving(root, STORE_URL=store_address, at_port=server.port) as server:
            again = requests.post(f"{server.url}/stop", headers=KEY, timeout=30)

    (command,) = store.commands.find(RUN_ID)
    assert (again.status_code, again.headers["Idempotency-Replayed"]) == (202, "true")
    assert (again.json()["id"], again.json()["state"]) == (command.id, "queued")


def kill(server: Server) -> None:
    """SIGKILL for the server and its worker."""
    processes = [psutil.Process(server.process.pid), *psutil.Process(server.process.pid).children(recursive=True)]
    for process in processes:
        os.kill(process.pid, signal.SIGKILL)
    psutil.wait_procs(processes[1:], timeout=20)
    server.process.wait(20)
