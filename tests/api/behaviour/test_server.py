"""The API under a real gunicorn: what only a server can get wrong."""

import hashlib
import json
import os
import signal
import socket
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from api.http.problem_types import PROBLEMS
from tests.api.harness.serving import Server, Serving, free_port, raw_answer, refused_start
from tests.harness.forked import StartPython

SECRET = b"SECRET-OUTSIDE"


def status_of(answer: bytes) -> int:
    """The status of a raw answer."""
    return int(answer.split(b" ", 2)[1])


def test_the_answers_carry_the_headers_promised(server: Server) -> None:
    state = requests.get(f"{server.url}/state", timeout=20)
    page = requests.get(f"{server.url}/", timeout=20)

    assert state.headers["Content-Type"] == "application/json"
    assert state.headers["Cache-Control"] == "no-store"
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert page.headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self';")


def test_a_record_comes_whole_with_its_hash_as_etag(server: Server, served_root: Path) -> None:
    content = (served_root / "Statistik_700.json").read_bytes()

    answer = requests.get(f"{server.url}/statistics/Statistik_700.json", timeout=20)

    assert answer.content == content
    assert answer.headers["ETag"] == f'"{hashlib.sha256(content).hexdigest()}"'
    assert answer.headers["Content-Length"] == str(len(content))
    assert answer.headers["Content-Disposition"] == "attachment; filename=Statistik_700.json"


def test_what_the_asker_already_has_is_not_sent_again(server: Server) -> None:
    url = f"{server.url}/statistics/Statistik_700.json"
    etag = requests.get(url, timeout=20).headers["ETag"]

    again = requests.get(url, headers={"If-None-Match": etag}, timeout=20)
    other = requests.get(url, headers={"If-None-Match": '"other"'}, timeout=20)

    assert (again.status_code, again.content) == (304, b"")
    assert other.status_code == 200


def test_a_part_of_a_record_can_be_asked_for(server: Server, served_root: Path) -> None:
    url = f"{server.url}/statistics/Statistik_700.json"
    content = (served_root / "Statistik_700.json").read_bytes()

    part = requests.get(url, headers={"Range": "bytes=10-19"}, timeout=20)
    rest = requests.get(url, headers={"Range": "bytes=-5"}, timeout=20)
    beyond = requests.get(url, headers={"Range": "bytes=999999-"}, timeout=20)
    stale = requests.get(url, headers={"Range": "bytes=10-19", "If-Range": '"other"'}, timeout=20)

    assert (part.status_code, part.content) == (206, content[10:20])
    assert part.headers["Content-Range"] == f"bytes 10-19/{len(content)}"
    assert (rest.status_code, rest.content) == (206, content[-5:])
    assert (beyond.status_code, beyond.json()["type"]) == (416, "/problems/range-not-satisfiable")
    assert beyond.headers["Content-Range"] == f"bytes */{len(content)}"
    assert (stale.status_code, stale.content) == (200, content)


@pytest.mark.parametrize("path", ["/state", "/statistics", "/statistics/Statistik_700.json", "/metrics", "/"])
def test_head_answers_like_get_without_a_body(server: Server, path: str) -> None:
    head = requests.head(server.url + path, timeout=20)

    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["Content-Type"] == requests.get(server.url + path, timeout=20).headers["Content-Type"]


@pytest.mark.parametrize(
    "target",
    [
        "/statistics/../outside.txt", "/statistics/..%2foutside.txt", "/statistics/%2e%2e%2foutside.txt",
        "/statistics/..%252foutside.txt", "/statistics//../outside.txt", "/statistics/%2Fetc%2Fpasswd",
        "/statistics//etc/passwd", "/statistics/..%5coutside.txt", "/statistics/Statistik_700.json/../../outside.txt",
        "/statistics/Statistik_700.json%00", "/statistics/%c0%ae%c0%ae/outside.txt", "/static/../app.py",
        "/static/..%2fapp.py", "/static/%2e%2e/app.py", "/static//etc/passwd", "/static/%2fetc%2fpasswd",
        "/../../../../etc/passwd", "/statistics/leitstand.db", "/statistics/%252e%252e%252foutside.txt",
    ],
)  # fmt: skip
def test_no_path_leads_out_of_the_run_directory(server: Server, served_root: Path, target: str) -> None:
    (served_root.parent / "outside.txt").write_bytes(SECRET)

    answer = raw_answer(server.port, f"GET {target} HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n".encode())

    assert status_of(answer) == 404
    assert SECRET not in answer
    assert b"root:" not in answer
    assert b"SQLite format" not in answer
    assert b"create_app" not in answer


COMMAND = b"POST /validate HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
CHUNKED = COMMAND + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("request_bytes", "slug"),
    [
        (b"\x00\x01\x02\x03\r\n\r\n", "bad-request"),
        (b"GET /state HTTP/9.9\r\nHost: 127.0.0.1\r\n\r\n", "bad-request"),
        (b"GET /state HTTP/1.1\r\nHost: 127.0.0.1\r\nno colon\r\n\r\n", "bad-request"),
        (b"GET /state HTTP/1.1\r\nHost: 127.0.0.1\r\nExpect: wonders\r\n\r\n", "bad-request"),
        (b"BREW /state HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n", "method-not-allowed"),
        (b"GET /state HTTP/1.1\r\nConnection: close\r\n\r\n", "wrong-host"),
        (b"GET http://evil.example/state HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n", "wrong-host"),
        (b"GET /state HTTP/1.1\r\nHost: a\r\nHost: 127.0.0.1\r\n\r\n", "bad-request"),
        (COMMAND + b"Content-Length: -5\r\n\r\n", "bad-request"),
        (COMMAND + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n{}", "bad-request"),
        (COMMAND + b"Content-Length: 99999999\r\n\r\n", "body-too-large"),
        (COMMAND + b"Transfer-Encoding: wonders\r\n\r\n", "bad-request"),
        (COMMAND + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n4\r\n{\"a\"\r\n0\r\n\r\n", "not-json"),
        (CHUNKED + b"zz\r\n", "bad-request"),
        (CHUNKED + b"2;a=\"\r\n{}\r\n0\r\n\r\n", "bad-request"),
        (CHUNKED + b"2\r\n{}0\r\n\r\n0\r\n\r\n", "bad-request"),
        (CHUNKED + b"2\r\n{}\r\n0\r\nHost: other\r\n\r\n", "bad-request"),
        (CHUNKED.replace(b"POST /validate", b"GET /state") + b"zz\r\n", "bad-request"),
        (b"GET /" + b"a" * 5_000 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", "uri-too-long"),
        (b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"a" * 9_000 + b"\r\n\r\n", "head-too-large"),
        (b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n" + b"X: y\r\n" * 70 + b"\r\n", "head-too-large"),
        (b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"a" * 70_000, "head-too-large"),
    ],
)  # fmt: skip
def test_rubbish_is_refused_once_in_the_shape_of_all_refusals_and_the_server_lives_on(
    server: Server, served_root: Path, request_bytes: bytes, slug: str
) -> None:
    before = commands_in(served_root)

    head, _, body = raw_answer(server.port, request_bytes).partition(b"\r\n\r\n")

    problem = json.loads(body)
    assert b"Content-Type: application/problem+json" in head
    assert (status_of(head), problem["type"]) == (PROBLEMS[slug].status, f"/problems/{slug}")
    assert problem["status"] == PROBLEMS[slug].status
    assert len(problem["detail"]) < 400
    assert commands_in(served_root) == before
    assert requests.get(f"{server.url}/livez", timeout=20).status_code == 200


@pytest.mark.parametrize("level", ["warning", "info"])
def test_what_cannot_be_read_fills_no_log_and_is_never_shown_there(
    serving: Serving, served_root: Path, level: str
) -> None:
    with serving(served_root, GUNICORN_CMD_ARGS=f"--log-level {level}") as server:
        raw_answer(server.port, b"GET /state HTTP/1.1\r\nAuthorization Bearer lst_geheim\r\n\r\n")

        assert ("Unreadable request from 127.0.0.1: InvalidHeader" in server.said()) == (level == "info")
        assert "geheim" not in server.said()


def commands_in(root: Path) -> int:
    """How many commands the store holds."""
    connection = sqlite3.connect(root / "leitstand.db")
    try:
        return int(connection.execute("select count(*) from commands").fetchone()[0])
    finally:
        connection.close()


def test_sixty_four_askers_at_once_are_all_answered(server: Server) -> None:
    def ask(number: int) -> int:
        path = ("/state", "/statistics", "/series?names=total_loss_value", "/metrics")[number % 4]
        return requests.get(server.url + path, timeout=60).status_code

    with ThreadPoolExecutor(64) as pool:
        assert set(pool.map(ask, range(192))) == {200}


def test_sixty_four_commands_at_once_are_all_queued_once(server: Server, served_root: Path) -> None:
    before = commands_in(served_root)

    with ThreadPoolExecutor(64) as pool:
        answers = list(pool.map(lambda _: requests.post(f"{server.url}/checkpoint", timeout=60), range(64)))

    accepted = {answer.json()["id"] for answer in answers if answer.status_code == 202}
    refused = [answer for answer in answers if answer.status_code != 202]
    assert accepted
    assert commands_in(served_root) - before == len(accepted)
    assert len(accepted) + len(refused) == 64
    assert {(answer.status_code, answer.json()["type"]) for answer in refused} <= {
        (503, "/problems/storage-unavailable")
    }


def test_sixty_silent_connections_do_not_silence_the_server(server: Server) -> None:
    silent = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(60)]
    try:
        for connection in silent:
            connection.sendall(b"GET /state HTTP/1.1\r\n")
        assert requests.get(f"{server.url}/livez", timeout=20).status_code == 200
    finally:
        for connection in silent:
            connection.close()


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"API_HOST": "0.0.0.0"}, "set API_TOKEN"),
        ({"GUNICORN_CMD_ARGS": "--bind 0.0.0.0:0"}, "API_HOST is '0.0.0.0', which other machines can reach"),
        ({"LEITSTAND_API_PROT": "1"}, "Did you mean API_PORT?"),
        ({"LEITSTAND_CONFIG": "/no/such/file.toml"}, "There is no settings file"),
    ],
)
def test_a_wrong_or_unsafe_setting_ends_the_start_with_one_sentence(
    start_server: StartPython, tmp_path: Path, settings: dict[str, str], sentence: str
) -> None:
    own = {"DATA_ROOT": str(tmp_path), "API_PORT": str(free_port())}

    code, said = refused_start(start_server, {**own, **settings})

    assert code == 2
    assert sentence in said
    assert said.count("\n") == 1


def test_with_a_token_every_address_may_be_listened_on(serving: Serving, served_root: Path) -> None:
    with serving(served_root, API_HOST="0.0.0.0", API_TOKEN="secret") as server:
        assert requests.get(f"{server.url}/state", timeout=20).status_code == 401
        bearer = {"Authorization": "Bearer secret"}
        assert requests.get(f"{server.url}/state", headers=bearer, timeout=20).status_code == 200


def test_the_server_leaves_nothing_behind_and_goes_when_asked(
    serving: Serving, served_root: Path, tmp_path: Path
) -> None:
    with serving(served_root, HOME=str(tmp_path), XDG_RUNTIME_DIR=str(tmp_path)) as server:
        assert list(tmp_path.iterdir()) == []
        os.kill(server.process.pid, signal.SIGTERM)

        assert server.process.wait(20) == 0


def test_a_killed_worker_is_replaced(serving: Serving, served_root: Path, eventually: Callable[..., None]) -> None:
    def answers() -> bool:
        try:
            return requests.get(f"{server.url}/state", timeout=20).status_code == 200
        except requests.ConnectionError:
            return False

    with serving(served_root) as server:
        worker = int(Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()[0])
        os.kill(worker, signal.SIGKILL)

        eventually(answers, what="an answer of the new worker")
