"""POST /validate … and GET /commands."""

from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient

from api.http.problem_types import PROBLEMS
from service.commands import CommandState, Kind, command_route
from service.run.state import RunState
from service.store.backends.base import Backend
from service.store.backends.postgres import PostgresServer
from service.store.backends.sqlite import SqliteFile
from service.store.store import Store
from tests.api.conftest import on_both_databases
from tests.api.harness.checkpoints import write_checkpoint
from tests.api.harness.example_run import LAST_STEP, RUN_ID, write_run

MakeClient = Callable[..., FlaskClient]


@pytest.mark.parametrize("kind", list(Kind))
def test_a_command_is_queued_and_the_answer_says_where_to_look(
    client: FlaskClient, store: Store, root: Path, kind: Kind
) -> None:
    write_checkpoint(root, 4000)
    method, path = command_route(kind)
    bodies: dict[Kind, object] = {Kind.SET: {"LR_SCALE": 0.5}, Kind.PREVIEW: {"clip": "bikes/räder.mp4", "frames": 3}}
    answer = client.open(path, method=method, json=bodies.get(kind, {}))

    command = answer.get_json()
    assert answer.status_code == 202
    assert answer.headers["Location"] == f"/commands/{command['id']}"
    assert answer.headers["Retry-After"] == "1"
    assert (command["kind"], command["state"], command["run_id"]) == (kind, "queued", RUN_ID)
    assert [queued.id for queued in store.commands.find(RUN_ID, CommandState.QUEUED)] == [command["id"]]


@on_both_databases
def test_a_command_that_waits_for_its_turn_while_the_run_ends_is_refused_not_left_queued(
    client: FlaskClient, store: Store, store_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = PostgresServer if store_address else SqliteFile
    lock_run = database.lock_run

    def lock_run_after_the_end(own: Backend, connection: sa.Connection, run_id: str) -> None:
        monkeypatch.setattr(database, "lock_run", lock_run)
        store.runs.update(RUN_ID, state=RunState.STOPPED)
        store.commands.reject_queued(RUN_ID, "the run ended (stopped)")
        lock_run(own, connection, run_id)

    monkeypatch.setattr(database, "lock_run", lock_run_after_the_end)

    assert client.post("/pause").get_json()["type"] == "/problems/run-ended"
    assert store.commands.find(RUN_ID, CommandState.QUEUED) == []


@on_both_databases
def test_the_commands_state_can_be_followed_to_its_end(client: FlaskClient, store: Store) -> None:
    location = client.post("/validate").headers["Location"]
    command_id = location.rpartition("/")[2]

    assert client.get(location).get_json()["state"] == "queued"
    store.commands.begin(command_id)
    assert client.get(location).get_json()["state"] == "running"
    store.commands.finish(command_id, CommandState.DONE, step=4212, result={"record": "Statistik_4212.json"})

    done = client.get(location).get_json()
    assert (done["state"], done["step"], done["result"]) == ("done", 4212, {"record": "Statistik_4212.json"})


@pytest.mark.parametrize(
    ("state", "slug"), [("failed", "command-failed"), ("rejected", "command-rejected"), ("expired", "command-expired")]
)
def test_a_command_that_did_not_do_what_was_asked_holds_a_problem(
    client: FlaskClient, store: Store, state: str, slug: str
) -> None:
    location = client.post("/validate").headers["Location"]
    assert client.get(location).get_json()["problem"] is None
    store.commands.finish(location.rpartition("/")[2], CommandState(state), step=4212, reason="the disk is full")

    for command in (client.get(location).get_json(), client.get("/commands").get_json()["commands"][0]):
        assert command["reason"] == "the disk is full"
        assert command["problem"] == {
            "type": f"/problems/{slug}",
            "title": PROBLEMS[slug].title,
            "status": PROBLEMS[slug].status,
            "detail": f"validate {state} at step 4212: the disk is full",
        }


@pytest.mark.parametrize("state", ["done", "cancelled"])
def test_a_command_that_is_done_or_was_taken_back_has_no_problem(client: FlaskClient, store: Store, state: str) -> None:
    location = client.post("/validate").headers["Location"]
    store.commands.finish(location.rpartition("/")[2], CommandState(state), reason="eva")

    assert client.get(location).get_json()["problem"] is None


def test_wrong_arguments_have_their_places(client: FlaskClient, store: Store) -> None:
    rollback = client.post("/rollback", json={"checkpoint": "newest"}).get_json()
    others = client.post("/validate", json={"b": 1, "a": 2}).get_json()

    assert rollback["errors"] == [{"pointer": "#/checkpoint", "detail": rollback["detail"]}]
    assert [error["pointer"] for error in others["errors"]] == ["#/a", "#/b"]


def test_all_wrong_parameters_and_headers_are_told_at_once(client: FlaskClient, store: Store) -> None:
    path = "/validate?wait=long&aply_at_step=5&dry_run&dry_run"
    problem = client.post(path, headers={"Idempotency-Key": "a b"}).get_json()

    named = [{**error, "detail": error["detail"].partition(";")[0][:30]} for error in problem["errors"]]
    assert named == [
        {"parameter": "aply_at_step", "detail": "/validate takes no 'aply_at_st"},
        {"parameter": "dry_run", "detail": "dry_run is given twice"},
        {"parameter": "wait", "detail": "wait is 'long', but must be se"},
        {"header": "Idempotency-Key", "detail": "Idempotency-Key is 'a b', but "},
    ]
    assert store.commands.find(RUN_ID) == []


@on_both_databases
def test_commands_are_listed_newest_first_up_to_a_limit(client: FlaskClient, store: Store) -> None:
    for kind in ("pause", "resume", "validate"):
        client.post(f"/{kind}")

    assert [row["kind"] for row in client.get("/commands").get_json()["commands"]] == ["validate", "resume", "pause"]
    assert [row["kind"] for row in client.get("/commands?limit=1").get_json()["commands"]] == ["validate"]


@on_both_databases
def test_pages_lead_through_all_commands_while_new_ones_arrive(client: FlaskClient, store: Store) -> None:
    ids = [client.post("/validate").get_json()["id"] for _ in range(7)]

    seen, path = [], "/commands?limit=3&kind=validate"
    while path:
        answer = client.get(path)
        seen += [row["id"] for row in answer.get_json()["commands"]]
        assert (answer.get_json()["next_cursor"] is None) == ("Link" not in answer.headers)
        link = answer.headers.get("Link", "")
        assert link == "" or link.endswith('; rel="next"')
        path = link.partition(">")[0].removeprefix("<")
        client.post("/validate")

    assert seen == ids[::-1]


@on_both_databases
@pytest.mark.parametrize(
    ("query", "kinds"),
    [
        ("kind=pause", ["pause"]),
        ("state=cancelled", ["checkpoint"]),
        ("actor=eva@127.0.0.1", ["checkpoint", "pause"]),
        ("actor=eva@127.0.0.1&state=queued", ["pause"]),
        ("actor=nobody", []),
    ],
)
def test_commands_are_listed_by_kind_state_and_actor(
    client: FlaskClient, store: Store, query: str, kinds: list[str]
) -> None:
    client.post("/validate")
    client.post("/pause", headers={"X-Leitstand-Actor": "eva"})
    client.delete(client.post("/checkpoint", headers={"X-Leitstand-Actor": "eva"}).headers["Location"])

    assert [row["kind"] for row in client.get(f"/commands?{query}").get_json()["commands"]] == kinds


@pytest.mark.parametrize("query", ["kind=explode", "state=lost", "cursor=", "cursor=MTIz*", "cursor=YWJj", "sort=asc"])
def test_a_filter_or_cursor_that_is_none_is_refused(client: FlaskClient, store: Store, query: str) -> None:
    answer = client.get(f"/commands?{query}")

    assert (answer.status_code, answer.get_json()["type"]) == (422, "/problems/invalid-argument")


@pytest.mark.parametrize("limit", ["0", "1001", "-1", "ten", "1.5", "1e3", "９", "9" * 5000])
def test_a_limit_that_is_no_number_in_range_is_refused(client: FlaskClient, store: Store, limit: str) -> None:
    answer = client.get("/commands", query_string={"limit": limit})

    assert (answer.status_code, answer.get_json()["type"]) == (422, "/problems/invalid-argument")


@on_both_databases
def test_an_unknown_command_id_is_not_found(client: FlaskClient, store: Store) -> None:
    answer = client.get("/commands/nonsense")

    assert (answer.status_code, answer.get_json()["type"]) == (404, "/problems/not-found")


def test_an_unknown_command_id_is_not_found_without_a_store_either(client: FlaskClient) -> None:
    assert client.get("/commands/nonsense").status_code == 404
    assert client.get("/commands").status_code == 503


def test_an_unknown_command_names_those_that_there_are(client: FlaskClient, store: Store) -> None:
    answer = client.post("/explode")

    assert answer.status_code == 404
    assert "/rollback, /resume, /pause, /validate" in answer.get_json()["detail"]
    assert client.post("/set").get_json()["detail"].endswith(" and PATCH /settings.")


def test_a_command_cannot_be_given_by_get(client: FlaskClient, store: Store) -> None:
    answer = client.get("/stop")

    assert (answer.status_code, answer.get_json()["type"]) == (405, "/problems/method-not-allowed")
    assert "POST" in answer.headers["Allow"]
    assert store.commands.find(RUN_ID) == []


@pytest.mark.parametrize(
    ("body", "content_type", "status", "slug"),
    [
        (b"{", "application/json", 400, "not-json"),
        (b"\xff\xfe", "application/json", 400, "not-json"),
        (b"[" * 50_000, "application/json", 400, "not-json"),
        (b'{"a": 1, "a": 2}', "application/json", 400, "not-json"),
        (b"{}", "application/merge-patch+json", 415, "unsupported-media-type"),
        (b"{}", "text/plain", 415, "unsupported-media-type"),
        (b"kind=stop", "application/x-www-form-urlencoded", 415, "unsupported-media-type"),
        (b"{}", None, 415, "unsupported-media-type"),
        (b"[]", "application/json", 422, "invalid-argument"),
        (b"null", "application/json", 422, "invalid-argument"),
        (b'{"step": 5}', "application/json", 422, "invalid-argument"),
        (b" " * 70_000, "application/json", 413, "body-too-large"),
    ],
)
def test_a_body_that_the_command_does_not_take_is_refused(
    client: FlaskClient, store: Store, body: bytes, content_type: str | None, status: int, slug: str
) -> None:
    answer = client.post("/validate", data=body, content_type=content_type)

    assert (answer.status_code, answer.get_json()["type"]) == (status, f"/problems/{slug}")
    assert store.commands.find(RUN_ID) == []


@pytest.mark.parametrize("content_type", ["application/json", "application/json; charset=utf-8"])
def test_an_empty_json_object_is_as_good_as_no_body(client: FlaskClient, store: Store, content_type: str) -> None:
    assert client.post("/validate", data=b"{}", content_type=content_type).status_code == 202


@pytest.mark.parametrize("ended", [RunState.FINISHED, RunState.STOPPED, RunState.FAILED])
def test_a_run_that_has_ended_takes_no_command(client: FlaskClient, store: Store, ended: RunState) -> None:
    store.runs.update(RUN_ID, state=ended.value)

    answer = client.post("/pause")

    assert (answer.status_code, answer.get_json()["type"]) == (409, "/problems/run-ended")
    assert ended.value in answer.get_json()["detail"]
    assert store.commands.find(RUN_ID) == []


def test_a_lost_trainer_takes_no_command(client: FlaskClient, root: Path) -> None:
    write_run(root, age_seconds=60).close()

    answer = client.post("/stop")

    assert (answer.status_code, answer.get_json()["type"]) == (503, "/problems/no-trainer")
    assert int(answer.headers["Retry-After"]) > 0


def test_without_a_run_no_command_is_taken(client: FlaskClient) -> None:
    answer = client.post("/validate")

    assert (answer.status_code, answer.get_json()["type"]) == (503, "/problems/no-run")
    assert int(answer.headers["Retry-After"]) > 0


@on_both_databases
def test_a_locked_store_refuses_the_command_and_says_when_to_try_again(client: FlaskClient, store: Store) -> None:
    with store.run_transaction(RUN_ID):
        answer = client.post("/validate")

    assert (answer.status_code, answer.get_json()["type"]) == (503, "/problems/storage-unavailable")
    assert int(answer.headers["Retry-After"]) > 0
    assert store.commands.find(RUN_ID) == []


@on_both_databases
def test_reading_goes_on_while_somebody_writes(client: FlaskClient, store: Store) -> None:
    with store.transaction_scope(), store.run_transaction(RUN_ID):
        store.runs.update(RUN_ID, step=LAST_STEP + 1)
        answer = client.get("/state")

    assert (answer.status_code, answer.get_json()["step_live"]) == (200, LAST_STEP)


@on_both_databases
def test_the_audit_says_who_asked_from_where_and_by_what(client: FlaskClient, store: Store) -> None:
    nameless = client.post("/validate").get_json()
    headers = {"X-Leitstand-Actor": "Jürgen".encode().decode("latin-1"), "X-Leitstand-Source": "cli"}
    named = client.post("/validate", headers=headers).get_json()

    assert (nameless["actor"], nameless["source"]) == ("anonymous@127.0.0.1", "api")
    assert (named["actor"], named["source"]) == ("Jürgen@127.0.0.1", "cli")


def test_a_name_may_also_come_as_latin_1(client: FlaskClient, store: Store) -> None:
    assert client.post("/validate", headers={"X-Leitstand-Actor": "Jürgen"}).get_json()["actor"] == "Jürgen@127.0.0.1"


def test_the_audit_of_a_token_holder_shows_the_name_that_is_proved(make_client: MakeClient, store: Store) -> None:
    client = make_client(api_token="geheim")
    bearer = {"Authorization": "Bearer geheim"}

    said = client.post("/validate", headers={**bearer, "X-Leitstand-Actor": "eva"}).get_json()
    silent = client.post("/validate", headers=bearer).get_json()

    assert (said["actor"], silent["actor"]) == ("eva (API_TOKEN)@127.0.0.1", "API_TOKEN@127.0.0.1")


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Leitstand-Actor": "a" * 65},
        {"X-Leitstand-Actor": "tab\there"},
        {"X-Leitstand-Actor": "\x9f"},
        {"X-Leitstand-Source": "robot"},
    ],
)
def test_a_name_or_source_that_cannot_stand_in_the_audit_is_refused(
    client: FlaskClient, store: Store, headers: dict[str, str]
) -> None:
    answer = client.post("/validate", headers=headers)

    assert (answer.status_code, answer.get_json()["type"]) == (422, "/problems/invalid-argument")
    assert store.commands.find(RUN_ID) == []


@on_both_databases
@pytest.mark.parametrize(
    ("method", "path", "arguments"),
    [("POST", "/pause", {}), ("PATCH", "/settings", {"LR_SCALE": 0.5}), ("POST", "/rollback", {"checkpoint": "4000"})],
)
def test_a_persons_reason_is_kept_with_the_command_and_is_none_of_its_arguments(
    client: FlaskClient, store: Store, root: Path, method: str, path: str, arguments: dict[str, object]
) -> None:
    write_checkpoint(root, 4000)
    why = "the machine is needed until noon"

    answer = client.open(path, method=method, json={**arguments, "why": f" {why} "}).get_json()

    assert (answer["why"], answer["arguments"]) == (why, arguments)
    assert client.get("/commands").get_json()["commands"][0]["why"] == why
    assert client.get("/event-log?kinds=command").get_json()["events"][0]["details"]["why"] == why
    store.commands.finish(answer["id"], CommandState.DONE, step=4212)
    assert client.get("/event-log?kinds=command").get_json()["events"][0]["details"]["why"] == why
    assert client.post("/pause").get_json()["why"] is None


@pytest.mark.parametrize(
    ("why", "sentence"),
    [
        (5, "why is 5, but must be a text, or null for none."),
        ("w" * 501, "why has 501 characters, but may have at most 500; shorten it."),
        ("a\nb", "why has the character \\n, which cannot be printed; leave it out."),
    ],
)
def test_a_reason_that_is_no_line_of_text_is_refused(
    client: FlaskClient, store: Store, why: object, sentence: str
) -> None:
    answer = client.post("/pause", json={"why": why})

    assert answer.status_code == 422
    assert answer.get_json()["errors"] == [{"pointer": "#/why", "detail": sentence}]
    assert store.commands.find(RUN_ID) == []


def test_a_repeated_request_has_the_same_reason(client: FlaskClient, store: Store) -> None:
    key = {"Idempotency-Key": "once"}
    first = client.post("/pause", json={"why": "lunch"}, headers=key).get_json()

    assert client.post("/pause", json={"why": "lunch"}, headers=key).get_json() == first
    other = client.post("/pause", json={"why": "dinner"}, headers=key)
    assert (other.status_code, other.get_json()["type"]) == (422, "/problems/key-reused")


def test_a_dry_run_shows_the_reason(client: FlaskClient, store: Store) -> None:
    assert client.post("/pause?dry_run=true", json={"why": "lunch"}).get_json()["why"] == "lunch"


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "clip"), ({"clip": "../../etc/passwd"}, "clip"), ({"clip": "/etc/passwd"}, "clip"),
        ({"clip": "a\x00"}, "clip"),
        ({"clip": "x" * 10_000}, "clip"), ({"clip": {"a": 1}}, "clip"), ({"clip": "a.mp4", "frame": 10**30}, "frame"),
        ({"clip": "a.mp4", "frames": 49}, "frames"), ({"clip": "a.mp4", "path": "/"}, "path"),
    ],
)  # fmt: skip
def test_a_preview_of_what_is_no_clip_is_refused_and_not_queued(
    client: FlaskClient, store: Store, body: dict[str, object], pointer: str
) -> None:
    answer = client.post("/previews", json=body)

    assert (answer.status_code, answer.get_json()["type"]) == (422, "/problems/invalid-argument")
    assert [error["pointer"] for error in answer.get_json()["errors"]] == [f"#/{pointer}"]
    assert len(answer.data) < 2000
    assert store.commands.find(RUN_ID) == []


def test_a_preview_is_queued_once_under_its_key_and_can_be_taken_back(client: FlaskClient, store: Store) -> None:
    asked = [client.post("/previews", json={"clip": "a.mp4"}, headers={"Idempotency-Key": "one"}) for _ in range(2)]
    other = client.post("/previews", json={"clip": "b.mp4"}, headers={"Idempotency-Key": "one"})

    assert [answer.status_code for answer in (*asked, other)] == [202, 202, 422]
    (queued,) = store.commands.find(RUN_ID)
    assert queued.arguments == {"clip": "a.mp4", "frame": 0, "frames": 1}
    assert client.delete(f"/commands/{queued.id}").get_json()["state"] == "cancelled"
