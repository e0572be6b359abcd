"""GET /event-log."""

from flask.testing import FlaskClient

from service.commands import CommandState, Kind
from service.store.store import Store
from tests.api.harness.example_run import RUN_ID


def kinds(client: FlaskClient, query: str = "") -> list[str]:
    answer = client.get(f"/event-log{query}")
    assert answer.status_code == 200, answer.get_json()
    return [entry["kind"] for entry in answer.get_json()["events"]]


def test_entries_come_newest_first_with_step_time_and_details(client: FlaskClient, store: Store) -> None:
    store.events.add(RUN_ID, 7, "set", {"LR_SCALE": 0.5})
    store.events.add(RUN_ID, 8, "rollback", {"checkpoint": "step_0000005"})

    newest, before, *_ = client.get("/event-log").get_json()["events"]

    assert (newest["kind"], newest["step"], newest["details"]) == ("rollback", 8, {"checkpoint": "step_0000005"})
    assert (before["kind"], before["step"], before["details"]) == ("set", 7, {"LR_SCALE": 0.5})
    assert newest["id"] > before["id"]
    assert newest["time"] >= before["time"] > 1.7e9


def test_a_command_is_shown_as_it_is_answered_by_itself_so_a_failed_one_says_why(
    client: FlaskClient, store: Store
) -> None:
    command = store.commands.submit(RUN_ID, Kind.CHECKPOINT, {}, actor="eva", source="api")
    store.commands.finish(command.id, CommandState.FAILED, step=9, reason="The disk is full.")

    failed, queued, *_ = client.get("/event-log?kinds=command").get_json()["events"]

    assert failed["details"] == client.get(f"/commands/{command.id}").get_json()
    assert failed["details"]["problem"]["type"] == "/problems/command-failed"
    assert (queued["details"]["state"], queued["details"]["problem"]) == ("queued", None)


def test_kinds_select_and_pages_continue_where_the_last_one_ended(client: FlaskClient, store: Store) -> None:
    for number in range(7):
        store.events.add(RUN_ID, number, "not finite" if number % 2 else "mode", {})

    assert kinds(client, "?kinds=not%20finite") == ["not finite"] * 3
    first = client.get("/event-log?kinds=mode,not%20finite&limit=4")
    store.events.add(RUN_ID, 9, "mode", {})
    link = first.headers["Link"].partition(">")[0].removeprefix("<")
    second = client.get(link)

    steps = [entry["step"] for page in (first, second) for entry in page.get_json()["events"]]
    assert steps == [6, 5, 4, 3, 2, 1, 0]
    assert second.get_json()["next_cursor"] is None
    assert "Link" not in second.headers


def test_entries_that_are_known_are_left_out(client: FlaskClient, store: Store) -> None:
    known = client.get("/event-log?limit=1").get_json()["events"][0]["id"]
    assert kinds(client, f"?after={known}") == []

    for number, kind in enumerate(("mode", "set", "mode")):
        store.events.add(RUN_ID, number, kind, {})

    assert kinds(client, f"?after={known}") == ["mode", "set", "mode"]
    assert kinds(client, f"?after={known}&kinds=set") == ["set"]
    page = client.get(f"/event-log?after={known}&limit=2").get_json()
    assert len(page["events"]) == 2
    assert kinds(client, f"?after={known}&cursor={page['next_cursor']}") == ["mode"]


def test_a_wrong_selection_is_refused(client: FlaskClient, store: Store) -> None:
    for query in ("kinds=", "kinds=%00", "kinds=A", "limit=0", "limit=1001", "cursor=nonsense", "after=-1", "after=x"):
        answer = client.get(f"/event-log?{query}")
        assert (answer.status_code, answer.get_json()["type"]) == (422, "/problems/invalid-argument"), query


def test_without_a_run_there_is_no_event_log(client: FlaskClient) -> None:
    assert client.get("/event-log").get_json()["type"] == "/problems/no-run"
