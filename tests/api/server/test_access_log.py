"""The access log that gunicorn writes when it is told where: JSON lines without anything secret."""

import json
from collections.abc import Callable
from pathlib import Path

import requests

from service.auth.tokens import TokenScope, create_token
from tests.api.harness.serving import Serving, raw_answer


def test_the_access_log_says_who_asked_what_and_nothing_secret(
    serving: Serving, served_root: Path, tmp_path: Path, eventually: Callable[..., None]
) -> None:
    log, tokens = tmp_path / "access.log", tmp_path / "tokens.json"
    token = create_token(tokens, "anna", TokenScope.READ)
    with serving(served_root, API_TOKENS=str(tokens), GUNICORN_CMD_ARGS=f"--access-logfile {log}") as server:
        headers = {"Authorization": f"Bearer {token}", "User-Agent": "unlogged"}
        requests.get(f"{server.url}/series?names=total_loss_value", headers=headers, timeout=20)
        raw_answer(server.port, b"GET /a%0a%22%5c HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")
        eventually(lambda: "/a" in log.read_text(), what="the line of the second request")

    content = log.read_text()
    *_, known, unknown = (json.loads(line) for line in content.splitlines())
    assert {**known, "time": 0, "seconds": 0, "bytes": 0} == {
        "time": 0, "address": "127.0.0.1", "client": "anna", "method": "GET", "path": "/series", "status": 200,
        "bytes": 0, "seconds": 0,
    }  # fmt: skip
    assert (unknown["client"], unknown["path"], unknown["status"]) == (None, '/a\n"\\', 401)
    assert not [secret for secret in (token, "total_loss_value", "unlogged") if secret in content]


def test_a_name_in_a_warning_of_the_server_breaks_no_line(
    serving: Serving, served_root: Path, tmp_path: Path, eventually: Callable[..., None]
) -> None:
    tokens = tmp_path / "tokens\nforged \x1b[31m.json"
    token = create_token(tokens, "anna", TokenScope.READ)
    with serving(served_root, API_TOKENS=str(tokens)) as server:
        tokens.write_text("rubbish")
        requests.get(f"{server.url}/state", headers={"Authorization": f"Bearer {token}"}, timeout=20)
        eventually(lambda: "No token of the file is accepted" in server.said(), what="the warning")

        (line,) = [line for line in server.said().splitlines() if "No token of the file" in line]
        assert r"tokens\nforged \x1b[31m.json" in line
