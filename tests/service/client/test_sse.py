"""Following server-sent events: parsed, taken up again where the connection broke off, given up in the end."""

import threading
from itertools import islice

import pytest

from service.client import retry, sse
from service.client.client import ApiError, BadAnswerError, Client, LiveEvent, ServerUnreachableError
from service.client.sse import EventParser
from tests.service.harness.stand_in import Answer, StandIn, free_port, problem, serving, slamming_server

STREAM = {"Content-Type": "text/event-stream"}
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "DEFAULT_PAUSE_SECONDS", 0.02)
    monkeypatch.setattr(sse, "MIN_PAUSE_SECONDS", 0.02)


def stream(text: str) -> Answer:
    return Answer(text.encode(), headers=STREAM)


def chunked(*pieces: str) -> Answer:
    body = b"".join(b"%x\r\n%s\r\n" % (len(piece.encode()), piece.encode()) for piece in pieces)
    return Answer(body + b"0\r\n\r\n", headers={**STREAM, "Transfer-Encoding": "chunked", "Content-Length": ""})


def event(number: int, kind: str = "record") -> str:
    return f'id: {number}\nevent: {kind}\ndata: {{"step": {number}}}\n\n'


@pytest.mark.parametrize("send", [stream, chunked])
def test_events_have_an_id_a_kind_and_data(server: StandIn, send: object) -> None:
    server.on("GET", "/events", send(": welcome\n\n" + event(1) + event(2, "command")))  # type: ignore[operator]

    with Client(server.url) as client:
        found = list(islice(client.events(["record", "command"]), 2))

    assert found == [LiveEvent("1", "record", {"step": 1}), LiveEvent("2", "command", {"step": 2})]
    (request,) = server.requests
    assert request.target == "/events?kinds=record%2Ccommand"
    assert request.headers["Accept"] == "text/event-stream"
    assert "Last-Event-ID" not in request.headers


def test_an_event_arrives_before_the_stream_goes_on(server: StandIn) -> None:
    released = threading.Event()

    def react(peer: object) -> None:
        piece = event(1).encode()
        peer.sendall(HEAD + b"%x\r\n%s\r\n" % (len(piece), piece))  # type: ignore[attr-defined]
        released.wait(20)

    with slamming_server(react) as (url, _), Client(url) as client:
        try:
            assert next(client.events()).id == "1"
        finally:
            released.set()


def test_a_stream_goes_on_after_the_last_event_that_came(server: StandIn) -> None:
    half = 'id: 3\nevent: record\ndata: {"step": 3}'
    server.on("GET", "/events", stream(event(1) + event(2) + half), stream(""), stream(event(3)))

    with Client(server.url) as client:
        assert [found.id for found in islice(client.events(last_event_id="0"), 3)] == ["1", "2", "3"]

    assert [request.headers.get("Last-Event-ID") for request in server.requests] == ["0", "2", "2"]


def test_a_stream_outlives_a_restart_of_the_server() -> None:
    first, second = StandIn(), StandIn()
    first.on("GET", "/events", stream(event(1)))
    second.on("GET", "/events", stream(event(2)))
    with serving(first) as url:
        found = Client(url).events()
        assert next(found).id == "1"
    with serving(second, int(url.rpartition(":")[2])):
        assert next(found).id == "2"

    assert second.requests[0].headers["Last-Event-ID"] == "1"


def test_a_stream_that_falls_silent_is_taken_up_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.client.client.STREAM_TIMEOUT_SECONDS", 1.0)
    released = threading.Event()
    bodies = iter([event(1).encode(), event(2).encode()])

    def react(peer: object) -> None:
        piece = next(bodies)
        peer.sendall(HEAD + b"%x\r\n%s\r\n" % (len(piece), piece))  # type: ignore[attr-defined]
        if b": 1" in piece:
            # Closed by the client, who has waited long enough.
            peer.settimeout(20)  # type: ignore[attr-defined]
            peer.recv(1)  # type: ignore[attr-defined]
        else:
            released.wait(20)

    with slamming_server(react) as (url, asked), Client(url, timeout_seconds=1.0) as client:
        try:
            assert [found.id for found in islice(client.events(), 2)] == ["1", "2"]
        finally:
            released.set()

    assert b"Last-Event-ID: 1" in asked[1]


def test_full_streams_are_waited_for(server: StandIn) -> None:
    full = problem(503, "All streams are taken.", "too-many-streams", Retry_After="0")
    server.on("GET", "/events", full, full, stream(event(1)), full, stream(event(2)))

    with Client(server.url) as client:
        assert [found.id for found in islice(client.events(), 2)] == ["1", "2"]


@pytest.mark.parametrize(("status", "slug"), [(401, "unauthorized"), (404, "not-found"), (503, "no-run")])
def test_a_refusal_is_final_at_the_start_and_later(server: StandIn, status: int, slug: str) -> None:
    server.on("GET", "/events", stream(event(1)), problem(status, "No.", slug))

    with Client(server.url) as client:
        found = client.events()
        assert next(found).id == "1"
        for asked in (found, client.events()):
            with pytest.raises(ApiError) as refused:
                next(asked)
            assert (refused.value.status, refused.value.slug) == (status, slug)


def test_a_page_that_is_no_stream_is_said_at_the_start_and_later(server: StandIn) -> None:
    page = Answer(b"<html>\n\n", headers={"Content-Type": "text/html"})
    server.on("GET", "/events", stream(event(1)), page)

    with Client(server.url) as client:
        found = client.events()
        assert next(found).id == "1"
        for asked in (found, client.events()):
            with pytest.raises(BadAnswerError, match="not answer as Leitstand's API does"):
                next(asked)


def test_a_server_that_is_not_there_is_said_at_once() -> None:
    with Client(f"http://127.0.0.1:{free_port()}") as client, pytest.raises(ServerUnreachableError):
        next(client.events())


def test_a_server_that_stays_away_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "UNREACHED_PAUSES_SECONDS", ())
    monkeypatch.setattr(sse, "MAX_OUTAGE_SECONDS", 0.3)
    stand_in = StandIn()
    stand_in.on("GET", "/events", stream(event(1)))
    with serving(stand_in) as url:
        found = Client(url).events()
        assert next(found).id == "1"

    with pytest.raises(ServerUnreachableError):
        next(found)


def test_closing_the_iterator_closes_the_connection() -> None:
    closed = threading.Event()
    piece = event(1).encode()

    def react(peer: object) -> None:
        peer.sendall(HEAD + b"%x\r\n%s\r\n" % (len(piece), piece))  # type: ignore[attr-defined]
        peer.settimeout(20)  # type: ignore[attr-defined]
        if peer.recv(1) == b"":  # type: ignore[attr-defined]
            closed.set()

    with slamming_server(react) as (url, _), Client(url) as client:
        found = client.events()
        next(found)
        found.close()  # type: ignore[attr-defined]
        assert closed.wait(20)


def test_an_event_that_holds_no_object_is_an_error(server: StandIn) -> None:
    server.on("GET", "/events", stream("data: hello\n\n"))

    with Client(server.url) as client, pytest.raises(BadAnswerError, match="'hello'"):
        next(client.events())


def parsed(text: str) -> tuple[list[LiveEvent], EventParser]:
    parser = EventParser()
    return list(parser.events(text.split("\n"))), parser


def test_the_parser_follows_the_standard() -> None:
    text = ': comment\nretry: 2500\nid:7\ndata:{"a":\ndata: 1}\nunknown: x\n\n\nevent: state\nid: 8\n\ndata: {}\n\n'
    found, parser = parsed(text)

    assert found == [LiveEvent("7", "message", {"a": 1}), LiveEvent("", "message", {})]
    assert (parser.last_event_id, parser.pause_seconds) == ("8", 2.5)


def test_a_place_without_an_event_is_remembered() -> None:
    found, parser = parsed("id: 9\n\n")

    assert (found, parser.last_event_id) == ([], "9")


def test_an_event_that_is_cut_off_is_dropped() -> None:
    found, parser = parsed('id: 1\ndata: {}\n\nid: 2\ndata: {"a": 1}')

    assert [event.id for event in found] == ["1"]
    assert parser.last_event_id == "1", "the one that did not come is asked for again"
