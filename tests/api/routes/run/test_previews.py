"""GET /previews and /previews/<step>/<name>."""

import hashlib
import os
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from service.store.store import Store
from tests.api.harness.example_run import RUN_ID

WEBP = b"RIFF\x1a\x00\x00\x00WEBPVP8L\x0d\x00\x00\x00\x2f\x00\x00\x00\x10\x07\x10\x11\x11\x88\x88\xfe\x07\x00"


def write_preview(root: Path, step: int, name: str, content: bytes = WEBP) -> Path:
    path = root / "previews" / f"step_{step}" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.fixture
def pictures(root: Path, store: Store) -> None:
    """Two pictures at each of three steps."""
    for step in (500, 1000, 12_000):
        for name in ("walk_0001.webp", "bikes_0001.webp"):
            write_preview(root, step, name)


def listed(answer: dict[str, list[dict[str, object]]]) -> list[tuple[object, object]]:
    return [(entry["step"], entry["name"]) for entry in answer["previews"]]


@pytest.mark.usefixtures("pictures")
def test_pictures_are_listed_newest_step_first_then_by_name(client: FlaskClient) -> None:
    answer = client.get("/previews").get_json()

    assert listed(answer) == [
        (step, name) for step in (12_000, 1000, 500) for name in ("bikes_0001.webp", "walk_0001.webp")
    ]
    assert answer["next_cursor"] is None
    assert answer["previews"][0] == {
        "step": 12_000, "name": "bikes_0001.webp", "size_bytes": len(WEBP), "url": "/previews/12000/bikes_0001.webp",
    }  # fmt: skip


@pytest.mark.usefixtures("pictures")
def test_pages_follow_each_other_without_gap_or_repetition(client: FlaskClient) -> None:
    found, url = [], "/previews?limit=4"
    while url:
        answer = client.get(url)
        found += listed(answer.get_json())
        url = answer.headers.get("Link", "").partition(">")[0].strip("<")

    assert found == listed(client.get("/previews").get_json())


@pytest.mark.usefixtures("pictures")
def test_one_step_can_be_asked_for_also_page_by_page(client: FlaskClient) -> None:
    first = client.get("/previews?step=1000&limit=1").get_json()
    second = client.get(f"/previews?step=1000&limit=1&cursor={first['next_cursor']}").get_json()

    assert listed(first) + listed(second) == [(1000, "bikes_0001.webp"), (1000, "walk_0001.webp")]
    assert second["next_cursor"] is None
    assert listed(client.get("/previews?step=7").get_json()) == []


def test_without_pictures_the_list_is_empty(client: FlaskClient) -> None:
    assert client.get("/previews").get_json() == {"previews": [], "next_cursor": None}


def test_new_pictures_are_listed(client: FlaskClient, root: Path, store: Store) -> None:
    client.get("/previews")

    write_preview(root, 500, "a.webp")
    write_preview(root, 500, "b.png")

    assert listed(client.get("/previews").get_json()) == [(500, "a.webp"), (500, "b.png")]


@pytest.mark.usefixtures("pictures")
def test_a_picture_comes_byte_for_byte_with_its_kind(client: FlaskClient, root: Path) -> None:
    write_preview(root, 500, "other.png", b"\x89PNG\r\n\x1a\n")

    answer = client.get("/previews/500/walk_0001.webp")

    tag = f'"{hashlib.sha256(WEBP).hexdigest()}"'
    assert (answer.status_code, answer.data, answer.mimetype) == (200, WEBP, "image/webp")
    assert answer.headers["ETag"] == tag
    assert answer.headers["Cache-Control"] == "private, no-cache"  # a fresh start writes another in its place
    assert client.get("/previews/500/walk_0001.webp", headers={"If-None-Match": tag}).status_code == 304
    part = client.get("/previews/500/walk_0001.webp", headers={"Range": "bytes=0-3"})
    assert (part.status_code, part.data) == (206, b"RIFF")
    assert client.get("/previews/500/other.png").mimetype == "image/png"


def test_an_odd_name_is_found_by_its_url(client: FlaskClient, root: Path, store: Store) -> None:
    write_preview(root, 500, "a b#ü?.webp")

    (entry,) = client.get("/previews").get_json()["previews"]

    assert client.get(entry["url"]).data == WEBP


@pytest.mark.usefixtures("pictures")
def test_links_stay_below_the_runs_own_path(client: FlaskClient) -> None:
    answer = client.get(f"/runs/{RUN_ID}/previews?limit=1")

    (entry,) = answer.get_json()["previews"]
    assert entry["url"] == f"/runs/{RUN_ID}/previews/12000/bikes_0001.webp"
    assert client.get(entry["url"]).status_code == 200
    assert f"</runs/{RUN_ID}/previews?" in answer.headers["Link"]


@pytest.mark.usefixtures("pictures")
@pytest.mark.parametrize(
    "path",
    [
        "500/none.webp", "501/walk_0001.webp", "0500/x.webp", "500/..", "500/%2e%2e%2fstep_1000%2fwalk_0001.webp",
        "500/secret.txt", "500/.hidden.webp", "500/link.webp", "500/folder.webp", "600/walk_0001.webp", "-1/a.webp",
        "99999999999999999999/walk_0001.webp", "500/walk_0001.webp%00", "500/", "step_500/walk_0001.webp",
    ],
)  # fmt: skip
def test_any_other_path_is_not_found(client: FlaskClient, root: Path, tmp_path: Path, path: str) -> None:
    secret = tmp_path / "secret.webp"
    secret.write_bytes(b"secret")
    write_preview(root, 500, "secret.txt", b"secret")
    write_preview(root, 500, ".hidden.webp", b"secret")
    (root / "previews" / "step_500" / "link.webp").symlink_to(secret)
    (root / "previews" / "step_500" / "folder.webp").mkdir()
    (root / "previews" / "step_600").symlink_to(root / "previews" / "step_500")

    answer = client.get(f"/previews/{path}")

    assert (answer.status_code, answer.get_json()["type"]) == (404, "/problems/not-found")


def test_what_is_no_picture_is_not_listed(client: FlaskClient, root: Path, store: Store, tmp_path: Path) -> None:
    write_preview(root, 500, "good.webp")
    write_preview(root, 500, ".tmp-good.webp.17")
    write_preview(root, 500, "notes.txt")
    folder = root / "previews" / "step_500"
    (folder / "link.webp").symlink_to(folder / "good.webp")
    (folder / "folder.webp").mkdir()
    (folder / os.fsdecode(b"\xff.webp")).touch()
    (root / "previews" / "step_0600").mkdir()
    (root / "previews" / "step_700").touch()
    (root / "previews" / "step_800").symlink_to(folder)

    assert listed(client.get("/previews").get_json()) == [(500, "good.webp")]


@pytest.mark.parametrize("query", ["step=-1", "step=x", "limit=0", "limit=1001", "cursor=!!", "cursor=YQ", "stp=1"])
def test_a_wrong_condition_is_refused(client: FlaskClient, store: Store, query: str) -> None:
    answer = client.get(f"/previews?{query}")

    assert (answer.status_code, answer.get_json()["type"]) == (422, "/problems/invalid-argument")


def test_a_folder_that_cannot_be_read_is_a_problem_not_a_crash(
    client: FlaskClient, root: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_preview(root, 500, "a.webp")

    def refuse(_watched: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("api.artifacts.previews.DirectoryCache.current", refuse)

    for path in ("/previews", "/previews/500/a.webp"):
        assert client.get(path).get_json()["type"] == "/problems/storage-unavailable"


def test_the_pictures_that_a_training_writes_are_found(client: FlaskClient, root: Path, store: Store) -> None:
    torch = pytest.importorskip("torch")
    write_previews = pytest.importorskip("ddp.recording.record_writer").write_previews
    write_previews(root / "previews", 500, [("walk_0001.png", torch.zeros(3, 8, 24, dtype=torch.uint8))])

    (entry,) = client.get("/previews").get_json()["previews"]

    assert client.get(entry["url"]).data[8:12] == b"WEBP"
