"""Downloads as RFC 9110 has them: conditions, ranges, digests; over a real server."""

import base64
import email.utils
import hashlib
import os
import subprocess
import time
from pathlib import Path

import pytest
import requests

from service.run.record import encode_record
from tests.api.harness.example_run import RUN_ID, example_record
from tests.api.harness.serving import Server

NAME = "Statistik_700.json"
LONG_AGO = "Sat, 01 Jan 2000 00:00:00 GMT"
IN_FUTURE = "Fri, 01 Jan 2100 00:00:00 GMT"


@pytest.fixture
def url(server: Server) -> str:
    return f"{server.url}/statistics/{NAME}"


@pytest.fixture
def path(served_root: Path) -> Path:
    return served_root / NAME


@pytest.fixture
def content(path: Path) -> bytes:
    return path.read_bytes()


@pytest.fixture
def tag(content: bytes) -> str:
    return f'"{hashlib.sha256(content).hexdigest()}"'


@pytest.fixture
def modified(path: Path) -> str:
    """The file's time, made an hour old: a date is a strong validator only when its second is over."""
    then = int(time.time()) - 3600
    os.utime(path, (then, then))
    return email.utils.formatdate(then, usegmt=True)


def digest(content: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(content).digest()).decode()}:"


def ask(url: str, **headers: str) -> requests.Response:
    return requests.get(url, headers={name.replace("_", "-"): value for name, value in headers.items()}, timeout=20)


def test_a_record_is_its_file_with_everything_to_check_and_resume_it(
    url: str, content: bytes, tag: str, modified: str
) -> None:
    answer = ask(url)

    assert (answer.status_code, answer.content) == (200, content)
    wanted = {
        "ETag": tag, "Repr-Digest": digest(content), "Last-Modified": modified, "Accept-Ranges": "bytes",
        "Content-Length": str(len(content)), "Content-Type": "application/json",
        "Content-Disposition": f"attachment; filename={NAME}", "Cache-Control": "private, no-cache",
    }  # fmt: skip
    assert {name: answer.headers.get(name) for name in wanted} == wanted


def test_head_says_the_same_without_the_bytes(url: str, content: bytes) -> None:
    shown, told = ask(url), requests.head(url, timeout=20)

    assert (told.status_code, told.content) == (200, b"")
    volatile = {"Date", "Connection"}
    assert {name: value for name, value in told.headers.items() if name not in volatile} == {
        name: value for name, value in shown.headers.items() if name not in volatile
    }


def test_head_has_no_ranges(url: str, content: bytes) -> None:
    answer = requests.head(url, headers={"Range": "bytes=0-9"}, timeout=20)

    assert (answer.status_code, answer.headers["Content-Length"]) == (200, str(len(content)))


def test_latest_names_the_record_that_it_is(server: Server, served_root: Path) -> None:
    answer = ask(f"{server.url}/statistics/latest")

    assert answer.headers["Content-Location"] == "/statistics/Statistik_4200.json"
    assert answer.content == (served_root / "Statistik_4200.json").read_bytes()
    below = ask(f"{server.url}/runs/{RUN_ID}/statistics/latest")
    assert below.headers["Content-Location"] == f"/runs/{RUN_ID}/statistics/Statistik_4200.json"


@pytest.mark.parametrize(
    ("wanted", "first", "last"),
    [
        ("bytes=0-9", 0, 9), ("bytes=100-", 100, None), ("bytes=-20", -20, None), ("bytes=0-0", 0, 0),
        ("bytes=5-99999999", 5, None), ("bytes=-99999999", 0, None), ("Bytes=3-4", 3, 4), ("bytes= 3-4 ", 3, 4),
        ("bytes=,3-4,", 3, 4), ("bytes=1-99999999999999999999999999", 1, None),
        ("bytes=00000000000000000000003-00000000000000000000004", 3, 4),
    ],
)  # fmt: skip
def test_a_range_is_that_part_of_the_file(url: str, content: bytes, wanted: str, first: int, last: int | None) -> None:
    answer = ask(url, Range=wanted)

    start = first if first >= 0 else len(content) + first
    stop = len(content) if last is None else last + 1
    assert (answer.status_code, answer.content) == (206, content[start:stop])
    assert answer.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{len(content)}"
    assert answer.headers["Repr-Digest"] == digest(content)


@pytest.mark.parametrize("wanted", ["lines=0-9", "bytes=0-9,20-29", "bytes", "0-9", "none"])
def test_what_is_no_single_range_of_bytes_gets_the_whole_file(url: str, content: bytes, wanted: str) -> None:
    answer = ask(url, Range=wanted)

    assert (answer.status_code, answer.content) == (200, content)


@pytest.mark.parametrize(
    "wanted", ["bytes=999999-", "bytes=-0", "bytes=9-3", "bytes=a-b", "bytes=-", "bytes=", "bytes=5", "bytes=--5"]
)
def test_a_range_that_does_not_exist_is_refused_with_the_size(url: str, content: bytes, wanted: str) -> None:
    answer = ask(url, Range=wanted)

    assert (answer.status_code, answer.json()["type"]) == (416, "/problems/range-not-satisfiable")
    assert answer.headers["Content-Range"] == f"bytes */{len(content)}"


def test_a_range_goes_on_only_in_the_same_file(url: str, content: bytes, tag: str, modified: str) -> None:
    same = [tag, modified]
    other = [f"W/{tag}", '"0123"', LONG_AGO, IN_FUTURE, "nonsense", tag.strip('"')]

    assert [ask(url, Range="bytes=5-", If_Range=condition).status_code for condition in same] == [206, 206]
    answers = [ask(url, Range="bytes=5-", If_Range=condition) for condition in other]
    assert [(answer.status_code, answer.content == content) for answer in answers] == [(200, True)] * len(other)


def test_the_date_of_this_very_second_is_no_ground_to_go_on(url: str, path: Path) -> None:
    now = int(time.time()) + 3600  # a file of the future counts as of now
    os.utime(path, (now, now))
    date = ask(url).headers["Last-Modified"]

    assert ask(url, Range="bytes=5-", If_Range=date).status_code == 200
    assert email.utils.parsedate_to_datetime(date).timestamp() <= time.time()


def test_what_the_client_has_is_not_sent_again(url: str, tag: str, modified: str) -> None:
    for condition in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        answer = ask(url, If_None_Match=condition)
        assert (answer.status_code, answer.content, answer.headers["ETag"]) == (304, b"", tag)
    assert ask(url, If_Modified_Since=modified).status_code == 304
    assert ask(url, If_Modified_Since=IN_FUTURE).status_code == 304
    assert requests.head(url, headers={"If-None-Match": tag}, timeout=20).status_code == 304


def test_what_the_client_has_counts_before_ranges_and_tags_before_dates(url: str, tag: str, modified: str) -> None:
    assert ask(url, If_None_Match=tag, Range="bytes=0-9").status_code == 304
    assert ask(url, If_None_Match='"other"', If_Modified_Since=IN_FUTURE).status_code == 200
    assert ask(url, If_Modified_Since=LONG_AGO).status_code == 200
    assert ask(url, If_Modified_Since="yesterday").status_code == 200


def test_an_expectation_that_does_not_hold_is_refused(url: str, tag: str, modified: str) -> None:
    refused = ask(url, If_Match='"other"')

    assert (refused.status_code, refused.json()["type"]) == (412, "/problems/precondition-failed")
    assert ask(url, If_Match=f"W/{tag}").status_code == 412
    assert ask(url, If_Unmodified_Since=LONG_AGO).status_code == 412
    assert [ask(url, If_Match=condition).status_code for condition in (tag, "*")] == [200, 200]
    assert ask(url, If_Match=tag, If_Unmodified_Since=LONG_AGO).status_code == 200
    assert ask(url, If_Unmodified_Since=modified).status_code == 200


def test_curl_resumes_a_download(url: str, content: bytes, tmp_path: Path) -> None:
    target = tmp_path / NAME
    target.write_bytes(content[:1000])

    subprocess.run(["curl", "-sS", "--fail", "-C", "-", "-o", str(target), url], check=True, timeout=60)

    assert target.read_bytes() == content


def test_a_file_that_is_replaced_while_it_is_resumed_is_sent_anew(url: str, path: Path, content: bytes) -> None:
    tag = ask(url, Range="bytes=0-99").headers["ETag"]
    changed = encode_record(example_record(700, 2.0, quality_ki_value=0.5))
    path.write_bytes(changed)
    try:
        answer = ask(url, Range="bytes=100-", If_Range=tag)
    finally:
        path.write_bytes(content)

    assert (answer.status_code, answer.content) == (200, changed)
