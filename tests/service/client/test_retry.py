"""What the client sends again, and what it never does: against servers that break off, hang, refuse and restart."""

import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from service.client import retry
from service.client.client import ApiError, Client, ServerUnreachableError
from service.client.errors import FINAL_REFUSALS
from service.client.retry import RetryPolicy
from tests.service.harness.stand_in import Answer, StandIn, command, free_port, problem, serving, slamming_server

Eventually = Callable[..., None]


@pytest.fixture
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that was reached is waited for a moment only."""
    monkeypatch.setattr(retry, "MAX_OUTAGE_SECONDS", 0.5)
    monkeypatch.setattr(retry, "INITIAL_BACKOFF_SECONDS", 0.01)


def keys(server: StandIn) -> list[str | None]:
    return [request.headers.get("Idempotency-Key") for request in server.requests]


def test_an_unreachable_server_is_one_sentence_with_the_address() -> None:
    url = f"http://127.0.0.1:{free_port()}"

    with Client(url) as client, pytest.raises(ServerUnreachableError, match="leitstand up") as unreachable:
        client.state()

    assert url in str(unreachable.value)
    assert unreachable.value.exit_code == 3


def test_a_name_that_leads_nowhere_is_given_up_soon() -> None:
    with (
        Client("http://no-such-host.invalid") as client,
        pytest.raises(ServerUnreachableError, match="Nothing answers"),
    ):
        client.submit("validate")


@pytest.mark.usefixtures("_impatient")
@pytest.mark.parametrize(
    "ask",
    [
        lambda client: client.state(),
        lambda client: client.cancel("c0ffee"),
        lambda client: client.submit("validate"),
        lambda client: client.submit("validate", dry_run=True),
        lambda client: client.change_settings({"LR_SCALE": 1}),
        lambda client: client.carry_out("stop", timeout_seconds=5),
    ],
    ids=["get", "cancel", "submit", "dry run", "change", "carry out"],
)
def test_what_breaks_off_is_sent_again_until_the_server_stays_away(ask: Callable[[Client], object]) -> None:
    with (
        slamming_server(lambda _: None) as (url, asked),
        Client(url) as client,
        pytest.raises(ServerUnreachableError, match="was reached, but broke off"),
    ):
        ask(client)

    assert len(asked) > 2
    heads = {request.partition(b"\r\n\r\n")[0] for request in asked}
    assert len(heads) == 1, "the same request each time, with the same key"


def test_a_get_succeeds_at_the_second_attempt() -> None:
    answers = iter([b"", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"])

    with slamming_server(lambda peer: peer.sendall(next(answers))) as (url, asked), Client(url) as client:
        assert client.state() == {}

    assert len(asked) == 2


def test_an_answer_that_breaks_off_is_asked_for_again() -> None:
    answers = iter(
        [b"HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\n{", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"]
    )

    with slamming_server(lambda peer: peer.sendall(next(answers))) as (url, asked), Client(url) as client:
        assert client.state() == {}

    assert len(asked) == 2


def test_a_command_whose_answer_was_lost_is_sent_again_under_its_key() -> None:
    body = json.dumps(command()).encode()
    answers = iter([b"", b"HTTP/1.1 202 Accepted\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)])

    with slamming_server(lambda peer: peer.sendall(next(answers))) as (url, asked), Client(url) as client:
        assert client.submit("validate", expires_in=5.0)["id"] == "c0ffee"

    first, second = asked
    assert first == second
    assert b"Idempotency-Key: " in first


def test_a_command_is_found_by_its_key_after_the_server_was_started_again(eventually: Eventually) -> None:
    second = StandIn()
    second.on("POST", "/validate", Answer(command(), 202))
    results: list[str] = []
    with slamming_server(lambda _: None) as (url, asked):
        asking = threading.Thread(target=lambda: results.append(Client(url).submit("validate")["id"]))
        asking.start()
        eventually(lambda: asked, what="the lost request")
    with serving(second, int(url.rpartition(":")[2])):
        asking.join(20)

    assert results == ["c0ffee"]
    (key,) = keys(second)
    assert str(key).encode() in asked[0]


def test_each_command_has_a_key_of_its_own_and_a_given_one_is_kept(server: StandIn) -> None:
    server.on("POST", "/validate", Answer(command(), 202))
    server.on("PATCH", "/settings", Answer(command(kind="set"), 202))

    with Client(server.url) as client:
        client.submit("validate")
        client.submit("validate")
        client.change_settings({"LR_SCALE": 1})
        client.submit("validate", idempotency_key="nightly-1")

    first, second, third, given = keys(server)
    assert len({first, second, third}) == 3
    assert all(first for first in (first, second, third))
    assert given == "nightly-1"


def test_a_dry_run_and_a_get_have_no_key(server: StandIn) -> None:
    server.on("POST", "/stop", Answer({"accepted": True}))
    server.on("GET", "/state", Answer({}))

    with Client(server.url) as client:
        client.submit("stop", dry_run=True)
        client.state()

    assert keys(server) == [None, None]


@pytest.mark.usefixtures("_impatient")
@pytest.mark.parametrize(
    ("ask", "sentence"),
    [("state", r"within 0\.1 s; look"), ("submit", r"within 0\.1 s and may or may not have taken the command; look")],
)
def test_a_server_that_hangs_is_given_up(ask: str, sentence: str) -> None:
    released = threading.Event()

    with slamming_server(lambda _: released.wait(20)) as (url, _), Client(url, timeout_seconds=0.1) as client:
        try:
            with pytest.raises(ServerUnreachableError, match=sentence):
                client.state() if ask == "state" else client.submit("validate")
        finally:
            released.set()


@pytest.mark.parametrize(
    ("status", "slug"),
    [
        (408, "request-timeout"),
        (429, "too-many-requests"),
        (502, "test"),
        (503, "storage-unavailable"),
        (503, "test"),
        (504, "test"),
    ],
)
@pytest.mark.parametrize("ask", ["state", "submit"])
def test_what_is_refused_for_the_moment_is_asked_again_when_the_server_says(
    server: StandIn, status: int, slug: str, ask: str
) -> None:
    refused = problem(status, "Not now.", slug, Retry_After="0")
    server.on("GET", "/state", refused, refused, Answer({"run_id": "run-1"}))
    server.on("POST", "/validate", refused, refused, Answer(command(), 202))

    with Client(server.url) as client:
        assert client.state() if ask == "state" else client.submit("validate")

    assert len(server.requests) == 3
    assert len(set(keys(server))) == 1


def test_a_refusal_that_lasts_is_given_up_with_its_sentence(server: StandIn) -> None:
    server.on("GET", "/state", problem(503, "The store is locked.", "storage-unavailable", Retry_After="0"))

    with Client(server.url) as client, pytest.raises(ApiError, match=r"^The store is locked\.$") as refused:
        client.state()

    assert len(server.requests) == retry.MAX_REFUSAL_RETRIES + 1
    assert refused.value.exit_code == 3


@pytest.mark.parametrize(
    ("status", "slug"), [(503, slug) for slug in sorted(FINAL_REFUSALS)] + [(500, "internal-error"), (409, "run-ended")]
)
def test_what_asking_again_does_not_change_is_asked_once(server: StandIn, status: int, slug: str) -> None:
    server.on("POST", "/validate", problem(status, "No trainer is alive.", slug, Retry_After="0"))

    with Client(server.url) as client, pytest.raises(ApiError):
        client.submit("validate")

    assert len(server.requests) == 1


def test_a_server_that_asks_for_a_long_pause_is_not_waited_for(server: StandIn) -> None:
    server.on("GET", "/state", problem(429, "Too many requests.", Retry_After="3600"))

    with Client(server.url) as client, pytest.raises(ApiError) as refused:
        client.state()

    assert len(server.requests) == 1
    assert refused.value.retry_after_seconds == 3600


def paused(retry_after: str | None) -> float | None:
    """How long the client would pause after this header."""
    stand_in = StandIn()
    stand_in.on("GET", "/state", problem(500, "No.", **({"Retry_After": retry_after} if retry_after else {})))
    with serving(stand_in) as url, Client(url) as client, pytest.raises(ApiError) as refused:
        client.state()
    return RetryPolicy(may_repeat=True).after_refusal(
        ApiError("Busy.", 503, retry_after_seconds=refused.value.retry_after_seconds)
    )


def test_a_pause_is_a_number_a_date_or_the_usual_one() -> None:
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)

    assert paused("7") == 7
    assert 20 < (paused(soon) or 0) <= 30
    assert paused("Mon, 01 Jan 2024 00:00:00 GMT") == 0
    assert paused(None) == paused("soon") == retry.DEFAULT_PAUSE_SECONDS
