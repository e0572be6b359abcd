"""The client against a real HTTP server."""

import json
import math
from pathlib import Path

import pytest

from service import __version__
from service.client.client import ApiError, BadAnswerError, Client
from service.errors import UserError
from tests.service.harness.stand_in import Answer, StandIn, command, problem


def test_state_is_the_object_that_the_server_sends(server: StandIn) -> None:
    server.on("GET", "/state", Answer({"run_state": "running", "step_live": 12}))

    with Client(server.url + "/") as client:
        assert client.state() == {"run_state": "running", "step_live": 12}


def test_submit_posts_once_and_says_who_asks(server: StandIn) -> None:
    server.on("POST", "/validate", Answer(command(), 202, {"Location": "/commands/c0ffee"}))

    with Client(server.url, actor="eva", source="cli") as client:
        assert client.submit("validate")["id"] == "c0ffee"

    (request,) = server.requests
    assert request.headers["User-Agent"] == f"leitstand/{__version__}"
    assert (request.method, request.body) == ("POST", b"")
    assert request.headers["X-Leitstand-Actor"] == "eva"
    assert request.headers["X-Leitstand-Source"] == "cli"


def test_an_actor_is_cut_to_what_the_server_takes(server: StandIn) -> None:
    server.on("POST", "/pause", Answer(command(), 202))

    with Client(server.url, actor="Jürgen\n" + "x" * 100) as client:
        client.submit("pause")

    assert server.requests[0].headers["X-Leitstand-Actor"] == ("J?rgen?" + "x" * 100)[:64]


def test_without_an_actor_and_token_neither_header_is_sent(server: StandIn) -> None:
    server.on("GET", "/state", Answer({}))

    with Client(server.url) as client:
        client.state()

    assert not {"X-Leitstand-Actor", "Authorization"} & server.requests[0].headers.keys()
    assert server.requests[0].headers["X-Leitstand-Source"] == "api"


def test_the_token_is_sent_and_a_netrc_file_does_not_replace_it(
    server: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine localhost login somebody password else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    server.on("GET", "/state", Answer({}))

    with Client(server.url.replace("127.0.0.1", "localhost"), "secret") as client:
        client.state()

    assert server.requests[0].headers["Authorization"] == "Bearer secret"


def test_a_token_that_http_cannot_carry_is_refused_without_being_shown() -> None:
    with pytest.raises(UserError, match="characters that HTTP cannot carry") as refused:
        Client(token="geheim\n")

    assert "geheim" not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "", "127.0.0.1:5050", "ftp://host", "http://", "http://host:port", "http://[::1", "http://a box:5050",
        "http://*.lan", "https://eva:geheim@box", "http://box/?run=a", "http://box/#a",
    ],
)  # fmt: skip
def test_an_address_that_is_none_is_refused_with_an_example(url: str) -> None:
    with pytest.raises(UserError, match=r"must look like http://127\.0\.0\.1:5050") as refused:
        Client(url)

    assert "geheim" not in str(refused.value)


def test_what_http_cannot_carry_is_refused_by_name_before_anything_is_sent(server: StandIn) -> None:
    with Client(server.url) as client:
        with pytest.raises(UserError, match=r"^Idempotency-Key 'für heute\\n' holds characters"):
            client.submit("validate", idempotency_key="für heute\n")
        with pytest.raises(UserError, match=r"^Last-Event-ID '€' holds characters"):
            next(client.events(last_event_id="€"))
        with pytest.raises(UserError, match=r"^\{'LR_SCALE': nan\} holds a number"):
            client.change_settings({"LR_SCALE": math.nan})

    assert server.requests == []


@pytest.mark.parametrize("name", ["", "a/b", "/"])
def test_what_names_nothing_is_not_asked_for(server: StandIn, name: str) -> None:
    with Client(server.url) as client, pytest.raises(UserError, match=f"Nothing is named '{name}'; give a name or"):
        client.cancel(name)

    assert server.requests == []


@pytest.mark.parametrize("name", [".", "..", "../stop"])
def test_a_name_never_leads_to_another_path(server: StandIn, name: str) -> None:
    """`/runs/../stop` is `/stop` to everyone on the way."""
    with pytest.raises(UserError, match="Nothing is named"):
        Client(server.url, run=name)
    with Client(server.url) as client, pytest.raises(UserError, match="Nothing is named"):
        client.cancel(name)

    assert server.requests == []


@pytest.mark.parametrize(
    ("status", "exit_code"),
    [
        (400, 2), (401, 2), (403, 2), (404, 2), (408, 1), (409, 1), (412, 1), (422, 2), (429, 1), (500, 1), (502, 3),
        (503, 3), (504, 3), (599, 1),
    ],
)  # fmt: skip
def test_a_refusal_carries_the_servers_sentence_status_slug_and_exit_code(
    server: StandIn, status: int, exit_code: int
) -> None:
    server.on("POST", "/stop", problem(status, "The run has ended (finished).", "run-ended", Retry_After="3600"))

    with Client(server.url) as client, pytest.raises(ApiError, match=r"^The run has ended \(finished\)\.$") as refused:
        client.submit("stop")

    found = refused.value
    assert (found.status, found.slug, found.exit_code) == (status, "run-ended", exit_code)
    assert found.retry_after_seconds == 3600


def test_a_refusal_without_detail_gives_its_title(server: StandIn) -> None:
    server.on("GET", "/state", Answer({"title": "Not now"}, 500))

    with Client(server.url) as client, pytest.raises(ApiError, match=r"^Not now$"):
        client.state()


@pytest.mark.parametrize(
    "answer",
    [
        Answer(b"<html>gateway</html>", 500, {"Content-Type": "text/html"}),
        Answer(["no", "problem"], 500),
        Answer({"detail": 5}, 500),
    ],
)
def test_a_refusal_by_something_else_names_the_address(server: StandIn, answer: Answer) -> None:
    server.on("GET", "/state", answer)

    with (
        Client(server.url) as client,
        pytest.raises(ApiError, match=r"answered 500 Internal Server Error; check") as refused,
    ):
        client.state()

    assert server.url in str(refused.value)


def test_a_damaged_record_is_blamed_on_the_file_not_on_the_address(server: StandIn) -> None:
    server.on("GET", "/statistics/Statistik_60.json", Answer('{"step_cur', headers={"Repr-Digest": "sha-256=:x:"}))

    with (
        Client(server.url) as client,
        pytest.raises(BadAnswerError, match=r"Statistik_60\.json is damaged: .*stats get"),
    ):
        client.record(60)


@pytest.mark.parametrize("body", [b"hello", [1, 2], None])
def test_an_answer_that_is_no_object_is_an_error(server: StandIn, body: object) -> None:
    server.on("GET", "/state", Answer(body))

    with Client(server.url) as client, pytest.raises(BadAnswerError, match="does not answer as Leitstand's API does"):
        client.state()


def test_a_redirect_is_not_followed(server: StandIn) -> None:
    server.on("POST", "/validate", Answer({}, 302, {"Location": "/elsewhere"}))

    with Client(server.url) as client, pytest.raises(ApiError, match="answered 302 Found"):
        client.submit("validate")

    assert len(server.requests) == 1


def test_ids_and_names_cannot_leave_their_route(server: StandIn) -> None:
    with Client(server.url) as client, pytest.raises(ApiError):
        client.command("..state?x=1")

    assert server.requests[0].target == "/commands/..state%3Fx%3D1"


def test_conditions_are_sent_only_where_they_are_given(server: StandIn) -> None:
    server.on("POST", "/rollback", Answer(command(kind="rollback"), 202))

    with Client(server.url) as client:
        client.submit("rollback", {"checkpoint": "best"}, apply_at_step=500, expires_in=2.5)
        client.submit("rollback")

    conditional, plain = server.requests
    assert conditional.target == "/rollback?apply_at_step=500&expires_in=2.5"
    assert json.loads(conditional.body) == {"checkpoint": "best"}
    assert conditional.headers["Content-Type"] == "application/json"
    assert (plain.target, plain.body) == ("/rollback", b"")


def test_a_dry_run_returns_what_would_be_queued(server: StandIn) -> None:
    server.on("POST", "/stop", Answer({"accepted": True, "kind": "stop", "step": 12}))

    with Client(server.url) as client:
        assert client.submit("stop", dry_run=True)["accepted"] is True

    assert server.requests[0].target == "/stop?dry_run=true"


@pytest.mark.parametrize("ask", ["submit", "change_settings"])
def test_settings_are_changed_by_patch(server: StandIn, ask: str) -> None:
    server.on("PATCH", "/settings", Answer(command(kind="set"), 202))

    with Client(server.url) as client:
        changes = {"LR_SCALE": 0.5, "L1_WEIGHT": None}
        answer = client.submit("set", changes) if ask == "submit" else client.change_settings(changes)

    assert answer["kind"] == "set"
    assert json.loads(server.requests[0].body) == {"LR_SCALE": 0.5, "L1_WEIGHT": None}


def test_settings_are_what_the_server_sends(server: StandIn) -> None:
    server.on("GET", "/settings", Answer({"changes": {"LR_SCALE": 0.5}}))

    with Client(server.url) as client:
        assert client.settings()["changes"] == {"LR_SCALE": 0.5}


def test_a_command_is_cancelled_by_delete(server: StandIn) -> None:
    server.on("DELETE", "/commands/c0ffee", Answer(command("cancelled")))

    with Client(server.url) as client:
        assert client.cancel("c0ffee")["state"] == "cancelled"
        with pytest.raises(ApiError):
            client.cancel("c0 ffee")

    assert server.requests[1].target == "/commands/c0%20ffee"
