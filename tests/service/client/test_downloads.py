"""What the client writes into files: whole or not at all, checked, resumed where the connection broke off."""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from service.client.client import ApiError, BadAnswerError, Client, ServerUnreachableError
from tests.service.harness.stand_in import Answer, Request, StandIn, page

RECORD = b'{\n  "step_current": 500\n}\n'
TAG = f'"{hashlib.sha256(RECORD).hexdigest()}"'
WHOLE = Answer(RECORD, headers={"ETag": TAG})
NAME = "Statistik_500.json"
PATH = f"/statistics/{NAME}"
TABLES = {"csv": {"Content-Type": "text/csv; charset=utf-8"}, "jsonl": {"Content-Type": "application/jsonl"}}


def broken(sent: bytes, promised: int, tag: str = TAG, status: int = 200) -> Answer:
    """An answer that ends after `sent`, though it promised more bytes."""
    return Answer(sent, status, {"ETag": tag, "Content-Length": str(promised)})


@pytest.mark.parametrize(
    ("name", "headers"),
    [
        (NAME, {}),
        ("500", {}),
        (500, {}),
        ("latest", {"Content-Disposition": "attachment; filename=Statistik_500.json"}),
        ("latest", {"Content-Disposition": 'attachment; filename="Statistik_500.json"; size=5'}),
    ],
)
def test_download_saves_the_bytes_under_the_records_name(
    server: StandIn, tmp_path: Path, name: str | int, headers: dict[str, str]
) -> None:
    server.on("GET", "/statistics/latest", Answer(RECORD, headers={"ETag": TAG, **headers}))
    server.on("GET", PATH, WHOLE)

    with Client(server.url) as client:
        path = client.download(name, tmp_path / "new" / "folder")

    assert path == tmp_path / "new" / "folder" / NAME
    assert path.read_bytes() == RECORD
    assert server.requests[0].headers["Accept-Encoding"] == "identity"


@pytest.mark.parametrize("offered", ["", "attachment; filename=../../evil.sh", "attachment; filename=notes.txt"])
def test_download_never_saves_under_a_name_that_is_no_records(server: StandIn, tmp_path: Path, offered: str) -> None:
    server.on("GET", "/statistics/latest", Answer(RECORD, headers={"ETag": TAG, "Content-Disposition": offered}))

    with Client(server.url) as client, pytest.raises(BadAnswerError, match="no name of a record"):
        client.download("latest", tmp_path)

    assert list(tmp_path.iterdir()) == []


def test_download_of_damaged_bytes_leaves_no_file_and_no_trace(server: StandIn, tmp_path: Path) -> None:
    server.on("GET", PATH, Answer(RECORD[:-1], headers={"ETag": TAG}))
    (tmp_path / NAME).write_bytes(b"earlier")

    with Client(server.url) as client, pytest.raises(BadAnswerError, match="arrived damaged"):
        client.download(NAME, tmp_path)

    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"earlier"]


def test_what_breaks_off_is_resumed_where_it_was(server: StandIn, tmp_path: Path) -> None:
    content = bytes(range(256)) * 200
    tag = f'"{hashlib.sha256(content).hexdigest()}"'

    def answer(request: Request) -> Answer:
        """At most 20,000 bytes of what is asked for."""
        begin = int(request.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        is_rest = request.headers.get("If-Range") == tag
        return broken(content[begin : begin + 20_000], len(content) - begin, tag, 206 if is_rest else 200)

    server.on("GET", PATH, answer)

    with Client(server.url) as client:
        assert client.download(NAME, tmp_path).read_bytes() == content

    begins = [request.headers.get("Range") for request in server.requests]
    assert begins == [None, "bytes=16384-", "bytes=32768-"]


def test_a_record_that_was_written_anew_meanwhile_is_fetched_from_its_start(server: StandIn, tmp_path: Path) -> None:
    server.on("GET", PATH, broken(b"an older record", 90, tag='"old"'), WHOLE)

    with Client(server.url) as client:
        assert client.download(NAME, tmp_path).read_bytes() == RECORD


@pytest.mark.parametrize("sent", [b"", RECORD[:9]], ids=["nothing", "always the beginning"])
def test_a_download_that_never_gets_on_is_given_up(server: StandIn, tmp_path: Path, sent: bytes) -> None:
    server.on("GET", PATH, broken(sent, len(RECORD)))

    with Client(server.url) as client, pytest.raises(ServerUnreachableError, match="broke off several times"):
        client.download(NAME, tmp_path)

    assert list(tmp_path.iterdir()) == []


def test_a_record_that_is_not_there_leaves_no_folder(server: StandIn, tmp_path: Path) -> None:
    with Client(server.url) as client, pytest.raises(ApiError):
        client.download("Statistik_7.json", tmp_path / "folder")

    assert list(tmp_path.iterdir()) == []


def test_a_record_is_parsed(server: StandIn) -> None:
    server.on("GET", "/statistics/latest", WHOLE)

    with Client(server.url) as client:
        assert client.record() == {"step_current": 500}


@pytest.mark.parametrize("file_format", ["csv", "jsonl"])
def test_an_export_is_streamed_to_a_file(server: StandIn, tmp_path: Path, file_format: str) -> None:
    content = b"step,value\n" * 100_000
    server.on("GET", "/statistics", Answer(content, headers=TABLES[file_format]))

    with Client(server.url) as client:
        client.save_export(file_format, tmp_path / "all")  # type: ignore[arg-type]

    assert (tmp_path / "all").read_bytes() == content
    assert server.targets == [f"/statistics?format={file_format}"]
    assert TABLES[file_format]["Content-Type"].startswith(server.requests[0].headers["Accept"])


def test_an_export_to_a_pipe_is_written_into_it_and_through_a_link_to_where_it_leads(
    server: StandIn, tmp_path: Path
) -> None:
    server.on("GET", "/statistics", Answer(b"step,value\n", headers=TABLES["csv"]))
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    link.symlink_to("kept.csv")

    with ThreadPoolExecutor(1) as pool, Client(server.url) as client:
        read = pool.submit(pipe.read_bytes)
        client.save_export("csv", pipe)
        client.save_export("csv", link)

    assert read.result() == b"step,value\n"
    assert pipe.is_fifo()
    assert link.is_symlink()
    assert (tmp_path / "kept.csv").read_bytes() == b"step,value\n"


@pytest.mark.parametrize("file_format", ["csv", "jsonl"])
def test_a_page_that_is_no_table_is_never_saved_as_one(server: StandIn, tmp_path: Path, file_format: str) -> None:
    server.on("GET", "/statistics", Answer(b"<html>log in first", headers={"Content-Type": "text/html"}))

    with Client(server.url) as client, pytest.raises(BadAnswerError, match="not answer as Leitstand's API does"):
        client.save_export(file_format, tmp_path / "all")  # type: ignore[arg-type]

    assert list(tmp_path.iterdir()) == []


def test_an_export_that_breaks_off_leaves_the_earlier_file(server: StandIn, tmp_path: Path) -> None:
    server.on("GET", "/statistics", Answer(b"step,va", headers={**TABLES["csv"], "Content-Length": "900"}))
    (tmp_path / "all.csv").write_bytes(b"earlier")

    with Client(server.url) as client, pytest.raises(ServerUnreachableError, match="broke off before its end"):
        client.save_export("csv", tmp_path / "all.csv")

    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"earlier"]


def test_pictures_are_bytes(server: StandIn) -> None:
    server.on("GET", "/previews/500/bikes%20%231.webp", Answer(b"RIFF", headers={"Content-Type": "image/webp"}))
    entry = {"step": 500, "name": "bikes #1.webp", "size_bytes": 4, "url": "/previews/500/bikes%20%231.webp"}
    server.on("GET", "/previews", page("previews", [entry]))

    with Client(server.url) as client:
        (found,) = client.previews()
        assert client.preview(found["step"], found["name"]) == b"RIFF"
