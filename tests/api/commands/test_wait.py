"""`?wait`: an answer once the command has ended."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests
from flask.testing import FlaskClient

from api.commands import wait
from service.commands import CommandState, Kind
from service.store.store import Store
from tests.api.harness.example_run import RUN_ID
from tests.api.harness.serving import Server
from tests.service.harness.locked import locked

Eventually = Callable[..., None]


@contextmanager
def asking(server: Server, query: str, count: int = 1) -> Iterator[list[Any]]:
    """So many POST /validate at once; their futures, all answered at the end."""
    with ThreadPoolExecutor(count) as pool:
        url = f"{server.url}/validate?{query}"
        yield [pool.submit(requests.post, url, timeout=60) for _ in range(count)]


@pytest.fixture
def served_store(served_root: Path) -> Iterator[Store]:
    """The store behind the real server, without commands that wait."""
    store = Store(served_root / "leitstand.db")
    store.commands.reject_queued(RUN_ID, "another test left it")
    yield store
    store.commands.reject_queued(RUN_ID, "the test is over")


def queued(store: Store) -> list[str]:
    return [command.id for command in store.commands.find(RUN_ID, CommandState.QUEUED)]


@pytest.mark.parametrize("end", [CommandState.DONE, CommandState.FAILED, CommandState.CANCELLED])
def test_the_answer_comes_with_the_ended_command(
    server: Server, served_store: Store, eventually: Eventually, end: CommandState
) -> None:
    with asking(server, "wait=50") as (answer,):
        eventually(lambda: queued(served_store), what="the command is queued")
        (command_id,) = queued(served_store)
        assert not answer.done()
        served_store.commands.finish(command_id, end, step=4300, reason="because")

    reply = answer.result()
    assert reply.status_code == 200
    assert reply.headers["Location"] == f"/commands/{command_id}"
    assert "Retry-After" not in reply.headers
    assert (reply.json()["state"], reply.json()["step"], reply.json()["reason"]) == (end, 4300, "because")


def test_a_command_that_takes_longer_is_answered_as_it_stands(server: Server, served_store: Store) -> None:
    reply = requests.post(f"{server.url}/validate?wait=0.1", timeout=30)

    assert (reply.status_code, reply.json()["state"]) == (202, "queued")
    assert reply.headers["Retry-After"] == "1"
    assert queued(served_store) == [reply.json()["id"]]


def test_who_waits_holds_neither_a_connection_nor_a_lock(
    server: Server, served_store: Store, served_root: Path, eventually: Eventually
) -> None:
    def open_stores() -> list[str]:
        processes = [psutil.Process(server.process.pid), *psutil.Process(server.process.pid).children()]
        return [file.path for process in processes for file in process.open_files() if "leitstand.db" in file.path]

    with asking(server, "wait=50") as (answer,):
        eventually(lambda: queued(served_store), what="the command is queued")
        eventually(lambda: not open_stores(), what="the store is closed while the request waits")
        with locked(served_root / "leitstand.db"):
            assert not answer.done()
        served_store.commands.finish(queued(served_store)[0], CommandState.DONE)

    assert answer.result().json()["state"] == "done"


def test_with_all_places_taken_the_next_is_answered_at_once_and_the_server_lives(
    server: Server, served_store: Store, eventually: Eventually
) -> None:
    with asking(server, "wait=50", wait.MAX_WAITING) as answers:
        eventually(lambda: len(queued(served_store)) == wait.MAX_WAITING, what="all commands are queued")
        eventually(lambda: _is_answered_at_once(server, served_store), what="a request without a place is answered")
        assert requests.get(f"{server.url}/livez", timeout=20).status_code == 200
        served_store.commands.reject_queued(RUN_ID, "enough")

    assert {answer.result().json()["state"] for answer in answers} == {"rejected"}


@pytest.mark.parametrize("has_gone", [True, False])
def test_who_hangs_up_while_waiting_frees_the_place_at_once(
    server: Server, served_store: Store, eventually: Eventually, has_gone: bool
) -> None:
    with ExitStack() as opened:
        hanging = [opened.enter_context(_ask_raw(server.port)) for _ in range(wait.MAX_WAITING)]
        eventually(lambda: len(queued(served_store)) == wait.MAX_WAITING, what="all commands are queued")
        eventually(lambda: _is_answered_at_once(server, served_store), what="all places are taken")
        for connection in [] if has_gone else hanging:
            connection.shutdown(socket.SHUT_WR)
            # Who has only closed the sending half is answered how things stand.
            assert connection.recv(65536).startswith(b"HTTP/1.1 202 ")

    eventually(lambda: not _is_answered_at_once(server, served_store), what="a place is free")
    count = len(queued(served_store))
    with asking(server, "wait=50") as (answer,):
        eventually(lambda: len(queued(served_store)) > count, what="the command is queued")
        assert not answer.done()
        served_store.commands.finish(queued(served_store)[-1], CommandState.DONE)

    assert answer.result().json()["state"] == "done"


def _ask_raw(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=20)
    connection.sendall(b"POST /validate?wait=60 HTTP/1.1\r\nHost: localhost\r\n\r\n")
    return connection


def _is_answered_at_once(server: Server, store: Store) -> bool:
    """Whether the server says 202 to one more that would wait two seconds; a place may not be taken yet."""
    before = time.monotonic()
    reply = requests.post(f"{server.url}/pause?wait=2", timeout=20)
    assert reply.status_code == 202
    return time.monotonic() - before < 2


def test_places_are_given_back(client: FlaskClient, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wait, "_wait_slots", threading.BoundedSemaphore(1))

    for _ in range(3):
        client.post("/validate?wait=0.01")

    assert wait._wait_slots.acquire(blocking=False)


def test_a_store_that_cannot_be_read_meanwhile_is_asked_again(store: Store, root: Path) -> None:
    command = store.commands.submit(RUN_ID, Kind.PAUSE, {}, actor="eva", source="api")
    store.commands.finish(command.id, CommandState.DONE)
    path = root / "leitstand.db"
    path.rename(root / "elsewhere.db")

    away = wait.wait_until_final(store, command, 0.1)
    (root / "elsewhere.db").rename(path)

    assert away.state is CommandState.QUEUED
    assert wait.wait_until_final(store, command, 20).state is CommandState.DONE


def test_a_command_that_a_fresh_start_archived_is_answered_as_it_stood(store: Store) -> None:
    command = store.commands.submit("another-run", Kind.PAUSE, {}, actor="eva", source="api")
    with store.transaction() as connection:
        connection.exec_driver_sql("DELETE FROM commands")

    assert wait.wait_until_final(store, command, 0.1) == command
