"""Many runs in one room: which there are, where each is found, and which one is meant where none is named."""

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from api.app import create_app
from api.runs import cached_directory
from service.commands import CommandState
from service.config.loader import plain_values
from service.config.settings import RunConfig
from service.run.state import RunState
from service.store.queries.runs import RunQueries
from service.store.store import Store
from tests.api.harness.serving import lead_to

Listed = dict[str, dict[str, Any]]
MakeRoom = Callable[..., FlaskClient]
MakeRun = Callable[..., Store]


@pytest.fixture
def shared_url(request: pytest.FixtureRequest) -> str:
    """STORE_URL of trainers and API: empty, so that each run has a file, but for tests `shared_or_not`."""
    if getattr(request, "param", "sqlite") == "sqlite":
        return ""
    url: str = request.getfixturevalue("store_url")
    return url


shared_or_not = pytest.mark.parametrize("shared_url", ["sqlite", "postgresql"], indirect=True)
"""Runs a test with a store in each directory, and again with one PostgreSQL database for all runs."""


@pytest.fixture
def make_run(shared_url: str) -> Iterator[MakeRun]:
    """Makes a run that is alive, in a directory of its own; returns its store."""
    stores = []

    def make(root: Path, run_id: str, *, started_at: float = 1000.0, store_url: str = shared_url) -> Store:
        root.mkdir(parents=True, exist_ok=True)
        (root / "run.json").write_text(json.dumps({"run_id": run_id}))
        config = plain_values(RunConfig(data_root=root, store_url=store_url))
        (root / "config.json").write_text(json.dumps({"settings": config, "origins": {}}))
        stores.append(store := Store(store_url or root / "leitstand.db", create=True))
        store.open_run(run_id, config)
        ahead = time.time() + 3600
        alive = {"heartbeat_at": ahead, "progress_at": ahead, "state": RunState.RUNNING.value}
        store.runs.update(run_id, started_at=started_at, step=10, **alive)
        return store

    yield make
    for store in stores:
        store.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder for run directories."""
    return tmp_path / "runs"


@pytest.fixture
def make_room() -> Iterator[MakeRoom]:
    """Makes the API of DATA_ROOT, given first, and RUN_ROOTS; returns a client that asks it."""
    apps = []

    def make(home: Path, *roots: Path, store_url: str = "") -> FlaskClient:
        config = RunConfig(data_root=home, run_roots=":".join(map(str, roots)), store_url=store_url)
        apps.append(app := create_app(config))
        return app.test_client()

    yield make
    for app in apps:
        app.extensions["leitstand"].close()


@pytest.fixture
def registry(folder: Path, make_room: MakeRoom, shared_url: str) -> FlaskClient:
    """Asks the API of everything in `folder`."""
    folder.mkdir()
    return make_room(folder, store_url=shared_url)


def runs(client: FlaskClient) -> Listed:
    """The list's entries by their ids, in its order."""
    answer = client.get("/runs")
    assert answer.status_code == 200
    return {entry["run_id"]: entry for entry in answer.get_json()["runs"]}


def skipped(client: FlaskClient) -> dict[str, str]:
    """Why directories show no run, by their names."""
    return {Path(entry["directory"]).name: entry["reason"] for entry in client.get("/runs").get_json()["skipped"]}


def default(client: FlaskClient) -> str:
    """The id of the run that routes without a run speak of, also said in the list."""
    run_id = str(client.get("/state").get_json()["run_id"])
    assert [key for key, entry in runs(client).items() if entry["is_default"]] == [run_id]
    return run_id


@shared_or_not
def test_runs_are_listed_with_the_one_that_started_last_first(
    registry: FlaskClient, folder: Path, make_run: MakeRun
) -> None:
    for number, run_id in enumerate(("bbb", "aaa", "ccc")):
        make_run(folder / run_id, run_id, started_at=float(number))

    listed = runs(registry)

    assert list(listed) == ["ccc", "aaa", "bbb"]
    entry = listed["aaa"]
    assert (entry["run_state"], entry["step"], entry["url"]) == ("running", 10, "/runs/aaa/")
    assert entry["directory"] == str(folder / "aaa")


@shared_or_not
def test_every_route_of_a_run_is_below_its_url(registry: FlaskClient, folder: Path, make_run: MakeRun) -> None:
    stores = {run_id: make_run(folder / run_id, run_id) for run_id in ("aaa", "bbb")}

    queued = registry.post("/runs/aaa/validate")

    assert queued.status_code == 202
    assert queued.headers["Location"] == f"/runs/aaa/commands/{queued.get_json()['id']}"
    assert registry.get(queued.headers["Location"]).get_json() == queued.get_json()
    assert [len(store.commands.find(run_id)) for run_id, store in stores.items()] == [1, 0]
    for path in ("state", "settings", "commands", "ranks", "statistics", "series", "metrics", "checkpoints"):
        assert registry.get(f"/runs/bbb/{path}").status_code == 200


@shared_or_not
def test_a_command_of_another_run_is_not_found_below_a_run(
    registry: FlaskClient, folder: Path, make_run: MakeRun
) -> None:
    for run_id in ("aaa", "bbb"):
        make_run(folder / run_id, run_id)
    command_id = registry.post("/runs/aaa/validate").get_json()["id"]

    assert registry.get(f"/runs/bbb/commands/{command_id}").status_code == 404
    assert registry.delete(f"/runs/bbb/commands/{command_id}").status_code == 404
    assert registry.get(f"/runs/aaa/commands/{command_id}").get_json()["state"] == "queued"


@shared_or_not
def test_a_commands_address_holds_though_another_run_is_the_default_now(
    registry: FlaskClient, folder: Path, make_run: MakeRun
) -> None:
    make_run(folder / "aaa", "aaa", started_at=1.0)
    location = registry.post("/validate").headers["Location"]
    make_run(folder / "bbb", "bbb", started_at=2.0)

    assert location.startswith("/commands/")
    assert registry.get(location).get_json()["run_id"] == "aaa"
    assert registry.delete(location).get_json()["state"] == "cancelled"


def test_an_unknown_run_is_not_found(registry: FlaskClient, folder: Path, make_run: MakeRun) -> None:
    make_run(folder / "aaa", "aaa")

    for path in ("/runs/nobody/state", "/runs/nobody/metrics", "/runs/../state", "/runs/%00/state"):
        assert registry.get(path).status_code == 404
    assert registry.post("/runs/nobody/stop").get_json()["type"] == "/problems/not-found"


def test_runs_that_come_and_go_are_noticed(registry: FlaskClient, folder: Path, make_run: MakeRun) -> None:
    assert (runs(registry), registry.get("/state").status_code) == ({}, 503)

    make_run(folder / "aaa", "aaa").runs.update("aaa", state=RunState.FINISHED.value)
    assert registry.get("/runs/aaa/state").status_code == 200
    assert list(runs(registry)) == ["aaa"]

    (folder / "aaa").rename(folder / "renamed")
    assert registry.get("/runs/aaa/state").status_code == 200
    assert runs(registry)["aaa"]["directory"] == str(folder / "renamed")

    shutil.rmtree(folder / "renamed")
    assert registry.get("/runs/aaa/state").status_code == 404
    assert runs(registry) == {}


def test_a_change_is_made_in_the_directory_that_is_alive_though_another_one_of_the_run_was_known_first(
    registry: FlaskClient, folder: Path, make_run: MakeRun
) -> None:
    old = make_run(folder / "first", "aaa")
    assert registry.get("/runs/aaa/state").status_code == 200
    now = time.time()
    old.runs.update("aaa", heartbeat_at=now - 1000, progress_at=now - 1000)
    new = make_run(folder / "second", "aaa")

    assert registry.patch("/runs/aaa", json={"name": "moved"}).get_json()["directory"] == str(folder / "second")
    assert registry.post("/runs/aaa/validate").status_code == 202

    assert [row.name for store in (old, new) if (row := store.runs.get("aaa"))] == [None, "moved"]
    assert [len(store.commands.find("aaa")) for store in (old, new)] == [0, 1]


def test_a_link_that_leads_to_another_directory_with_the_same_run_is_followed(
    folder: Path, make_room: MakeRoom, make_run: MakeRun
) -> None:
    stores = [make_run(folder / name, "aaa") for name in ("first", "second")]
    stores[1].runs.update("aaa", step=20)
    lead_to(folder / "link", folder / "first")
    client = make_room(folder / "link")
    assert client.get("/runs/aaa/state").get_json()["step_live"] == 10

    lead_to(folder / "link", folder / "second")

    assert client.get("/runs/aaa/state").get_json()["step_live"] == 20
    assert client.patch("/runs/aaa", json={"name": "here"}).status_code == 200
    assert [row.name for store in stores if (row := store.runs.get("aaa"))] == [None, "here"]


def test_a_directory_that_a_fresh_start_gave_to_another_run_is_that_runs(
    registry: FlaskClient, folder: Path, make_run: MakeRun
) -> None:
    make_run(folder / "one", "old", started_at=1.0).close()
    assert runs(registry)["old"]["directory"] == str(folder / "one")
    archived = folder / "one" / "archive" / "old"
    archived.mkdir(parents=True)
    for path in [path for path in (folder / "one").iterdir() if path.is_file()]:
        path.rename(archived / path.name)
    make_run(folder / "one", "new", started_at=2.0)

    assert registry.get("/runs/new/state").get_json()["run_id"] == "new"
    assert registry.get("/runs/old/state").get_json()["run_id"] == "old"
    listed = runs(registry)
    assert {run_id: entry["directory"] for run_id, entry in listed.items()} == {
        "new": str(folder / "one"), "old": str(archived),
    }  # fmt: skip


def test_a_quiet_store_is_read_again_once_somebody_writes_to_it(
    registry: FlaskClient, folder: Path, monkeypatch: pytest.MonkeyPatch, make_run: MakeRun
) -> None:
    monkeypatch.setattr(cached_directory, "IDLE_SECONDS", -1.0)
    store = make_run(folder / "aaa", "aaa")
    store.close()

    for step in (11, 12, 13):
        assert runs(registry)["aaa"]["step"] == step - 1
        assert runs(registry)["aaa"]["step"] == step - 1
        store.runs.update("aaa", step=step)


def test_damaged_directories_are_named_and_hide_no_other(
    registry: FlaskClient, folder: Path, make_run: MakeRun
) -> None:
    for name in ("good", "bad store", "bad both", "bad name", "begun"):
        make_run(folder / name, name.replace(" ", "-")).close()
    for name in ("bad store", "bad both"):
        (folder / name / "leitstand.db").write_bytes(b"no database at all, but long enough for one" * 40)
    for name in ("bad both", "bad name"):
        (folder / name / "run.json").write_text('{"run_id')
    (folder / "begun" / "leitstand.db").unlink()
    (folder / "neither").mkdir()
    (folder / "neither" / "run.json").write_text("[]")

    listed, reasons = runs(registry), skipped(registry)

    assert set(listed) == {"good", "bad-name"}
    assert set(reasons) == {"bad store", "bad both", "neither"}
    assert "file is not a database" in reasons["bad store"]
    assert "run.json is damaged" in reasons["neither"]
    assert registry.get("/runs/good/state").status_code == 200
    damaged = registry.get("/runs/bad-store/state")
    assert (damaged.status_code, damaged.get_json()["type"]) == (503, "/problems/storage-unavailable")
    begun = registry.get("/runs/begun/state")
    assert (begun.status_code, begun.get_json()["type"]) == (503, "/problems/no-run")
    assert registry.get("/commands/nonsense").status_code == 404


@pytest.mark.parametrize("run_id", [None, "../../x", "..", "a/b", "", 5])
def test_a_directory_whose_run_json_names_no_run_is_named_as_unreadable_and_hides_no_other(
    registry: FlaskClient, folder: Path, make_run: MakeRun, run_id: object
) -> None:
    make_run(folder / "good", "good").close()
    (folder / "bad").mkdir()
    (folder / "bad" / "run.json").write_text(json.dumps({"run_id": run_id}))

    assert set(runs(registry)) == {"good"}
    assert f"its run_id is {run_id!r}, but must be a text" in skipped(registry)["bad"]
    assert registry.get("/runs/good/state").status_code == 200
    assert registry.get("/runs/None/state").status_code == 404


@pytest.mark.parametrize("name", ["run.json", "config.json", "leitstand.db"])
@pytest.mark.parametrize("kind", ["pipe", "device"])
@pytest.mark.timeout(30)
def test_a_pipe_or_a_device_in_place_of_a_file_costs_its_own_run_only(
    registry: FlaskClient, folder: Path, make_run: MakeRun, name: str, kind: str
) -> None:
    for run in ("good", "bad"):
        make_run(folder / run, run).close()
    path = folder / "bad" / name
    path.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")

    assert set(runs(registry)) == ({"good"} if name == "leitstand.db" else {"good", "bad"})
    assert all("it is no ordinary file" in reason for reason in skipped(registry).values())
    assert registry.get("/runs/good/state").status_code == 200


def test_of_two_directories_with_the_same_run_the_livelier_one_counts(
    registry: FlaskClient, folder: Path, make_run: MakeRun
) -> None:
    store = make_run(folder / "original", "aaa")
    store.close()
    shutil.copytree(folder / "original", folder / "a copy")
    assert (runs(registry)["aaa"]["directory"], list(skipped(registry))) == (str(folder / "a copy"), ["original"])

    store.runs.update("aaa", heartbeat_at=time.time() + 7200, step=20)

    assert runs(registry)["aaa"]["directory"] == str(folder / "original")
    assert skipped(registry) == {"a copy": f"it holds run aaa, as {folder / 'original'} does, which is served"}
    assert registry.get("/runs/aaa/state").get_json()["step_live"] == 20


def test_without_a_name_the_run_in_data_root_is_meant(
    tmp_path: Path, folder: Path, make_room: MakeRoom, make_run: MakeRun
) -> None:
    make_run(tmp_path / "home", "home", started_at=1.0)
    make_run(folder / "newer", "newer", started_at=2.0)

    assert default(make_room(tmp_path / "home", folder)) == "home"


@pytest.mark.parametrize("is_there", [True, False])
def test_where_data_root_is_no_run_directory_the_run_that_started_last_is_meant(
    tmp_path: Path, folder: Path, make_room: MakeRoom, is_there: bool, make_run: MakeRun
) -> None:
    make_run(folder / "older", "older", started_at=1.0)
    make_run(folder / "newer", "newer", started_at=2.0)

    assert default(make_room(folder) if is_there else make_room(tmp_path / "absent", folder)) == "newer"


def test_a_run_that_is_to_come_in_data_root_is_not_mistaken_for_another(
    tmp_path: Path, folder: Path, make_room: MakeRoom, make_run: MakeRun
) -> None:
    make_run(folder / "other", "other")
    (tmp_path / "home" / "archive").mkdir(parents=True)
    make_run(tmp_path / "home" / "archive" / "earlier", "earlier")
    client = make_room(tmp_path / "home", folder)

    assert client.post("/stop").get_json()["type"] == "/problems/no-run"
    assert [entry["is_default"] for entry in runs(client).values()] == [False, False]
    make_run(tmp_path / "home", "home")
    assert default(client) == "home"


def test_a_newer_run_elsewhere_becomes_the_default_soon(
    registry: FlaskClient, folder: Path, eventually: Callable[..., None], make_run: MakeRun
) -> None:
    make_run(folder / "older", "older", started_at=1.0)
    assert default(registry) == "older"
    make_run(folder / "newer", "newer", started_at=2.0)

    eventually(lambda: registry.get("/state").get_json()["run_id"] == "newer", what="the newer run is the default")


def page_by_page(client: FlaskClient, limit: int) -> list[str]:
    """The ids of all runs, from pages of `limit` that the links lead through."""
    found: list[str] = []
    path: str | None = f"/runs?limit={limit}"
    while path is not None:
        answer = client.get(path)
        assert answer.status_code == 200, answer.get_json()
        page = answer.get_json()
        assert len(page["runs"]) <= limit
        found += [entry["run_id"] for entry in page["runs"]]
        link = answer.headers.get("Link")
        assert (link is None) == (page["next_cursor"] is None)
        path = None if link is None else link.partition(">")[0].removeprefix("<")
    return found


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 100])
def test_pages_name_every_run_once_also_where_several_started_at_once(
    registry: FlaskClient, folder: Path, make_run: MakeRun, limit: int
) -> None:
    for number, run_id in enumerate(("a", "b", "c", "d", "e")):
        make_run(folder / run_id, run_id, started_at=1000.1 + number // 2)

    assert page_by_page(registry, limit) == ["e", "d", "c", "b", "a"]


def test_a_cursor_that_is_none_is_refused_by_name(registry: FlaskClient) -> None:
    for text in ("nonsense", "bm9u", "bmFuL2E"):  # the last one is `nan/a`
        answer = registry.get(f"/runs?cursor={text}")
        assert (answer.status_code, answer.get_json()["type"]) == (422, "/problems/invalid-argument")
        assert "next_cursor" in answer.get_json()["detail"]


# Runs of a shared store


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
def test_pages_join_runs_of_the_shared_store_and_those_with_their_own(
    tmp_path: Path, folder: Path, make_room: MakeRoom, store_url: str, make_run: MakeRun, limit: int
) -> None:
    for number in range(4):
        make_run(tmp_path / f"far-{number}", f"far-{number}", store_url=store_url, started_at=2.0 * number)
        make_run(folder / f"own-{number}", f"own-{number}", started_at=2.0 * number + 1)
    make_run(tmp_path / "moved", "own-3", store_url=store_url, started_at=5.5)  # reported there before
    client = make_room(folder, store_url=store_url)

    expected = [f"{kind}-{number}" for number in (3, 2, 1, 0) for kind in ("own", "far")]
    assert page_by_page(client, limit) == expected


def test_a_page_reads_no_more_of_the_shared_store_than_it_shows(
    tmp_path: Path, make_room: MakeRoom, store_url: str, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        make_run(tmp_path / str(number), f"run-{number}", store_url=store_url, started_at=float(number))
    client = make_room(tmp_path / "absent", store_url=store_url)
    monkeypatch.delattr(RunQueries, "all")

    assert page_by_page(client, 2) == ["run-2", "run-1", "run-0"]


def test_runs_of_the_shared_store_are_served_with_and_without_their_directories(
    tmp_path: Path, folder: Path, make_room: MakeRoom, store_url: str, make_run: MakeRun
) -> None:
    make_run(folder / "mounted", "mounted", store_url=store_url)
    make_run(tmp_path / "elsewhere", "elsewhere", store_url=store_url)
    make_run(folder / "own", "own")
    client = make_room(folder, store_url=store_url)

    directories = {run_id: entry["directory"] for run_id, entry in runs(client).items()}

    assert directories == {"mounted": str(folder / "mounted"), "own": str(folder / "own"), "elsewhere": None}
    for run_id in directories:
        assert client.get(f"/runs/{run_id}/state").get_json()["run_id"] == run_id
        assert client.post(f"/runs/{run_id}/validate").status_code == 202


def test_the_default_run_is_found_without_reading_all_runs_of_a_shared_store(
    tmp_path: Path, make_room: MakeRoom, store_url: str, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, run_id in enumerate(("older", "newer")):
        make_run(tmp_path / run_id, run_id, store_url=store_url, started_at=float(number))
    monkeypatch.delattr(RunQueries, "all")

    assert make_room(tmp_path / "absent", store_url=store_url).get("/state").get_json()["run_id"] == "newer"


def test_the_checkpoint_of_a_run_elsewhere_is_left_to_its_trainer(
    tmp_path: Path, make_room: MakeRoom, store_url: str, make_run: MakeRun
) -> None:
    store = make_run(tmp_path / "elsewhere", "elsewhere", store_url=store_url)
    client = make_room(tmp_path / "absent", store_url=store_url)

    answer = client.post("/runs/elsewhere/rollback", json={"checkpoint": 500})

    assert answer.status_code == 202
    assert [command.arguments for command in store.commands.find("elsewhere")] == [{"checkpoint": "500"}]


def test_data_roots_run_is_the_default_though_others_report_into_the_same_store(
    tmp_path: Path, make_room: MakeRoom, store_url: str, make_run: MakeRun
) -> None:
    make_run(tmp_path / "elsewhere", "elsewhere", started_at=2.0, store_url=store_url)
    client = make_room(tmp_path / "home", store_url=store_url)
    assert default(client) == "elsewhere"

    (tmp_path / "home").mkdir()  # as a start does first
    assert client.get("/state").get_json()["type"] == "/problems/no-run"
    (tmp_path / "home" / "run.json").write_text('{"run_id": "home"}')
    assert client.get("/state").get_json()["type"] == "/problems/no-run"
    make_run(tmp_path / "home", "home", started_at=1.0, store_url=store_url)
    assert default(client) == "home"


def test_a_run_that_moved_to_the_shared_store_is_read_there(
    tmp_path: Path, make_room: MakeRoom, store_url: str, make_run: MakeRun
) -> None:
    make_run(tmp_path, "aaa").close()
    client = make_room(tmp_path, store_url=store_url)
    assert client.get("/state").get_json()["step_live"] == 10

    make_run(tmp_path, "aaa", store_url=store_url).runs.update("aaa", step=20)

    assert client.get("/state").get_json()["step_live"] == 20
    assert [(entry["run_id"], entry["step"]) for entry in client.get("/runs").get_json()["runs"]] == [("aaa", 20)]


def test_a_shared_store_that_is_away_is_said_and_leaves_other_runs_alone(
    tmp_path: Path, folder: Path, make_room: MakeRoom, make_run: MakeRun
) -> None:
    make_run(folder / "own", "own")
    client = make_room(folder, store_url="postgresql://nobody:secret@127.0.0.1:1/nothing")

    for path in ("/runs", "/runs/elsewhere/state", "/state", "/commands/nonsense"):
        answer = client.get(path)
        assert (answer.status_code, answer.get_json()["type"]) == (503, "/problems/storage-unavailable")
        assert "secret" not in answer.get_data(as_text=True)
    assert client.get("/runs/own/state").status_code == 200
    assert client.post("/runs/own/validate").status_code == 202
    assert client.get("/livez").status_code == 200


def test_a_command_of_any_run_is_found_in_the_shared_store(
    tmp_path: Path, make_room: MakeRoom, store_url: str, make_run: MakeRun
) -> None:
    store = make_run(tmp_path / "older", "older", started_at=1.0, store_url=store_url)
    client = make_room(tmp_path / "absent", store_url=store_url)
    command_id = client.post("/validate").get_json()["id"]
    make_run(tmp_path / "newer", "newer", started_at=2.0, store_url=store_url)
    store.commands.finish(command_id, CommandState.DONE, step=12)

    assert client.get(f"/commands/{command_id}").get_json()["state"] == "done"
    assert client.get(f"/runs/newer/commands/{command_id}").status_code == 404


def test_the_page_of_a_run_contains_no_name_of_a_run_only_the_way_up(registry: FlaskClient) -> None:
    page = registry.get("/runs/a%22%3F..%2520b/").text

    assert 'data-root="../../"' in page
    assert "runs/a" not in page


def test_the_default_run_of_a_shared_store_stays_it_when_its_directory_is_gone(
    tmp_path: Path, make_room: MakeRoom, store_url: str, make_run: MakeRun
) -> None:
    store = make_run(tmp_path / "run", "mine", store_url=store_url)
    make_run(tmp_path / "other", "newer", store_url=store_url, started_at=2000.0)
    client = make_room(tmp_path / "run", store_url=store_url)
    assert client.get("/state").get_json()["run_id"] == "mine"

    shutil.rmtree(tmp_path / "run")
    assert client.get("/state").get_json()["run_id"] == "mine"
    (tmp_path / "run").mkdir()
    assert client.get("/state").get_json()["run_id"] == "mine"

    store.runs.update("mine", state=RunState.STOPPED.value)
    assert client.get("/state").status_code == 503


def test_a_run_whose_directory_was_moved_within_the_room_is_found_there(
    folder: Path, make_room: MakeRoom, make_run: MakeRun
) -> None:
    make_run(folder / "one", "a1")
    make_run(folder / "two", "b2", started_at=2000.0)
    client = make_room(folder)
    assert runs(client)["a1"]["directory"] == str(folder / "one")

    (folder / "one").rename(folder / "three")

    assert runs(client)["a1"]["directory"] == str(folder / "three")
    shutil.rmtree(folder / "three")
    assert runs(client)["a1"]["directory"] == str(folder / "three")
    assert "is gone" in runs(client)["a1"]["run_reason"]
