"""`leitstand log --follow`: the lines that are logged while one looks."""

import itertools
import json
from urllib.parse import parse_qsl

import pytest

from service.cli import events, exit_code
from service.cli.events import followed
from service.client import Client, retry
from service.client.errors import ApiError, BadAnswerError
from tests.service.harness.stand_in import Answer, StandIn, problem


def part(text: str, cursor: str, *, is_continued: bool = True) -> Answer:
    """What a log has from an earlier cursor to this one; or its end, if another log took its place."""
    headers = {"Content-Type": "text/plain", "Log-Cursor": cursor, "Log-Continued": "true" if is_continued else ""}
    return Answer(text.encode(), headers=headers)


def end(text: str, cursor: str) -> Answer:
    return part(text, cursor, is_continued=False)


def follow(server: StandIn, count: int) -> list[str]:
    """The first lines that are printed."""
    with Client(server.url) as client:
        return list(itertools.islice(followed(client, 3, pause_seconds=0.01), count))


def test_only_what_is_new_is_asked_for(server: StandIn) -> None:
    server.on("GET", "/logs", end("a\nb\n", "4.7"), part("", "4.7"), part("c\n", "6.7"), part("d\n", "8.7"))

    assert follow(server, 4) == ["a", "b", "c", "d"]
    asked = [dict(parse_qsl(target.partition("?")[2])) for target in server.targets]
    assert [query.get("after") for query in asked] == [None, "4.7", "4.7", "6.7"]
    assert asked[0]["tail"] == "3"


def test_a_line_that_is_still_being_written_waits(server: StandIn) -> None:
    server.on("GET", "/logs", end("a\nha", "4.7"), part("lf\nc", "8.7"), part("\n", "9.7"))

    assert follow(server, 3) == ["a", "half", "c"]


def test_lines_that_repeat_are_not_lost(server: StandIn) -> None:
    server.on("GET", "/logs", end("x\n", "2.7"), part("x\nx\n", "6.7"), part("x\nb\n", "10.7"))

    assert follow(server, 5) == ["x", "x", "x", "x", "b"]


def test_another_log_in_its_place_is_followed_from_its_beginning(server: StandIn) -> None:
    server.on("GET", "/logs", end("a\nunfinished", "12.7"), end("c\n", "2.8"), part("d\n", "4.8"))

    assert follow(server, 4) == ["a", "unfinished", "c", "d"]


def test_an_outage_and_a_log_that_is_away_are_waited_out_and_a_refusal_is_the_end(
    server: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "MAX_REFUSAL_RETRIES", 0)
    server.on(
        "GET", "/logs", end("a\nb", "3.7"), problem(503, "The store is locked.", "storage-unavailable"),
        problem(404, "There is no training.log yet.", "not-found"), part("c\n", "5.7"),
        problem(401, "The token is unknown.", "unauthorized"),
    )  # fmt: skip
    lines: list[str] = []

    with Client(server.url) as client, pytest.raises(ApiError, match="needs a token"):
        lines.extend(followed(client, 3, pause_seconds=0.01))

    assert lines == ["a", "bc"]
    assert len(server.targets) == 5
    assert "after=3.7" in server.targets[3]


def test_without_a_log_nothing_is_followed(server: StandIn) -> None:
    server.on("GET", "/logs", problem(404, "There is no training.log yet.", "not-found"))

    with pytest.raises(ApiError, match=r"no training\.log"):
        follow(server, 1)


def test_a_server_that_does_not_say_where_to_go_on_is_not_the_api(server: StandIn) -> None:
    server.on("GET", "/logs", Answer(b"a\n", headers={"Content-Type": "text/plain"}))

    with pytest.raises(BadAnswerError):
        follow(server, 1)


def test_with_json_each_line_is_an_object(
    server: StandIn, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "followed", lambda _client, tail: iter(["a", "b"][-tail:]))

    assert exit_code(["log", "--follow", "--json", "--url", server.url]) == 0
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == [{"line": "a"}, {"line": "b"}]
