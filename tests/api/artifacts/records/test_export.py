"""All records as one table: GET /statistics?format=csv and ?format=jsonl."""

import csv
import io
import json
import socket
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import psutil
import pytest
import requests
from flask.testing import FlaskClient

from api.artifacts.records.entries import MAX_RECORD_BYTES
from api.artifacts.records.export import MAX_EXPORTS
from service.atomic_files import write_atomically
from service.run.record import KEYS, UNKNOWN_DURATION, encode_record, record_name
from service.store.store import Store
from tests.api.harness.example_run import RECORD_STEPS, example_record
from tests.api.harness.many_records import write_many_records
from tests.api.harness.serving import Server, Serving


def rows_of(client: FlaskClient, query: str = "format=csv") -> list[dict[str, str]]:
    text = client.get(f"/statistics?{query}").get_data(as_text=True)
    return list(csv.DictReader(io.StringIO(text, newline="")))


def records_of(client: FlaskClient, query: str = "format=jsonl") -> list[dict[str, object]]:
    return [json.loads(line) for line in client.get(f"/statistics?{query}").get_data(as_text=True).splitlines()]


def test_json_lines_are_the_records_in_step_order(client: FlaskClient, store: Store, root: Path) -> None:
    answer = client.get("/statistics?format=jsonl")

    lines = answer.get_data(as_text=True).splitlines(keepends=True)
    assert [json.loads(line) for line in lines] == [
        json.loads((root / record_name(step)).read_bytes()) for step in RECORD_STEPS
    ]
    assert all(tuple(json.loads(line)) == KEYS and line.endswith("}\n") for line in lines)
    assert all('": ' not in line and ", " not in line for line in lines)


def test_a_csv_row_has_every_key_of_the_record(client: FlaskClient, store: Store, root: Path) -> None:
    rows = rows_of(client)

    record = json.loads((root / record_name(2800)).read_bytes())
    row = rows[RECORD_STEPS.index(2800)]
    assert tuple(row) == KEYS
    assert float(row["quality_ki_value"]) == record["quality_ki_value"]
    assert row["quality_ki_value"] == repr(record["quality_ki_value"])
    assert (row["step_current"], row["training_active"], row["lr_phase_name"]) == ("2800", "true", "cosine")
    assert row["slow_rank"] == ""
    assert json.loads(row["per_rank"]) == record["per_rank"]
    assert json.loads(row["layer_activity_map"]) == record["layer_activity_map"]


def test_csv_has_the_line_ends_and_quotes_of_the_standard(client: FlaskClient, store: Store) -> None:
    content = client.get("/statistics?format=csv").data

    assert content.count(b"\r\n") == len(RECORD_STEPS) + 1 == content.count(b"\n")
    assert content.startswith(b"step_current,step_max,")
    assert b'"[{""rank"":0,' in content


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("text/csv", "text/csv"), ("application/jsonl", "application/jsonl"),
        ("application/x-ndjson", "application/jsonl"), ("application/json", "application/json"),
        ("*/*", "application/json"), ("text/html,application/xhtml+xml,*/*;q=0.8", "application/json"),
        ("text/csv;q=0.5, application/json;q=0.4", "text/csv"), ("image/png", "application/json"),
    ],
)  # fmt: skip
def test_the_accept_header_chooses_where_the_query_does_not(
    client: FlaskClient, store: Store, accept: str, media_type: str
) -> None:
    answer = client.get("/statistics", headers={"Accept": accept})

    assert (answer.mimetype, "Accept" in answer.headers["Vary"]) == (media_type, True)
    assert client.get("/statistics?format=csv", headers={"Accept": accept}).mimetype == "text/csv"
    assert client.get("/statistics?format=json", headers={"Accept": accept}).mimetype == "application/json"


def test_a_table_is_a_download_with_a_name(client: FlaskClient, store: Store) -> None:
    answer = client.get("/statistics?format=csv")

    assert answer.headers["Content-Disposition"] == "attachment; filename=Statistik.csv"
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"


@pytest.mark.parametrize(
    ("query", "steps"),
    [
        ("", [700, 1400, 2100, 2800, 3500, 4200]), ("&order=desc", [4200, 3500, 2800, 2100, 1400, 700]),
        ("&limit=2", [700, 1400]), ("&limit=2&order=desc", [4200, 3500]),
    ],
)  # fmt: skip
def test_a_table_takes_order_and_limit(client: FlaskClient, store: Store, query: str, steps: list[int]) -> None:
    assert [record["step_current"] for record in records_of(client, f"format=jsonl{query}")] == steps


def test_a_table_goes_on_from_a_cursor(client: FlaskClient, store: Store) -> None:
    cursor = client.get("/statistics?limit=4").get_json()["next_cursor"]

    assert [row["step_current"] for row in rows_of(client, f"format=csv&cursor={cursor}")] == ["3500", "4200"]


def test_without_records_a_csv_is_its_heading(client: FlaskClient) -> None:
    assert client.get("/statistics?format=csv").data.decode() == ",".join(KEYS) + "\r\n"
    assert client.get("/statistics?format=jsonl").data == b""


def test_what_is_no_record_is_left_out(client: FlaskClient, store: Store, root: Path) -> None:
    (root / "Statistik_9.json").write_bytes(b"{")
    (root / "Statistik_10.json").symlink_to(root / "Statistik_700.json")
    (root / "Statistik_700 (1).json").write_bytes((root / "Statistik_700.json").read_bytes())
    with (root / "Statistik_11.json").open("wb") as file:
        file.truncate(MAX_RECORD_BYTES + 1)

    assert [record["step_current"] for record in records_of(client)] == list(RECORD_STEPS)


def test_texts_of_a_foreign_file_become_no_formula(client: FlaskClient, root: Path) -> None:
    root.mkdir()
    changes = {
        "run_id": '=HYPERLINK("http://x")', "adaptive_mode": "@SUM(A1)", "lr_phase_name": "\n=1",
        "eta_total_formatted": 'a,"b"\r\nc',
    }  # fmt: skip
    (root / "Statistik_5.json").write_bytes(encode_record({**example_record(5, 1.0), **changes, "grad_norm": -0.5}))

    (row,) = rows_of(client)

    assert row["run_id"] == '\'=HYPERLINK("http://x")'
    assert (row["adaptive_mode"], row["lr_phase_name"], row["grad_norm"]) == ("'@SUM(A1)", "'\n=1", "-0.5")
    assert row["eta_total_formatted"] == 'a,"b"\r\nc'


def test_odd_values_of_a_foreign_file_stay_readable(client: FlaskClient, root: Path) -> None:
    root.mkdir()
    record = encode_record({**example_record(5, 1.0), "extra": 1}).replace(
        b'"gpu-07"', b'"\\ud800 \xc3\xa4 \xf0\x9f\x93\x8a"'
    )
    record = record.replace(b'"memory": 11.2', b'"memory": 1e999')
    (root / "Statistik_5.json").write_bytes(record)

    (found,) = records_of(client)

    assert found["extra"] == 1
    assert found["per_rank"][0]["host"] == "\ud800 ä 📊"  # type: ignore[index]
    assert found["per_rank"][0]["memory"] is None  # type: ignore[index]
    assert json.loads(rows_of(client)[0]["per_rank"])[0]["memory"] is None


def test_keys_that_an_earlier_version_lacked_are_empty(client: FlaskClient, root: Path) -> None:
    root.mkdir()
    record = example_record(5, 1.0)
    del record["psnr_ema_db"]
    (root / "Statistik_5.json").write_bytes(encode_record(record))

    (row,) = rows_of(client)

    assert (tuple(row), row["psnr_ema_db"]) == (KEYS, "")


def test_a_long_table_is_never_in_memory_as_a_whole(client: FlaskClient, root: Path) -> None:
    write_many_records(root, range(1000), images=20)
    client.get("/statistics?format=csv&limit=1").get_data()
    tracemalloc.start()
    try:
        answer = client.get("/statistics?format=csv")
        size = sum(len(piece) for piece in answer.iter_encoded())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert size > 3_000_000
    assert peak < 1_000_000


# Over a real server


@pytest.fixture(scope="module")
def long_server(serving: Serving, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with 20 MB of records."""
    root = tmp_path_factory.mktemp("long")
    write_many_records(root, range(2000), images=60)
    with serving(root) as server:
        yield server


def test_a_table_comes_through_a_real_server_piece_by_piece(long_server: Server) -> None:
    with requests.get(f"{long_server.url}/statistics?format=jsonl", stream=True, timeout=60) as answer:
        assert answer.headers["Transfer-Encoding"] == "chunked"
        steps = [json.loads(line)["step_current"] for line in answer.iter_lines()]

    assert steps == list(range(2000))


def test_head_of_a_table_takes_no_place(long_server: Server) -> None:
    answers = [requests.head(f"{long_server.url}/statistics?format=csv", timeout=20) for _ in range(MAX_EXPORTS + 2)]

    assert {answer.status_code for answer in answers} == {200}
    assert not any("Content-Length" in answer.headers for answer in answers)


def test_clients_that_hang_up_leave_nothing_behind(long_server: Server, eventually: Callable[..., None]) -> None:
    (worker,) = psutil.Process(long_server.process.pid).children()
    for _ in range(3):
        with ExitStack() as tables:
            # Those of the round before give their places back when the server notices.
            eventually(partial(_take, long_server, tables, Counter()), what="all places for tables")

            refused = requests.get(f"{long_server.url}/statistics?format=csv", timeout=20)

        assert (refused.status_code, refused.json()["type"]) == (429, "/problems/too-many-requests")
        assert int(refused.headers["Retry-After"]) > 0
        assert refused.headers["RateLimit-Policy"] == f'"downloads";q={MAX_EXPORTS};qu="concurrent-requests"'
    eventually(lambda: not [file for file in worker.open_files() if "Statistik_" in file.path], what="closed files")


def _take(server: Server, tables: ExitStack, taken: Counter[bytes]) -> bool:
    """Ask for one more table and read its beginning only; whether all places are taken now."""
    connection = tables.enter_context(socket.create_connection(("127.0.0.1", server.port)))
    connection.sendall(b"GET /statistics?format=csv HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    taken[connection.recv(12)] += 1
    return taken[b"HTTP/1.1 200"] == MAX_EXPORTS


def test_a_duration_that_is_not_known_yet_is_no_formula(client: FlaskClient, store: Store, root: Path) -> None:
    record = example_record(9000, 1.0, eta_total_formatted=UNKNOWN_DURATION)
    write_atomically(root / record_name(9000), encode_record(record))

    assert rows_of(client)[-1]["eta_total_formatted"] == "--:--:--"
