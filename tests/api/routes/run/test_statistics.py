"""GET /statistics and /statistics/<name>."""

import hashlib
import json
import os
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from service.atomic_files import write_atomically
from service.run.record import encode_record
from service.run.records.keeping.packing import pack
from service.store.store import Store
from tests.api.harness.example_run import RECORD_STEPS, example_record, save_record


def write(root: Path, name: str, content: bytes) -> None:
    root.mkdir(exist_ok=True)
    (root / name).write_bytes(content)


def test_records_are_listed_by_step_as_a_number(client: FlaskClient, store: Store) -> None:
    answer = client.get("/statistics").get_json()

    assert [row["step"] for row in answer["records"]] == list(RECORD_STEPS)
    assert (answer["count"], answer["unreadable"]) == (len(RECORD_STEPS), [])


def test_an_entry_shows_the_files_identity_and_its_headlines(client: FlaskClient, store: Store, root: Path) -> None:
    entry = client.get("/statistics").get_json()["records"][3]

    path = root / "Statistik_2800.json"
    record = json.loads(path.read_bytes())
    assert entry == {
        "name": "Statistik_2800.json",
        "step": 2800,
        "size_bytes": path.stat().st_size,
        "modified_at": path.stat().st_mtime,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "trigger": "manual",
        **{
            key: record[key]
            for key in (
                "quality_ki_value", "quality_lr_value", "quality_improvement_value", "validation_loss_value",
                "psnr_ki_db",
            )
        },
        "url": "/statistics/Statistik_2800.json",
    }  # fmt: skip


def test_the_files_are_the_truth_without_a_store_or_a_trainer(client: FlaskClient, root: Path) -> None:
    write(root, "Statistik_5.json", encode_record(example_record(5, 1.0)))

    assert [row["step"] for row in client.get("/statistics").get_json()["records"]] == [5]
    assert client.get("/statistics/latest").get_json()["step_current"] == 5


def test_an_absent_run_directory_lists_nothing(client: FlaskClient) -> None:
    answer = client.get("/statistics").get_json()

    assert answer == {"records": [], "unreadable": [], "count": 0, "next_cursor": None}
    assert client.get("/statistics/latest").status_code == 404


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"{", "not a record"),
        (b"[]", "JSON object"),
        (b"\xff", "not a record"),
        (b"[" * 200_000, "not a record"),
        (b'{"step_current": 6}', "step_current is 6"),
        (b'{"step_current": 9}', "lacks quality_ki_value"),
        (encode_record({**example_record(9, 1.0), "psnr_ki_db": "much"}), "psnr_ki_db is 'much'"),
        (encode_record({**example_record(9, 1.0), "trigger": "whim"}), "trigger is 'whim'"),
        (encode_record({**example_record(9, 1.0), "step_current": True}), "step_current is True"),
        (encode_record(example_record(9, 1.0))[:-200], "not a record"),
        (encode_record(example_record(9, 1.0)).replace(b"0.21,", b"NaN,"), "NaN"),
        (encode_record(example_record(9, 1.0)).replace(b'"psnr_ki_db": ', b'"psnr_ki_db": 1e999'), "not a record"),
        (b"", "not a record"),
        (encode_record({**example_record(9, 1.0), "psnr_ki_db": 10**400}), "psnr_ki_db is 1000"),
        (b'{"step_current": 9, "per_rank": ' + b"[" * 600 + b"]" * 600 + b"}", "nested deeper than 16 levels"),
    ],
)
def test_a_spoilt_file_is_named_with_its_reason_and_hides_no_other(
    client: FlaskClient, root: Path, content: bytes, reason: str
) -> None:
    write(root, "Statistik_9.json", content)
    write(root, "Statistik_10.json", encode_record(example_record(10, 1.0)))

    answer = client.get("/statistics").get_json()

    assert [row["name"] for row in answer["records"]] == ["Statistik_10.json"]
    assert [row["name"] for row in answer["unreadable"]] == ["Statistik_9.json"]
    assert reason in answer["unreadable"][0]["reason"]
    assert answer["count"] == 2
    for path in ("/latest", "?format=csv", "?format=jsonl"):
        assert client.get(f"/statistics{path}").status_code == 200


def test_a_null_headline_stays_null(client: FlaskClient, root: Path) -> None:
    write(root, "Statistik_5.json", encode_record(example_record(5, 1.0, quality_ki_value=None)))

    assert client.get("/statistics").get_json()["records"][0]["quality_ki_value"] is None


def test_a_record_written_anew_is_listed_anew(client: FlaskClient, store: Store, root: Path) -> None:
    before = client.get("/statistics").get_json()["records"][-1]

    sha256 = save_record(root, store, example_record(4200, 1.0, quality_ki_value=0.9))

    after = client.get("/statistics").get_json()["records"][-1]
    assert before["sha256"] != sha256
    assert (after["sha256"], after["quality_ki_value"]) == (sha256, 0.9)


def test_a_record_comes_byte_for_byte_as_a_download(client: FlaskClient, store: Store, root: Path) -> None:
    content = (root / "Statistik_700.json").read_bytes()

    answer = client.get("/statistics/Statistik_700.json")

    assert answer.data == content
    assert answer.headers["ETag"] == f'"{hashlib.sha256(content).hexdigest()}"'
    assert answer.headers["Content-Disposition"] == "attachment; filename=Statistik_700.json"
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert answer.mimetype == "application/json"
    assert "no-cache" in answer.headers["Cache-Control"]


def test_latest_is_the_record_of_the_highest_step(client: FlaskClient, store: Store) -> None:
    answer = client.get("/statistics/latest")

    assert answer.get_json()["step_current"] == 4200
    assert "Statistik_4200.json" in answer.headers["Content-Disposition"]


@pytest.mark.parametrize(
    "name",
    [
        "Statistik_701.json", "Statistik_0700.json", "statistik_700.json", "Statistik_700.json.bak", "leitstand.db",
        "Statistik_-1.json", "Statistik_٣.json", "..", "%2e%2e", "Statistik_700.json%00", "run.json",
        "..%2fStatistik_700.json", "Statistik_99999999999999999999.json",
    ],
)  # fmt: skip
def test_any_other_name_is_not_found(client: FlaskClient, store: Store, root: Path, name: str) -> None:
    (root / "Statistik_700.json.bak").write_bytes(b"secret")

    answer = client.get(f"/statistics/{name}")

    assert (answer.status_code, answer.get_json()["type"]) == (404, "/problems/not-found")


def test_symbolic_links_folders_and_pipes_are_no_records(
    client: FlaskClient, store: Store, root: Path, tmp_path: Path
) -> None:
    secret = tmp_path / "secret.json"
    write_atomically(secret, encode_record(example_record(9000, 1.0)))
    (root / "Statistik_9000.json").symlink_to(secret)
    (root / "Statistik_9001.json").mkdir()
    os.mkfifo(root / "Statistik_9002.json")

    answer = client.get("/statistics").get_json()

    assert [row["step"] for row in answer["records"]] == list(RECORD_STEPS)
    assert answer["unreadable"] == [
        {"name": "Statistik_9000.json", "reason": "it is not a record (it is a symbolic link)"},
        {"name": "Statistik_9001.json", "reason": "it is not a record (it is a folder)"},
        {"name": "Statistik_9002.json", "reason": "it is not a record (it is no ordinary file)"},
    ]
    assert client.get("/statistics/latest").get_json()["step_current"] == 4200
    assert [client.get(f"/statistics/Statistik_{step}.json").status_code for step in (9000, 9001, 9002)] == [404] * 3


def test_a_record_that_is_still_being_copied_is_not_the_latest(client: FlaskClient, store: Store, root: Path) -> None:
    content = encode_record(example_record(5000, 1.0))
    write(root, "Statistik_5000.json", content[:500])
    before = client.get("/statistics/latest").get_json()

    with (root / "Statistik_5000.json").open("ab") as file:
        file.write(content[500:])

    assert before["step_current"] == 4200
    assert client.get("/statistics/latest").data == content
    assert client.get("/statistics").get_json()["unreadable"] == []


def test_files_that_begin_like_a_record_are_listed_as_what_they_are(
    client: FlaskClient, store: Store, root: Path
) -> None:
    names = ["Statistik_700 (1).json", "Statistik_0700.json", "Statistik_2800.json.part", "Statistik_.json"]
    for name in names:
        write(root, name, encode_record(example_record(700, 1.0)))
    write(root, "Statistik_7.json~", b"")
    (root / os.fsdecode(b"Statistik_8\xff.json")).touch()

    answer = client.get("/statistics").get_json()

    assert [row["step"] for row in answer["records"]] == list(RECORD_STEPS)
    found = {row["name"]: row["reason"] for row in answer["unreadable"]}
    assert found == dict.fromkeys(
        [*names, "Statistik_7.json~", "Statistik_8\\xff.json"], "it is not named Statistik_<step>.json"
    )
    assert answer["count"] == len(RECORD_STEPS)


def test_a_file_too_large_for_a_record_is_not_read(client: FlaskClient, store: Store, root: Path) -> None:
    with (root / "Statistik_9000.json").open("wb") as file:
        file.truncate(10**10)

    answer = client.get("/statistics").get_json()

    reason = "it is not a record (it has 10000000000 bytes)"
    assert answer["unreadable"] == [{"name": "Statistik_9000.json", "reason": reason}]
    assert client.get("/statistics/latest").get_json()["step_current"] == 4200
    assert client.get("/statistics/Statistik_9000.json").status_code == 404


def test_a_run_directory_that_cannot_be_read_is_a_problem_not_a_crash(
    root: Path, monkeypatch: pytest.MonkeyPatch, client: FlaskClient
) -> None:
    def refuse(_folder: object) -> None:
        raise PermissionError(13, "Permission denied")

    # Tests may run as root, whom no permission stops.
    root.mkdir()
    monkeypatch.setattr("api.artifacts.records.index.os.listdir", refuse)

    for path in ("/statistics", "/statistics/latest", "/statistics?format=csv", "/statistics?format=jsonl"):
        answer = client.get(path)
        assert (answer.status_code, answer.get_json()["type"]) == (503, "/problems/storage-unavailable")
    assert "leitstand_records" not in client.get("/metrics").text


def test_a_file_that_may_not_be_read_is_named_and_its_download_is_a_problem(
    client: FlaskClient, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Tests may run as root, whom no permission stops.
    open_file = os.open

    def refuse(path: object, *arguments: int, **options: int) -> int:
        if str(path).endswith("Statistik_700.json"):
            raise PermissionError(13, "Permission denied")
        return open_file(path, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("os.open", refuse)

    answer = client.get("/statistics").get_json()

    reason = "it cannot be read (Permission denied)"
    assert answer["unreadable"] == [{"name": "Statistik_700.json", "reason": reason}]
    assert [row["step"] for row in answer["records"]] == [1400, 2100, 2800, 3500, 4200]
    assert client.get("/statistics/Statistik_700.json").get_json()["type"] == "/problems/storage-unavailable"


def test_a_file_that_is_archived_while_the_list_is_made_is_left_out(
    client: FlaskClient, store: Store, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_file = os.open

    def archive_first(path: object, *arguments: int, **options: int) -> int:
        (root / "Statistik_1400.json").unlink(missing_ok=True)
        return open_file(path, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("os.open", archive_first)

    answer = client.get("/statistics").get_json()

    assert [row["step"] for row in answer["records"]] == [700, 2100, 2800, 3500, 4200]
    assert answer["unreadable"] == []


def test_a_packed_record_is_listed_and_served_as_before(client: FlaskClient, root: Path) -> None:
    for step in (5, 10):
        write(root, f"Statistik_{step}.json", encode_record(example_record(step, 1.0)))
    urls = (
        "/statistics", "/statistics/Statistik_5.json", "/statistics?format=jsonl", "/statistics?format=csv",
        "/statistics/compare?names=psnr_ki_db",
    )  # fmt: skip
    before = [client.get(url) for url in urls]
    assert pack(root / "Statistik_5.json") is not None
    after = [client.get(url) for url in urls]

    assert not (root / "Statistik_5.json").exists()
    for first, second in zip(before, after, strict=True):
        assert second.data == first.data
        assert second.headers.get("ETag") == first.headers.get("ETag")
        assert second.headers.get("Repr-Digest") == first.headers.get("Repr-Digest")
    ranged = client.get("/statistics/Statistik_5.json", headers={"Range": "bytes=10-19"})
    assert (ranged.status_code, ranged.data) == (206, before[1].data[10:20])


def test_a_packed_record_that_is_damaged_is_named_with_the_reason(client: FlaskClient, root: Path) -> None:
    write(root, "Statistik_5.json.gz", b"no gzip")
    answer = client.get("/statistics").get_json()

    assert answer["unreadable"] == [
        {"name": "Statistik_5.json", "reason": "it is not a record (it is no gzip file, or a damaged one)"}
    ]
    assert client.get("/statistics/Statistik_5.json").status_code == 404
