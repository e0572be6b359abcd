"""`leitstand log --follow`: the lines that are logged while one looks."""

import itertools
import json

import pytest

from service.cli import events, exit_code
from service.cli.events import end_of, followed
from service.client import Client, retry
from service.client.errors import ApiError
from tests.service.harness.stand_in import Answer, StandIn, problem

PLAIN = {"Content-Type": "text/plain"}


def text(*lines: str) -> Answer:
    return Answer("".join(f"{line}\n" for line in lines).encode(), headers=PLAIN)


def follow(server: StandIn, count: int) -> list[str]:
    """The first lines that are printed."""
    with Client(server.url) as client:
        return list(itertools.islice(followed(client, client.log(3), pause_seconds=0.01), count))


def test_new_lines_follow_once_each(server: StandIn) -> None:
    server.on("GET", "/logs", text("a", "b"), text("a", "b"), text("a", "b", "c"), text("a", "b", "c", "d"))

    assert follow(server, 4) == ["a", "b", "c", "d"]


def test_a_line_that_is_still_being_written_waits(server: StandIn) -> None:
    unfinished = Answer(b"a\nhal", headers=PLAIN)
    server.on("GET", "/logs", text("a"), unfinished, text("a", "half", "c"))

    assert follow(server, 3) == ["a", "half", "c"]


def test_lines_that_repeat_are_not_lost(server: StandIn) -> None:
    server.on("GET", "/logs", text("a", "x"), text("a", "x", "x", "x"), text("a", "x", "x", "x", "b"))

    assert follow(server, 5)[0] == "a"
    assert follow(server, 2) == ["a", "x"]


def test_many_lines_at_once_are_fetched_from_further_back(server: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "FETCHED_LINES", 2)
    server.on("GET", "/logs", text("a"), text("d", "e"), text("a", "b", "c", "d", "e"))

    assert follow(server, 5) == ["a", "b", "c", "d", "e"]
    assert server.targets == ["/logs?tail=3", "/logs?tail=2", "/logs?tail=5000"]


def test_a_new_log_is_followed_from_its_beginning(server: StandIn) -> None:
    server.on("GET", "/logs", text("a", "b"), text("c"))

    assert follow(server, 3) == ["a", "b", "c"]


def test_an_outage_is_waited_out_and_a_refusal_is_the_end(server: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "MAX_REFUSAL_RETRIES", 0)
    server.on(
        "GET", "/logs", text("a"), problem(503, "The store is locked.", "storage-unavailable"), text("a", "b"),
        problem(401, "The token is unknown.", "unauthorized"),
    )  # fmt: skip

    with pytest.raises(ApiError, match="needs a token"):
        follow(server, 3)
    assert len(server.targets) == 4


def test_with_json_each_line_is_an_object(
    server: StandIn, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "followed", lambda _client, text: iter(text.split()))
    server.on("GET", "/logs", text("a", "b"))

    assert exit_code(["log", "--follow", "--json", "--url", server.url]) == 0
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == [{"line": "a"}, {"line": "b"}]


def test_the_last_place_is_taken_where_lines_occur_twice() -> None:
    assert end_of(["x"], ["x", "y", "x", "z"]) == 3
    assert end_of(["q"], ["x"]) is None
    assert end_of([], ["x"]) == 1
