"""The names of checkpoints, and POST /rollback."""

from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from api.saved_states import SavedStates
from service.store import Store
from tests.api.checkpoints import write_checkpoint
from tests.api.example_run import RUN_ID


@pytest.fixture
def states(root: Path) -> SavedStates:
    return SavedStates(root / "checkpoints")


def test_names_are_sorted_by_step_as_a_number(root: Path, states: SavedStates) -> None:
    for step in (500, 12_000_000, 1000):
        write_checkpoint(root, step)

    assert states.names() == ["step_0000500", "step_0001000", "step_12000000"]


def test_without_a_folder_there_are_none(states: SavedStates) -> None:
    assert (states.names(), states.find("latest"), states.find("500")) == ([], None, None)


@pytest.mark.parametrize("content", [None, "", "{", "[]", '{"step": 7}', "[" * 100_000])
def test_what_has_no_manifest_of_its_step_is_no_checkpoint(
    root: Path, states: SavedStates, content: str | None
) -> None:
    write_checkpoint(root, 500)
    manifest = write_checkpoint(root, 600) / "manifest.json"
    manifest.unlink() if content is None else manifest.write_text(content)

    assert states.names() == ["step_0000500"]
    assert (states.find("600"), states.find("step_0000600"), states.find("latest")) == (None, None, None)


def test_temporary_folders_and_links_are_no_checkpoints(root: Path, states: SavedStates) -> None:
    folder = write_checkpoint(root, 500)
    folder.rename(folder.with_name(".tmp-step_0000500.7"))
    (folder.parent / "step_0000900").symlink_to(".tmp-step_0000500.7")

    assert states.names() == []


@pytest.mark.parametrize(
    ("wanted", "name"),
    [
        ("latest", "step_0000600"), ("best", "step_0000500"), ("500", "step_0000500"), ("0500", "step_0000500"),
        ("step_0000600", "step_0000600"), ("7", None), ("step_0000007", None),
    ],
)  # fmt: skip
def test_a_checkpoint_is_found_by_link_step_or_name(
    root: Path, states: SavedStates, wanted: str, name: str | None
) -> None:
    write_checkpoint(root, 500, "best")
    write_checkpoint(root, 600, "latest")

    assert states.find(wanted) == name


@pytest.mark.parametrize(
    "body", [None, {}, {"checkpoint": "best"}, {"checkpoint": 500}, {"checkpoint": "step_0000500"}]
)
def test_a_rollback_to_a_checkpoint_that_exists_is_queued(
    client: FlaskClient, store: Store, root: Path, body: dict[str, Any] | None
) -> None:
    write_checkpoint(root, 500, "latest", "best")

    answer = client.post("/rollback", json=body) if body is not None else client.post("/rollback")

    assert answer.status_code == 202
    (command,) = store.commands(RUN_ID)
    assert command.arguments == {"checkpoint": str((body or {}).get("checkpoint", "latest"))}


@pytest.mark.parametrize("query", ["", "?dry_run=1"])
@pytest.mark.parametrize("wanted", ["700", "step_0000700", "best"])
def test_a_rollback_to_what_does_not_exist_names_what_does(
    client: FlaskClient, store: Store, root: Path, wanted: str, query: str
) -> None:
    write_checkpoint(root, 500)
    write_checkpoint(root, 600)

    answer = client.post(f"/rollback{query}", json={"checkpoint": wanted})

    assert (answer.status_code, answer.get_json()["type"]) == (422, "/problems/invalid-argument")
    assert answer.get_json()["detail"] == f"There is no checkpoint {wanted}; there are: step_0000500, step_0000600."
    assert store.commands(RUN_ID) == []


def test_a_rollback_before_anything_was_saved_says_how_to_save(client: FlaskClient, store: Store) -> None:
    answer = client.post("/rollback")

    assert answer.status_code == 422
    assert "none was saved yet" in answer.get_json()["detail"]


def test_a_rollback_takes_no_path(client: FlaskClient, store: Store, root: Path) -> None:
    write_checkpoint(root, 500)

    answer = client.post("/rollback", json={"checkpoint": "../checkpoints/step_0000500"})

    assert (answer.status_code, store.commands(RUN_ID)) == (422, [])


def test_a_folder_that_is_none_is_unavailable(client: FlaskClient, store: Store, root: Path) -> None:
    (root / "checkpoints").write_text("in the way")

    answer = client.post("/rollback")

    assert (answer.status_code, answer.get_json()["type"]) == (503, "/problems/storage-unavailable")
