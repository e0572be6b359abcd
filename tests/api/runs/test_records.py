"""Pages of GET /statistics, also over very many files."""

import os
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from api.app import create_app
from api.artifacts.lru_cache import LruCache
from api.artifacts.records.entries import MAX_CACHED_ENTRIES
from api.artifacts.records.index import IndexReader
from service.atomic_files import write_atomically
from service.config.settings import RunConfig
from service.run.record import encode_record
from service.store.store import Store
from tests.api.harness.example_run import RECORD_STEPS, RUN_ID, example_record, save_record
from tests.api.harness.many_records import STEP_EVERY, write_many_records

MANY = 100_000


@pytest.fixture
def _no_grain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what was written just now count as written long ago: nothing else changes while the test runs."""
    for module in ("api.artifacts.directory_cache", "api.artifacts.file_cache"):
        monkeypatch.setattr(f"{module}.TIMESTAMP_GRANULARITY_SECONDS", 0.0)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with 100,000 records."""
    root = tmp_path_factory.mktemp("many")
    write_many_records(root, range(0, MANY * STEP_EVERY, STEP_EVERY))
    return root


class Calls:
    """Counts what is asked of the operating system."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.opened: list[str] = []
        self.listed = 0
        open_file, list_folder = os.open, os.listdir

        def count_open(path: str, *arguments: int, **options: int) -> int:
            self.opened.append(os.fspath(path))
            return open_file(path, *arguments, **options)

        def count_listing(folder: str) -> list[str]:
            self.listed += 1
            return list_folder(folder)

        monkeypatch.setattr("os.open", count_open)
        monkeypatch.setattr("os.listdir", count_listing)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    return Calls(monkeypatch)


def pages(client: FlaskClient, query: str = "") -> Iterator[dict[str, object]]:
    """All pages, each found by the cursor of the one before."""
    cursor = ""
    while cursor is not None:
        page = client.get(f"/statistics?{query}{f'&cursor={cursor}' if cursor else ''}").get_json()
        yield page
        cursor = page["next_cursor"]


def steps_of(page: dict[str, object]) -> list[int]:
    records = page["records"]
    assert isinstance(records, list)
    return [entry["step"] for entry in records]


def test_pages_follow_each_other_without_gap_or_repetition(client: FlaskClient, store: Store) -> None:
    found = list(pages(client, "limit=4"))

    assert [steps_of(page) for page in found] == [[700, 1400, 2100, 2800], [3500, 4200]]
    assert [page["count"] for page in found] == [6, 6]


def test_pages_go_down_from_the_newest_where_asked(client: FlaskClient, store: Store) -> None:
    found = list(pages(client, "limit=4&order=desc"))

    assert [steps_of(page) for page in found] == [[4200, 3500, 2800, 2100], [1400, 700]]


def test_a_page_that_ends_with_the_last_record_leads_nowhere(client: FlaskClient, store: Store) -> None:
    answer = client.get("/statistics?limit=6")

    assert answer.get_json()["next_cursor"] is None
    assert "Link" not in answer.headers


def test_the_next_page_is_linked_with_the_same_conditions(client: FlaskClient, store: Store) -> None:
    link = client.get("/statistics?limit=2&order=desc").headers["Link"]

    url, _, relation = link.partition("; ")
    assert relation == 'rel="next"'
    assert steps_of(client.get(url.strip("<>")).get_json()) == [2800, 2100]


def test_a_link_stays_below_the_runs_own_path(client: FlaskClient, store: Store) -> None:
    answer = client.get(f"/runs/{RUN_ID}/statistics?limit=1")

    assert answer.headers["Link"].startswith(f"</runs/{RUN_ID}/statistics?")
    assert answer.get_json()["records"][0]["url"] == f"/runs/{RUN_ID}/statistics/Statistik_700.json"


@pytest.mark.parametrize(("order", "rest"), [("asc", [3500, 4200, 4900]), ("desc", [1400, 700, 50])])
def test_a_cursor_keeps_its_place_while_records_come_and_go(
    client: FlaskClient, store: Store, root: Path, order: str, rest: list[int]
) -> None:
    cursor = client.get(f"/statistics?limit=4&order={order}").get_json()["next_cursor"]
    for step in (50, 4900):
        save_record(root, store, example_record(step, 1.0))
    (root / "Statistik_2800.json").unlink()
    (root / "Statistik_2100.json").unlink()

    answer = client.get(f"/statistics?limit=4&order={order}&cursor={cursor}").get_json()

    assert steps_of(answer) == rest


def test_pages_of_foreign_files_are_bounded_too(client: FlaskClient, store: Store, root: Path) -> None:
    for number in range(25):
        (root / f"Statistik_1400 ({number}).json").touch()

    found = list(pages(client, "limit=10"))

    assert [len(page["records"]) + len(page["unreadable"]) for page in found] == [10, 10, 10, 1]  # type: ignore[arg-type]
    assert sorted(step for page in found for step in steps_of(page)) == list(RECORD_STEPS)


@pytest.mark.parametrize(
    "query",
    [
        "limit=0", "limit=1001", "limit=-1", "limit=ten", "limit=1.0", "limit=", "order=down", "order=", "cursor=",
        "cursor=!", "cursor=500", "cursor=YWJj", "cursor=%00", f"cursor={'A' * 2000}", "limit=1&limit=2", "sort=step",
        "format=xml", "cursor=LTEvYQ",
    ],
)  # fmt: skip
def test_a_wrong_condition_is_refused(client: FlaskClient, store: Store, query: str) -> None:
    answer = client.get(f"/statistics?{query}")

    assert (answer.status_code, answer.get_json()["type"]) == (422, "/problems/invalid-argument")


def test_an_unchanged_list_is_not_sent_again(client: FlaskClient, store: Store, root: Path) -> None:
    first = client.get("/statistics")
    condition = {"If-None-Match": first.headers["ETag"]}

    same = client.get("/statistics", headers=condition)
    save_record(root, store, example_record(4900, 1.0))
    other = client.get("/statistics", headers=condition)

    assert (same.status_code, same.data) == (304, b"")
    assert (other.status_code, other.headers["ETag"] == first.headers["ETag"]) == (200, False)


@pytest.mark.usefixtures("_no_grain")
def test_unchanged_files_are_neither_listed_nor_opened_again(client: FlaskClient, root: Path, calls: Calls) -> None:
    write_many_records(root, range(6))
    first = client.get("/statistics").get_json()
    opened, listed = len(calls.opened), calls.listed

    assert client.get("/statistics").get_json() == first
    assert (len(calls.opened), calls.listed) == (opened, listed)
    assert (opened, listed) == (6, 1)


@pytest.mark.usefixtures("_no_grain")
def test_only_a_changed_file_is_opened_again(client: FlaskClient, root: Path, calls: Calls) -> None:
    write_many_records(root, range(6))
    client.get("/statistics")
    changed = root / "Statistik_4.json"
    write_atomically(changed, encode_record(example_record(4, 1.0, quality_ki_value=0.9)))
    calls.opened.clear()

    answer = client.get("/statistics").get_json()

    assert answer["records"][4]["quality_ki_value"] == 0.9
    assert calls.opened == [str(changed)]


def test_what_was_written_a_moment_ago_is_looked_at_again(client: FlaskClient, store: Store, root: Path) -> None:
    """Two changes within the grain of the file system's times leave one and the same time behind."""
    path = root / "Statistik_700.json"
    content = path.read_bytes()
    before = client.get("/statistics").get_json()["records"][0]
    times = (path.stat().st_atime_ns, path.stat().st_mtime_ns)

    with path.open("r+b") as file:
        file.write(content.replace(b"0.6412", b"0.9999"))
    os.utime(path, ns=times)

    assert client.get("/statistics").get_json()["records"][0]["sha256"] != before["sha256"]


@pytest.mark.usefixtures("_no_grain")
def test_of_very_many_files_only_those_of_a_page_are_read(many: Path, calls: Calls) -> None:
    client = create_app(RunConfig(data_root=many)).test_client()

    first = client.get("/statistics?limit=100").get_json()
    opened, listed = len([path for path in calls.opened if "Statistik_" in path]), calls.listed
    newest = client.get("/statistics?limit=100&order=desc").get_json()
    again = client.get("/statistics?limit=100").get_json()

    assert steps_of(first) == [STEP_EVERY * number for number in range(100)]
    assert steps_of(newest) == [STEP_EVERY * number for number in range(MANY - 1, MANY - 101, -1)]
    assert (first["count"], again) == (MANY, first)
    assert opened == 100
    assert len([path for path in calls.opened if "Statistik_" in path]) == 200
    assert calls.listed == listed


@pytest.mark.usefixtures("_no_grain")
def test_of_very_many_files_little_is_kept_in_memory(many: Path) -> None:
    client = create_app(RunConfig(data_root=many)).test_client()
    client.get("/livez")
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        client.get("/statistics?limit=10")
        cached, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert cached - before < 16 * MANY


def test_the_latest_of_very_many_is_found_without_reading_the_others(many: Path, calls: Calls) -> None:
    client = create_app(RunConfig(data_root=many)).test_client()

    assert client.get("/statistics/latest").get_json()["step_current"] == STEP_EVERY * (MANY - 1)
    assert len([path for path in calls.opened if "Statistik_" in path]) == 1


def test_files_that_come_and_go_beside_the_records_do_not_renew_the_index(root: Path) -> None:
    write_many_records(root, range(6))
    read = IndexReader()
    before = read(root)

    (root / "leitstand.db-wal").touch()
    (root / "leitstand.db-wal").unlink()
    assert read(root) is before

    write_many_records(root, [6])
    assert len(read(root).records) == 7


@pytest.mark.usefixtures("_no_grain")
def test_looks_into_the_store_of_a_run_without_a_trainer_do_not_renew_the_index(
    client: FlaskClient, store: Store, calls: Calls
) -> None:
    store.close()
    client.get("/state")
    before = client.get("/statistics").get_json()
    listed = calls.listed

    client.get("/state")

    assert client.get("/statistics").get_json() == before
    assert calls.listed == listed


def test_a_bounded_memory_forgets_what_was_not_used_for_longest() -> None:
    recent: LruCache[int, str] = LruCache(3)
    for key in range(3):
        recent.put(key, str(key))
    recent.get(0)

    recent.put(3, "3")

    assert [recent.get(key) for key in range(4)] == ["0", None, "2", "3"]


def test_a_page_fits_into_what_is_remembered() -> None:
    assert MAX_CACHED_ENTRIES >= 2 * 1000
