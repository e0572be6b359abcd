"""Answers compressed with gzip: which, for whom, and what becomes of their ETags."""

import gzip
import json
import socket
import time
import zlib

import pytest
import requests
from flask.testing import FlaskClient

from api.http.compression import MIN_BYTES
from service.store.store import SeriesRow, Store
from tests.api.harness.example_run import RUN_ID
from tests.api.harness.serving import Server

GZIP = {"Accept-Encoding": "gzip"}


@pytest.mark.parametrize(
    "path", ["/state", "/settings", "/series", "/statistics", "/openapi.json", "/metrics", "/docs"]
)
def test_a_long_text_is_compressed_for_a_client_that_takes_it(client: FlaskClient, store: Store, path: str) -> None:
    plain, small = client.get(path), client.get(path, headers=GZIP)

    assert "Content-Encoding" not in plain.headers
    assert small.headers["Content-Encoding"] == "gzip"
    assert len(small.data) == int(small.headers["Content-Length"]) < len(plain.data)
    assert "Accept-Encoding" in plain.headers["Vary"]
    assert "Accept-Encoding" in small.headers["Vary"]
    if plain.mimetype == "application/json" and path != "/state":
        assert json.loads(gzip.decompress(small.data)) == plain.get_json()


def test_the_head_of_an_answer_is_that_of_the_answer(client: FlaskClient, store: Store) -> None:
    whole, head = client.get("/settings", headers=GZIP), client.head("/settings", headers=GZIP)

    assert head.data == b""
    for name in ("Content-Encoding", "Content-Length", "ETag", "Vary"):
        assert head.headers[name] == whole.headers[name]


@pytest.mark.parametrize(
    ("accepted", "is_compressed"),
    [
        ("gzip", True), ("br, gzip;q=0.5", True), ("*", True), ("gzip;q=0", False), ("identity", False), ("br", False),
        ("", False), ("identity;q=1, gzip;q=0.5", False), ("identity;q=0.5, gzip", True), ("*;q=0", False),
    ],
)  # fmt: skip
def test_what_the_client_would_rather_have_counts(
    client: FlaskClient, store: Store, accepted: str, is_compressed: bool
) -> None:
    answer = client.get("/settings", headers={"Accept-Encoding": accepted})

    assert ("Content-Encoding" in answer.headers) is is_compressed


def test_short_answers_files_and_parts_of_them_stay_as_they_are(client: FlaskClient, store: Store) -> None:
    assert len(client.get("/livez").data) < MIN_BYTES
    name = client.get("/statistics").get_json()["records"][0]["name"]
    ranged = {**GZIP, "Range": "bytes=0-9999"}

    for path, headers in (
        ("/livez", GZIP), ("/alerts", GZIP), (f"/statistics/{name}", GZIP), (f"/statistics/{name}", ranged),
        ("/statistics?format=csv", GZIP),
    ):  # fmt: skip
        assert "Content-Encoding" not in client.get(path, headers=headers).headers, path


def test_an_event_stream_goes_out_as_it_is_to_a_client_that_wants_it_so(server: Server) -> None:
    plain = {"Accept-Encoding": "identity"}
    with requests.get(f"{server.url}/events", headers=plain, stream=True, timeout=10) as stream:
        assert "Content-Encoding" not in stream.headers
        assert next(stream.iter_content(6)) == b"retry:"


def test_a_compressed_answer_has_an_etag_of_its_own_that_is_understood(client: FlaskClient, store: Store) -> None:
    plain, small = client.get("/settings").headers["ETag"], client.get("/settings", headers=GZIP).headers["ETag"]

    assert plain != small
    for tag in (plain, small):
        answer = client.get("/settings", headers={**GZIP, "If-None-Match": tag})
        assert (answer.status_code, answer.headers["ETag"]) == (304, tag)
    change = client.patch("/settings", json={"LR_SCALE": 0.5}, headers={"If-Match": small})
    assert change.status_code == 202
    refused = client.patch("/settings", json={"LR_SCALE": 0.7}, headers={"If-Match": small})
    assert refused.status_code == 412


def test_a_part_is_never_of_another_representation_than_the_rest(client: FlaskClient, store: Store) -> None:
    small = client.get("/settings", headers=GZIP)
    assert "Accept-Ranges" not in small.headers

    answer = client.get("/settings", headers={"Range": "bytes=100-", "If-Range": small.headers["ETag"]})

    assert answer.status_code == 200
    assert answer.get_json() == client.get(f"/runs/{RUN_ID}/settings").get_json()


def test_each_event_of_a_compressed_stream_can_be_read_once_it_has_come_and_takes_little(
    served_store: Store, server: Server
) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(b"GET /events HTTP/1.0\r\nHost: localhost\r\nAccept-Encoding: gzip\r\n\r\n")
        received, sizes = b"", []
        for number in range(4):
            served_store.series.add(RUN_ID, [SeriesRow(10**6 + number, time.time(), {"total_loss_value": 0.5})])
            served_store.runs.update(RUN_ID, step=10**6 + number)
            before = len(received)
            while events(received).count(f'"step_live":{10**6 + number}') == 0:
                received += connection.recv(65536)
            sizes.append(len(received) - before)

    assert b"Content-Encoding: gzip" in received
    assert len(events(received)) > 8000
    assert max(sizes[1:]) < 600


def events(received: bytes) -> str:
    """What can be read of an answer that has not ended."""
    _, _, body = received.partition(b"\r\n\r\n")
    return zlib.decompressobj(31).decompress(body).decode() if body else ""
