"""/actions/<token>: what a link in a notification does, once, and what nothing makes it do."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from api.alerts.actions import ACTION_SECONDS, EXTENSION, KINDS, Action, action_links_of
from service.commands import Command, CommandState, Kind
from service.run.state import RunState
from service.store.store import Store
from tests.api.conftest import on_both_databases
from tests.api.harness.example_run import RUN_ID

MakeApp = Callable[..., Flask]
SETTINGS = {"public_url": "http://127.0.0.1:5050", "action_secret": "at least twenty-four bytes of secret"}
BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}


@pytest.fixture
def app(make_app: MakeApp, store: Store) -> Flask:
    return make_app(**SETTINGS)


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


def path_of(app: Flask, kind: Kind = Kind.PAUSE, run_id: str = RUN_ID, event_id: int = 41) -> str:
    """The link that a notification sent now has."""
    links = action_links_of(app)
    assert links is not None
    return f"/actions/{links.token(Action(run_id, event_id, kind, int(time.time()) + ACTION_SECONDS))}"


def slug_of(answer: TestResponse) -> str:
    return str(answer.get_json()["type"]).removeprefix("/problems/")


def queued(store: Store) -> list[Command]:
    return store.commands.find(RUN_ID, CommandState.QUEUED)


def at(app: Flask, now: float) -> None:
    """Let the clock by which links expire stand still."""
    links = action_links_of(app)
    assert links is not None
    app.extensions[EXTENSION] = replace(links, clock=lambda: now)


@on_both_databases
@pytest.mark.parametrize("kind", KINDS)
def test_a_post_queues_the_command_without_any_token(make_app: MakeApp, store: Store, kind: Kind) -> None:
    app = make_app(**SETTINGS, api_token="a token that the phone does not have")
    answer = app.test_client().post(path_of(app, kind))

    assert answer.status_code == 202
    (command,) = queued(store)
    assert answer.get_json()["id"] == command.id
    assert (command.kind, command.source, command.actor) == (kind, "notification", "anonymous@127.0.0.1")


@on_both_databases
def test_a_link_is_used_once_also_on_another_server_and_after_a_restart(make_app: MakeApp, store: Store) -> None:
    servers = [make_app(**SETTINGS) for _ in range(3)]
    path = path_of(servers[0])

    answers = [server.test_client().post(path) for server in servers]

    assert [answer.status_code for answer in answers] == [202, 409, 409]
    assert {slug_of(answer) for answer in answers[1:]} == {"action-used"}
    assert len(queued(store)) == 1


@on_both_databases
def test_of_many_who_use_a_link_at_once_one_succeeds(make_app: MakeApp, store: Store) -> None:
    servers = [make_app(**SETTINGS) for _ in range(4)]
    path = path_of(servers[0])
    with ThreadPoolExecutor(8) as pool:
        codes = list(pool.map(lambda number: servers[number % 4].test_client().post(path).status_code, range(8)))

    assert sorted(codes) == [202, *[409] * 7]
    assert len(queued(store)) == 1


def test_a_used_link_stays_used_when_the_command_has_ended(app: Flask, client: FlaskClient, store: Store) -> None:
    path = path_of(app)
    command_id = client.post(path).get_json()["id"]
    store.commands.finish(command_id, CommandState.DONE, step=4212)

    assert slug_of(client.post(path)) == "action-used"
    assert "pause done at step 4212" in client.get(path).get_data(as_text=True)


def test_one_alert_sent_twice_is_answered_once(app: Flask, client: FlaskClient, store: Store) -> None:
    """A receiver may get an alert twice, and several receivers get the same one."""
    links = action_links_of(app)
    assert links is not None
    first, second = (
        f"/actions/{links.token(Action(RUN_ID, 41, Kind.PAUSE, int(time.time()) + seconds))}" for seconds in (500, 600)
    )

    assert client.post(first).status_code == 202
    assert slug_of(client.post(second)) == "action-used"
    assert client.post(path_of(app, event_id=42)).status_code == 202, "the next alert has a link of its own"
    assert client.post(path_of(app, Kind.STOP)).status_code == 202, "and so has the other command"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_looking_at_a_link_changes_nothing(app: Flask, client: FlaskClient, store: Store, method: str) -> None:
    path = path_of(app, Kind.STOP)
    answers = [client.open(path, method=method, headers=BROWSER) for _ in range(3)]

    assert {answer.status_code for answer in answers} == {200}
    assert store.commands.find(RUN_ID) == []
    assert client.post(path).status_code == 202


def test_the_page_has_a_button_that_a_browser_may_press(app: Flask, client: FlaskClient, store: Store) -> None:
    path = path_of(app, Kind.STOP)
    shown = client.get(path, headers=BROWSER)
    text = shown.get_data(as_text=True)

    assert '<form method="post">' in text
    assert f"Stop run {RUN_ID}?" in text
    assert "form-action 'self'" in shown.headers["Content-Security-Policy"]
    assert len(shown.headers.getlist("Content-Security-Policy")) == 1
    assert shown.headers["Referrer-Policy"] == "same-origin", "no-referrer would send `Origin: null` with the form"
    assert shown.headers["Cache-Control"] == "no-store"

    pressed = client.post(path, headers={**BROWSER, "Origin": "http://localhost"})
    assert (pressed.status_code, pressed.headers["Location"]) == (303, path.rpartition("/")[2])
    after = client.get(path, headers=BROWSER).get_data(as_text=True)
    assert ("stop command is queued" in after, "<form" in after) == (True, False)


@pytest.mark.parametrize("origin", ["null", "https://evil.example"])
def test_a_page_of_others_cannot_press_it(app: Flask, client: FlaskClient, store: Store, origin: str) -> None:
    assert slug_of(client.post(path_of(app), headers={"Origin": origin})) == "foreign-origin"
    assert queued(store) == []


def test_after_ten_minutes_it_is_too_late(app: Flask, client: FlaskClient, store: Store) -> None:
    path = path_of(app)
    at(app, time.time() + ACTION_SECONDS + 1)

    answer = client.post(path)
    assert (answer.status_code, slug_of(answer)) == (410, "action-expired")
    assert "<form" not in client.get(path).get_data(as_text=True)
    assert queued(store) == []


def test_an_altered_command_is_refused(app: Flask, client: FlaskClient, store: Store) -> None:
    claims = path_of(app, Kind.STOP).partition(".")[0]
    signature = path_of(app, Kind.PAUSE).partition(".")[2]

    for answer in (client.post(f"{claims}.{signature}"), client.get(f"{claims}.{signature}")):
        assert (answer.status_code, slug_of(answer)) == (403, "action-invalid")
    assert queued(store) == []


def test_a_command_that_no_notification_offers_is_refused_though_it_is_signed(
    app: Flask, client: FlaskClient, store: Store
) -> None:
    assert slug_of(client.post(path_of(app, Kind.ROLLBACK))) == "action-invalid"
    assert queued(store) == []


@pytest.mark.parametrize("token", ["a", "a.b", "%00.%00", "a" * 3000, "%F0%9F%9A%82.x", "..%2f..", "' or '1'='1"])
def test_what_is_no_link_is_refused(client: FlaskClient, store: Store, token: str) -> None:
    assert client.post(f"/actions/{token}").status_code in {403, 404}
    assert client.get(f"/actions/{token}").status_code in {403, 404}


def test_without_the_settings_there_are_no_links(make_app: MakeApp, app: Flask, store: Store) -> None:
    off = make_app().test_client()

    assert off.post(path_of(app)).status_code == off.get(path_of(app)).status_code == 404
    assert queued(store) == []


def test_links_to_a_run_that_is_not_here_are_not_found(app: Flask, client: FlaskClient, store: Store) -> None:
    for run_id in ("000000000000", "..", "a/b", "x\0y"):
        assert slug_of(client.post(path_of(app, run_id=run_id))) == "not-found"


def test_a_run_that_has_ended_says_so_and_the_link_is_not_spent(app: Flask, client: FlaskClient, store: Store) -> None:
    path = path_of(app)
    store.runs.update(RUN_ID, state=RunState.STOPPED)
    assert slug_of(client.post(path)) == "run-ended"

    store.runs.update(RUN_ID, state=RunState.RUNNING)
    assert client.post(path).status_code == 202


def test_an_address_may_try_so_many_a_minute(make_app: MakeApp, store: Store) -> None:
    app = make_app(**SETTINGS, api_commands_per_minute=3)
    client = app.test_client()
    answers = [client.post("/actions/a.b") for _ in range(4)]

    assert {slug_of(answer) for answer in answers[:-1]} == {"action-invalid"}
    assert (answers[-1].status_code, slug_of(answers[-1])) == (429, "too-many-requests")
    assert client.post(path_of(app)).status_code == 429
    assert client.get("/state").status_code == 200


def test_no_client_can_name_the_key_that_marks_a_link_as_used(app: Flask, client: FlaskClient, store: Store) -> None:
    key = Action(RUN_ID, 41, Kind.PAUSE, 0).key

    for text in (key, f'"{key}"'):
        assert client.post("/pause", headers={"Idempotency-Key": text}).status_code == 422
    assert client.post(path_of(app)).status_code == 202
