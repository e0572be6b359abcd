"""`Prefer` beside `?wait=`: what is wished, and what is said to have been applied."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from flask.testing import FlaskClient

from api.commands import wait
from service.commands import CommandState, Kind
from service.store.store import Store
from tests.api.harness.example_run import RUN_ID
from tests.api.harness.serving import Server


def prefer(client: FlaskClient, *wishes: str, path: str = "/validate") -> tuple[int, str | None]:
    answer = client.post(path, headers=[("Prefer", wish) for wish in wishes])
    return answer.status_code, answer.headers.get("Preference-Applied")


@pytest.mark.parametrize(
    ("wish", "applied"),
    [
        ("respond-async", "respond-async"),
        ("wait=0", "wait=0"),
        ("respond-async, wait=0", "wait=0, respond-async"),
        ("Wait = 0 ; why=now, RESPOND-ASYNC", "wait=0, respond-async"),
        ('wait="0", foo; bar="a"', "wait=0"),
        ("wait=0, wait=50", "wait=0"),
    ],
)
def test_wishes_that_are_granted_are_named(client: FlaskClient, store: Store, wish: str, applied: str) -> None:
    assert prefer(client, wish) == (202, applied)


@pytest.mark.parametrize(
    "wish", ["", "wait", "wait=", "wait=soon", "wait=-1", "wait=1e3", "wait=9" * 20, "return=minimal", ",;="]
)
def test_what_is_no_wish_that_is_known_is_ignored(client: FlaskClient, store: Store, wish: str) -> None:
    assert prefer(client, wish) == (202, None)


def test_wishes_of_several_headers_count_together(client: FlaskClient, store: Store) -> None:
    assert prefer(client, "respond-async", "wait=0") == (202, "wait=0, respond-async")


def test_the_answer_comes_with_the_ended_command_and_says_that_it_waited(
    server: Server, served_store: Store, eventually: Callable[..., None]
) -> None:
    with ThreadPoolExecutor(1) as pool:
        headers = {"Prefer": "wait=50, respond-async"}
        reply = pool.submit(requests.post, f"{server.url}/validate", headers=headers, timeout=60)
        eventually(lambda: served_store.commands.find(RUN_ID, CommandState.QUEUED), what="the command is queued")
        served_store.commands.finish(served_store.commands.find(RUN_ID, CommandState.QUEUED)[0].id, CommandState.DONE)
        answer = reply.result()

    assert (answer.status_code, answer.json()["state"]) == (200, "done")
    assert answer.headers["Preference-Applied"] == "wait=50"


def test_a_longer_wish_than_is_possible_is_granted_as_far_as_it_is(
    client: FlaskClient, store: Store, eventually: Callable[..., None]
) -> None:
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(prefer, client, "wait=3600")
        eventually(lambda: store.commands.find(RUN_ID), what="the command is queued")
        store.commands.finish(store.commands.find(RUN_ID)[0].id, CommandState.DONE)

    assert answer.result() == (200, "wait=60")


def test_the_parameter_counts_more_than_the_wish(client: FlaskClient, store: Store) -> None:
    assert prefer(client, "wait=50, respond-async", path="/validate?wait=0") == (202, "respond-async")


def test_without_a_place_to_wait_no_wait_is_claimed(
    client: FlaskClient, store: Store, eventually: Callable[..., None]
) -> None:
    command = store.commands.submit(RUN_ID, Kind.VALIDATE, {}, actor="eva", source="api")
    count = wait.MAX_WAITING + 1
    with ThreadPoolExecutor(count) as pool:
        others = [pool.submit(wait.wait_until_final, store, command, 60) for _ in range(count)]
        eventually(lambda: [other.done() for other in others].count(True) == 1, what="all places are taken")
        answer = prefer(client, "wait=50")
        store.commands.finish(command.id, CommandState.DONE)

    assert answer == (202, None)
