"""Records of a run whose directory is not on the API's machine: the store's copies."""

import json
import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient

from api.app import create_app
from api.artifacts.records.source import RecordPosition
from api.artifacts.records.store_copies import StoredRecordCopies
from api.runs.context import RunContext
from api.runs.records import record_source
from service.config.settings import RunConfig
from service.run.record import encode_record, record_name
from service.store.queries.records import RecordQueries
from service.store.store import Store
from service.store.tables import records
from tests.api.conftest import on_both_databases
from tests.api.harness.example_run import RECORD_STEPS, RUN_ID, example_record, save_record


@pytest.fixture
def unmounted(
    make_app: Callable[..., Flask], store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> FlaskClient:
    """Asks an API that reaches the run's store and not its directory."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    app = make_app(data_root=elsewhere)
    monkeypatch.setattr(app.extensions["leitstand"], "context", lambda *_, **__: RunContext(store, RUN_ID, None))
    return app.test_client()


def change_copy(store: Store, step: int, **values: object) -> None:
    with store.transaction() as connection:
        connection.execute(sa.update(records).where(records.c.step == step).values(**values))


def without_place(answer: dict[str, object]) -> list[dict[str, object]]:
    """The entries but for the time, which is the store's, not the file's."""
    entries = answer["records"]
    assert isinstance(entries, list)
    return [{key: value for key, value in entry.items() if key != "modified_at"} for entry in entries]


@on_both_databases
@pytest.mark.parametrize("query", ["", "?order=desc", "?limit=4", "?limit=4&order=desc"])
def test_the_copies_are_listed_as_the_files_are(unmounted: FlaskClient, client: FlaskClient, query: str) -> None:
    copies, files = unmounted.get(f"/statistics{query}").get_json(), client.get(f"/statistics{query}").get_json()

    assert without_place(copies) == without_place(files)
    assert copies["unreadable"] == []
    assert (copies["count"], copies["next_cursor"]) == (files["count"], files["next_cursor"])


@on_both_databases
@pytest.mark.parametrize("order", ["asc", "desc"])
def test_pages_of_copies_follow_each_other(unmounted: FlaskClient, order: str) -> None:
    first = unmounted.get(f"/statistics?limit=4&order={order}").get_json()
    second = unmounted.get(f"/statistics?limit=4&order={order}&cursor={first['next_cursor']}").get_json()

    steps = [entry["step"] for page in (first, second) for entry in page["records"]]
    assert steps == sorted(RECORD_STEPS, reverse=order == "desc")
    assert second["next_cursor"] is None


@on_both_databases
@pytest.mark.parametrize("name", ["Statistik_700.json", "latest"])
def test_a_copy_has_the_bytes_of_the_file(unmounted: FlaskClient, client: FlaskClient, root: Path, name: str) -> None:
    copy, file = unmounted.get(f"/statistics/{name}"), client.get(f"/statistics/{name}")

    assert copy.data == file.data
    assert {key: copy.headers.get(key) for key in ("ETag", "Repr-Digest", "Content-Location")} == {
        key: file.headers.get(key) for key in ("ETag", "Repr-Digest", "Content-Location")
    }


def test_the_files_need_not_be_there(unmounted: FlaskClient, root: Path) -> None:
    for step in RECORD_STEPS:
        (root / record_name(step)).unlink()

    assert unmounted.get("/statistics").get_json()["count"] == len(RECORD_STEPS)
    assert unmounted.get("/statistics/latest").status_code == 200


@on_both_databases
def test_a_copy_that_is_not_what_the_file_was_is_named_and_never_sent(unmounted: FlaskClient, store: Store) -> None:
    change_copy(store, 4200, record=example_record(4200, 1.0, quality_ki_value=1.0))

    answer = unmounted.get("/statistics").get_json()

    assert [entry["step"] for entry in answer["records"]] == list(RECORD_STEPS[:-1])
    assert [file["name"] for file in answer["unreadable"]] == ["Statistik_4200.json"]
    assert "sha256" in answer["unreadable"][0]["reason"]
    assert unmounted.get("/statistics/Statistik_4200.json").status_code == 404
    assert unmounted.get("/statistics/latest").get_json()["step_current"] == 3500
    assert b'"step_current":4200' not in unmounted.get("/statistics?format=jsonl").data


@on_both_databases
@pytest.mark.parametrize("content", [[], {}, "text", 7, {"step_current": 700}])
def test_a_copy_that_is_no_record_breaks_nothing(unmounted: FlaskClient, store: Store, content: object) -> None:
    change_copy(store, 700, record=content)

    answer = unmounted.get("/statistics").get_json()

    assert [entry["step"] for entry in answer["records"]] == list(RECORD_STEPS[1:])
    assert [file["name"] for file in answer["unreadable"]] == ["Statistik_700.json"]


@on_both_databases
def test_a_copy_put_anew_is_listed_anew(unmounted: FlaskClient, store: Store, root: Path) -> None:
    unmounted.get("/statistics")

    sha256 = save_record(root, store, example_record(4200, 1.0, quality_ki_value=0.9))

    entry = unmounted.get("/statistics").get_json()["records"][-1]
    assert (entry["sha256"], entry["quality_ki_value"]) == (sha256, 0.9)


@on_both_databases
def test_known_copies_are_not_read_again(unmounted: FlaskClient, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    first = unmounted.get("/statistics").get_json()
    monkeypatch.setattr(RecordQueries, "find", None)

    assert unmounted.get("/statistics").get_json() == first


@on_both_databases
@pytest.mark.parametrize(
    "name", ["Statistik_701.json", "Statistik_0700.json", "run.json", "Statistik_999999999999999999.json"]
)
def test_any_other_name_is_not_found(unmounted: FlaskClient, name: str) -> None:
    assert unmounted.get(f"/statistics/{name}").status_code == 404


@on_both_databases
def test_all_copies_are_read_in_batches_in_both_directions(
    store: Store, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.artifacts.records.store_copies.BATCH_SIZE", 4)
    for step in range(1, 13):
        save_record(root, store, example_record(step, 1.0))
    copies = StoredRecordCopies(store, RUN_ID)
    after = RecordPosition(7, record_name(7))

    up = [record["step_current"] for record in copies.records(after)]
    down = [record["step_current"] for record in copies.records(after, newest_first=True)]

    assert up == [*range(8, 13), *RECORD_STEPS]
    assert down == list(range(6, 0, -1))


@on_both_databases
def test_the_tables_are_the_same_as_of_the_files(unmounted: FlaskClient, client: FlaskClient) -> None:
    for table in ("csv", "jsonl"):
        assert unmounted.get(f"/statistics?format={table}").data == client.get(f"/statistics?format={table}").data


def test_a_store_that_is_gone_is_a_problem_not_a_crash(unmounted: FlaskClient, store: Store, root: Path) -> None:
    store.close()
    shutil.rmtree(root)

    for path in ("/statistics", "/statistics?format=csv", "/statistics/Statistik_700.json"):
        assert unmounted.get(path).status_code == 503


@pytest.mark.parametrize("path", ["/previews", "/previews/700/a.webp", "/checkpoints", "/logs"])
def test_what_only_the_directory_has_is_not_found(unmounted: FlaskClient, path: str) -> None:
    answer = unmounted.get(path)

    assert answer.status_code == 404
    assert "not on this machine" in answer.get_json()["detail"]


def test_a_reader_without_a_place_reads_the_store(store: Store, make_client: Callable[..., FlaskClient]) -> None:
    with make_client().application.app_context():
        source = record_source(RunContext(store, RUN_ID, None))

    assert isinstance(source, StoredRecordCopies)
    file = source.find("Statistik_700.json")
    assert file is not None
    assert file.content == encode_record(json.loads(file.content))


def test_copies_in_postgresql_are_the_files_of_another_machine_byte_for_byte(store_url: str, tmp_path: Path) -> None:
    far, here = tmp_path / "far", tmp_path / "here"
    far.mkdir()
    here.mkdir()
    store = Store(store_url, create=True)
    store.open_run(RUN_ID, {"MAX_STEPS": 20_000})
    for step in RECORD_STEPS:
        save_record(far, store, example_record(step, 1.0, quality_ki_value=1 / 3 + 1e-17 * step))
    store.close()

    app = create_app(RunConfig(data_root=here, store_url=store_url))
    with closing(app.extensions["leitstand"]):
        client = app.test_client()
        down = client.get(f"/runs/{RUN_ID}/statistics?order=desc&limit=2").get_json()
        bytes_of = {step: client.get(f"/runs/{RUN_ID}/statistics/{record_name(step)}").data for step in RECORD_STEPS}
        lines = client.get(f"/runs/{RUN_ID}/statistics?format=jsonl").get_data(as_text=True).splitlines()

    assert [entry["step"] for entry in down["records"]] == [4200, 3500]
    assert down["records"][0]["url"] == f"/runs/{RUN_ID}/statistics/Statistik_4200.json"
    assert bytes_of == {step: (far / record_name(step)).read_bytes() for step in RECORD_STEPS}
    assert [json.loads(line)["step_current"] for line in lines] == list(RECORD_STEPS)
