"""One event stream, piece by piece: its signs of life, its end, and what a reader gets who falls behind."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from api.app import create_app
from api.events import stream
from api.events.broadcaster import RunBroadcaster, broadcasters_of
from api.events.messages import ALWAYS, KINDS
from api.events.stream import ENDS
from api.events.subscription import MAX_QUEUED_MESSAGES, Subscription
from service.config.settings import RunConfig
from service.store.store import Store
from tests.api.conftest import on_both_databases
from tests.api.harness.example_run import RUN_ID

Eventually = Callable[..., None]


@contextmanager
def pieces(client: FlaskClient, query: str = "") -> Iterator[Iterator[bytes]]:
    answer = client.get(f"/events?{query}")
    try:
        yield iter(answer.response)
    finally:
        answer.close()


@on_both_databases
def test_a_silent_stream_shows_signs_of_life(
    client: FlaskClient, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "HEARTBEAT_SECONDS", 0.0)
    monkeypatch.setattr(stream, "POLL_SECONDS", 0.01)
    with pieces(client, "kinds=alert") as answer:
        next(answer)
        assert next(answer) == f": alive\nid: 6-4201-{RUN_ID}\n\n".encode()
        store.events.add(RUN_ID, 1, "paused", {})
        piece = next(answer)
        while b"id: 7-" not in piece:  # what is not asked for is not to be read again
            piece = next(answer)


def test_a_stream_ends_after_a_while_so_that_its_token_is_looked_at_again(
    client: FlaskClient, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "MAX_STREAM_SECONDS", 0.0)
    with pieces(client) as answer:
        assert list(answer)[-1] == f": {ENDS}\n\n".encode()
    assert broadcasters_of(client.application).slots_in_use == 0


@on_both_databases
def test_a_reader_who_falls_behind_gets_everything_from_the_store(
    client: FlaskClient, store: Store, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    behind: list[Subscription] = []
    resume = RunBroadcaster.resume
    monkeypatch.setattr(
        RunBroadcaster, "resume", lambda it, subscription: behind.append(subscription) or resume(it, subscription)
    )
    with pieces(client, "kinds=event") as answer:
        next(answer)
        other = broadcasters_of(client.application).of(None).subscribe()
        pushed = 0

        def are_all_pushed() -> bool:
            nonlocal pushed
            batch = other.poll(0)
            pushed += len(batch.messages)
            return batch.has_overflowed or pushed == MAX_QUEUED_MESSAGES + 100

        for number in range(MAX_QUEUED_MESSAGES + 100):
            store.events.add(RUN_ID, number, "set", {})
        eventually(are_all_pushed, what="the mailbox, filled as another one is, is full")
        store.events.add(RUN_ID, 1, "paused", {})
        found = b""
        while b'"kind":"paused"' not in found:
            found += next(answer)

    assert found.count(b'"kind":"set"') == MAX_QUEUED_MESSAGES + 100
    assert behind


def test_no_streams_may_be_allowed_at_all(make_client: Callable[..., FlaskClient], store: Store) -> None:
    assert make_client(api_streams=0).get("/events").status_code == 503


def test_who_asks_for_the_head_alone_holds_no_place(make_client: Callable[..., FlaskClient], store: Store) -> None:
    client = make_client(api_streams=1)
    for _ in range(3):
        answer = client.head("/events")
        assert (answer.status_code, answer.data) == (200, b"")
        answer.close()

    assert broadcasters_of(client.application).slots_in_use == 0


def test_following_needs_a_token_where_reading_does(root: Path, store: Store) -> None:
    app = create_app(RunConfig(data_root=root, api_token="geheim"))
    client = app.test_client()

    assert client.get("/events").status_code == 401
    answer = client.get("/events", headers={"Authorization": "Bearer geheim"})
    assert answer.status_code == 200
    answer.close()


def test_all_kinds_are_documented(repository: Path) -> None:
    events = (repository / "docs/api.md").read_text().partition("### Events")[2].partition("### Alerts")[0]

    assert re.findall(r"^\| `([a-z]+)` \|", events, re.MULTILINE) == [*KINDS, *sorted(ALWAYS)]
