"""GET /checkpoints, the names of checkpoints, and POST /rollback."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from api.artifacts.checkpoints import CheckpointCatalog
from service.store.store import Store
from tests.api.harness.checkpoints import write_checkpoint
from tests.api.harness.example_run import RUN_ID


@pytest.fixture
def states(root: Path) -> CheckpointCatalog:
    return CheckpointCatalog(root / "checkpoints")


def test_names_are_sorted_by_step_as_a_number(root: Path, states: CheckpointCatalog) -> None:
    for step in (500, 12_000_000, 1000):
        write_checkpoint(root, step)

    assert states.names() == ["step_0000500", "step_0001000", "step_12000000"]


def test_without_a_folder_there_are_none(states: CheckpointCatalog) -> None:
    assert (states.names(), states.find("latest"), states.find("500")) == ([], None, None)


@pytest.mark.parametrize("content", [None, "", "{", "[]", '{"step": 7}', "[" * 100_000])
def test_what_has_no_manifest_of_its_step_is_no_checkpoint(
    root: Path, states: CheckpointCatalog, content: str | None
) -> None:
    write_checkpoint(root, 500)
    manifest = write_checkpoint(root, 600) / "manifest.json"
    manifest.unlink() if content is None else manifest.write_text(content)

    assert states.names() == ["step_0000500"]
    assert (states.find("600"), states.find("step_0000600"), states.find("latest")) == (None, None, None)


def test_temporary_folders_and_links_are_no_checkpoints(root: Path, states: CheckpointCatalog) -> None:
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
    root: Path, states: CheckpointCatalog, wanted: str, name: str | None
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
    (command,) = store.commands.find(RUN_ID)
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
    assert store.commands.find(RUN_ID) == []


def test_a_rollback_before_anything_was_saved_says_how_to_save(client: FlaskClient, store: Store) -> None:
    answer = client.post("/rollback")

    assert answer.status_code == 422
    assert "none was saved yet" in answer.get_json()["detail"]


def test_a_rollback_takes_no_path(client: FlaskClient, store: Store, root: Path) -> None:
    write_checkpoint(root, 500)

    answer = client.post("/rollback", json={"checkpoint": "../checkpoints/step_0000500"})

    assert (answer.status_code, store.commands.find(RUN_ID)) == (422, [])


def test_a_folder_that_is_none_is_unavailable(client: FlaskClient, store: Store, root: Path) -> None:
    (root / "checkpoints").write_text("in the way")

    answer = client.post("/rollback")

    assert (answer.status_code, answer.get_json()["type"]) == (503, "/problems/storage-unavailable")


def test_checkpoints_are_listed_with_what_points_to_them(client: FlaskClient, store: Store, root: Path) -> None:
    write_checkpoint(root, 12_000_000, "latest")
    write_checkpoint(root, 500, "best", state=b"heavy weights")

    answer = client.get("/checkpoints").get_json()

    assert answer["unreadable"] == []
    assert [(entry["name"], entry["links"]) for entry in answer["checkpoints"]] == [
        ("step_0000500", ["best"]), ("step_12000000", ["latest"]),
    ]  # fmt: skip
    assert answer["checkpoints"][0] == {
        "name": "step_0000500", "step": 500, "size_bytes": 13, "saved_at": 1_795_000_000.5,
        "sha256": hashlib.sha256(b"heavy weights").hexdigest(), "links": ["best"],
    }  # fmt: skip


def test_before_anything_was_saved_the_list_is_empty(client: FlaskClient, store: Store) -> None:
    assert client.get("/checkpoints").get_json() == {"checkpoints": [], "unreadable": []}


def without_manifest(folder: Path) -> None:
    (folder / "manifest.json").unlink()


def with_damaged_manifest(folder: Path) -> None:
    (folder / "manifest.json").write_text("{")


def with_manifest_of_a_list(folder: Path) -> None:
    (folder / "manifest.json").write_text("[]")


def with_huge_manifest(folder: Path) -> None:
    with (folder / "manifest.json").open("wb") as file:
        file.truncate(10**9)


def of_another_step(folder: Path) -> None:
    change_manifest(folder, step=7)


def without_a_time(folder: Path) -> None:
    change_manifest(folder, saved_at=float("nan"))


def with_an_odd_digest(folder: Path) -> None:
    change_manifest(folder, sha256=5)


def without_state(folder: Path) -> None:
    (folder / "state.pt").unlink()


def half_copied(folder: Path) -> None:
    (folder / "state.pt").write_bytes(b"wei")


def under_another_name(folder: Path) -> None:
    folder.rename(folder.with_name("step_00000600"))


def as_a_file(folder: Path) -> None:
    folder.rename(folder.with_name("aside"))
    folder.touch()


def as_a_link(folder: Path) -> None:
    folder.rename(folder.with_name("aside"))
    folder.symlink_to("aside")


def change_manifest(folder: Path, **changes: object) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (without_manifest, "it has no manifest.json"), (with_damaged_manifest, "its manifest.json is damaged"),
        (with_manifest_of_a_list, "its manifest.json holds no JSON object"),
        (with_huge_manifest, "its manifest.json is damaged (it has 1000000000 bytes)"),
        (of_another_step, "its manifest.json is of step 7"), (without_a_time, "its manifest.json has the saved_at nan"),
        (with_an_odd_digest, "its manifest.json has the sha256 5"), (without_state, "its state.pt cannot be read"),
        (half_copied, "its state.pt has 3 bytes, not 7"), (under_another_name, "its name is none of step_<step>"),
        (as_a_file, "it is no folder"), (as_a_link, "it is no folder"),
    ],
)  # fmt: skip
def test_a_broken_checkpoint_is_named_with_its_reason_and_hides_no_other(
    client: FlaskClient, store: Store, root: Path, spoil: Any, reason: str
) -> None:
    write_checkpoint(root, 500)
    spoil(write_checkpoint(root, 600))

    answer = client.get("/checkpoints").get_json()

    assert [entry["name"] for entry in answer["checkpoints"]] == ["step_0000500"]
    (broken,) = answer["unreadable"]
    assert broken["name"] in {"step_0000600", "step_00000600"}
    assert broken["reason"].startswith(reason)


def test_a_folder_of_checkpoints_that_is_none_is_a_problem_not_a_crash(
    client: FlaskClient, store: Store, root: Path
) -> None:
    (root / "checkpoints").write_text("in the way")

    assert client.get("/checkpoints").get_json()["type"] == "/problems/storage-unavailable"
