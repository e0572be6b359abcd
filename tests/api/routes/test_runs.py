"""PATCH /runs/<run>: what people call a run and write down about it."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from api.app import create_app
from service.auth.tokens import TokenScope, create_token
from service.config.settings import RunConfig
from service.run.state import RunState
from service.store.queries.runs import RunOwner
from service.store.store import Store
from tests.api.conftest import on_both_databases
from tests.api.harness.example_run import LAST_STEP, RUN_ID
from tests.harness.read_only import only_reading, readable_folder

PATH = f"/runs/{RUN_ID}"


@on_both_databases
def test_a_run_has_the_name_and_the_note_that_it_was_given_wherever_it_is_shown(
    client: FlaskClient, store: Store
) -> None:
    answer = client.patch(PATH, json={"name": "deeper network", "note": "twice the blocks\nof run 3"})

    entry = answer.get_json()
    assert answer.status_code == 200
    assert (entry["name"], entry["note"], entry["run_id"]) == ("deeper network", "twice the blocks\nof run 3", RUN_ID)
    assert client.get("/runs").get_json()["runs"][0]["name"] == "deeper network"
    assert client.get("/runs").get_json()["runs"][0]["note"] == "twice the blocks\nof run 3"
    state = client.get("/state").get_json()
    assert (state["run_name"], state["run_note"]) == ("deeper network", "twice the blocks\nof run 3")
    assert client.patch(PATH, json={"note": None}).get_json()["note"] is None
    assert client.get("/state").get_json()["run_name"] == "deeper network"


@on_both_databases
def test_the_event_log_says_who_changed_it_and_what_it_was(client: FlaskClient, store: Store) -> None:
    client.patch(PATH, json={"name": "first"}, headers={"X-Leitstand-Actor": "eva", "X-Leitstand-Source": "web"})
    client.patch(PATH, json={"name": "second"})
    client.patch(PATH, json={"name": "second"})  # changes nothing

    newer, older = client.get("/event-log?kinds=described").get_json()["events"]
    assert older["step"] == LAST_STEP
    expected = {"name": "first", "previous_name": None, "actor": "eva@127.0.0.1", "source": "web"}
    assert older["details"] == expected
    assert (newer["details"]["name"], newer["details"]["previous_name"]) == ("second", "first")


@on_both_databases
@pytest.mark.parametrize("state", [RunState.FINISHED, RunState.FAILED])
def test_a_run_that_has_ended_can_be_described(client: FlaskClient, store: Store, state: RunState) -> None:
    store.runs.update(RUN_ID, state=state)

    assert client.patch(PATH, json={"name": "the good one"}).status_code == 200
    assert (run := store.runs.get(RUN_ID)) is not None
    assert (run.name, run.state) == ("the good one", state)


@on_both_databases
def test_the_trainer_neither_takes_a_name_away_nor_is_disturbed_by_it(client: FlaskClient, store: Store) -> None:
    owner = RunOwner()
    store.open_run(RUN_ID, {}, owner=owner)
    assert client.patch(PATH, json={"name": "deeper"}).status_code == 200

    store.runs.update(RUN_ID, marker=owner.token, step=4300)  # raises if the row is not as the trainer left it
    store.open_run(RUN_ID, {}, owner=RunOwner())

    assert (run := store.runs.get(RUN_ID)) is not None
    assert run.name == "deeper"


@pytest.mark.parametrize(
    ("body", "errors"),
    [
        (
            {"name": 5, "note": "a\x07"},
            [
                {"pointer": "#/name", "detail": "name is 5, but must be a text, or null for none."},
                {
                    "pointer": "#/note",
                    "detail": "note has the character \\x07, which cannot be printed; leave it out.",
                },
            ],
        ),
        (
            {"title": "x"},
            [{"pointer": "#/title", "detail": "'title' is no part of a run's description; give name or note."}],
        ),
    ],
)
def test_what_is_wrong_is_named_and_nothing_is_changed(
    client: FlaskClient, store: Store, body: object, errors: list[object]
) -> None:
    answer = client.patch(PATH, json=body)

    assert (answer.status_code, answer.get_json()["type"]) == (422, "/problems/invalid-argument")
    assert answer.get_json()["errors"] == errors
    assert (run := store.runs.get(RUN_ID)) is not None
    assert (run.name, run.note) == (None, None)


def test_an_unknown_run_is_not_found(client: FlaskClient, store: Store) -> None:
    answer = client.patch("/runs/nobody", json={"name": "x"})

    assert (answer.status_code, answer.get_json()["type"]) == (404, "/problems/not-found")


def test_describing_takes_a_token_that_may_control(
    make_client: Callable[..., FlaskClient], store: Store, tmp_path: Path
) -> None:
    tokens = tmp_path / "tokens.json"
    reader = {"Authorization": f"Bearer {create_token(tokens, 'reader', TokenScope.READ)}"}
    writer = {"Authorization": f"Bearer {create_token(tokens, 'writer', TokenScope.CONTROL)}"}
    client = make_client(api_tokens=str(tokens))

    assert client.patch(PATH, json={"name": "x"}).status_code == 401
    refused = client.patch(PATH, json={"name": "x"}, headers=reader)
    assert (refused.status_code, refused.get_json()["type"]) == (403, "/problems/insufficient-scope")
    assert client.get("/state", headers=reader).get_json()["run_name"] is None
    assert client.patch(PATH, json={"name": "x"}, headers=writer).status_code == 200
    assert client.get("/event-log", headers=reader).get_json()["events"][0]["details"]["actor"] == "writer@127.0.0.1"


@pytest.fixture
def archive() -> Iterator[Path]:
    """The directory of an ended run, which this process may only read."""
    with readable_folder() as folder:
        (folder / "run.json").write_text(json.dumps({"run_id": "archived"}))
        store = Store(folder / "leitstand.db", create=True)
        store.open_run("archived", {})
        store.runs.update("archived", state=RunState.FINISHED, step=900)
        store.close()
        with only_reading(folder):
            yield folder


def test_a_run_that_can_only_be_read_is_shown_and_says_what_cannot_be_done(archive: Path) -> None:
    client = create_app(RunConfig(data_root=archive)).test_client()

    assert client.get("/state").get_json()["step_live"] == 900
    assert client.get("/runs").get_json()["runs"][0]["run_id"] == "archived"
    refused = client.patch("/runs/archived", json={"name": "x"}).get_json()
    assert (refused["status"], refused["type"]) == (409, "/problems/read-only-store")
    assert refused["detail"] == (
        f"Nothing was changed, since this server may only read it: store {archive}/leitstand.db can only be read."
    )
