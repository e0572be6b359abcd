"""`?wait`: an answer once the command has ended."""

import json
import select
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from http.client import HTTPResponse
from pathlib import Path

import psutil
import pytest
import requests

from api.commands import wait
from service.commands import CommandState, Kind
from service.store.store import Store
from tests.api.conftest import on_both_databases
from tests.api.harness.example_run import RUN_ID
from tests.api.harness.serving import Server
from tests.service.harness.locked import locked

Eventually = Callable[..., None]


@contextmanager
def asking(server: Server, query: str) -> Iterator[Future[requests.Response]]:
    """A POST /validate in another thread; its future, answered at the end."""
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(requests.post, f"{server.url}/validate?{query}", timeout=60)


@contextmanager
def taking_all_places(server: Server, store: Store, eventually: Eventually) -> Iterator[list[socket.socket]]:
    """As many clients as there are places wait, and one more was answered at once; the connections of all.

    They come one after another: where so many write at once and the disk is slow, some find the store locked for
    longer than a request waits for it.
    """
    with ExitStack() as opened:
        clients: list[socket.socket] = []
        while len(clients) <= wait.MAX_WAITING:
            clients.append(opened.enter_context(_ask_raw(server.port)))
            eventually(lambda: len(queued(store)) == len(clients), what="the command is queued")
        eventually(lambda: len(select.select(clients, [], [], 0)[0]) == 1, what="the one without a place is answered")
        yield clients


def queued(store: Store) -> list[str]:
    return [command.id for command in store.commands.find(RUN_ID, CommandState.QUEUED)]


@pytest.mark.parametrize(
    ("store_address", "end"),
    [
        ("sqlite", CommandState.DONE),
        ("sqlite", CommandState.FAILED),
        ("sqlite", CommandState.CANCELLED),
        ("postgresql", CommandState.DONE),
    ],
    indirect=["store_address"],
)
def test_the_answer_comes_with_the_ended_command(
    served: Server, served_store: Store, eventually: Eventually, end: CommandState
) -> None:
    with asking(served, "wait=50") as answer:
        eventually(lambda: queued(served_store), what="the command is queued")
        (command_id,) = queued(served_store)
        assert not answer.done()
        served_store.commands.finish(command_id, end, step=4300, reason="because")

    reply = answer.result()
    assert reply.status_code == 200
    assert reply.headers["Location"] == f"/commands/{command_id}"
    assert "Retry-After" not in reply.headers
    assert (reply.json()["state"], reply.json()["step"], reply.json()["reason"]) == (end, 4300, "because")


@on_both_databases
def test_a_command_that_takes_longer_is_answered_as_it_stands(served: Server, served_store: Store) -> None:
    reply = requests.post(f"{served.url}/validate?wait=0.1", timeout=30)

    assert (reply.status_code, reply.json()["state"]) == (202, "queued")
    assert reply.headers["Retry-After"] == "1"
    assert queued(served_store) == [reply.json()["id"]]


def test_who_waits_holds_neither_a_connection_nor_a_lock(
    served: Server, served_store: Store, served_root: Path, eventually: Eventually
) -> None:
    def open_stores() -> list[str]:
        processes = [psutil.Process(served.process.pid), *psutil.Process(served.process.pid).children()]
        return [file.path for process in processes for file in process.open_files() if "leitstand.db" in file.path]

    with asking(served, "wait=50") as answer:
        eventually(lambda: queued(served_store), what="the command is queued")
        eventually(lambda: not open_stores(), what="the store is closed while the request waits")
        with locked(served_root / "leitstand.db"):
            assert not answer.done()
        served_store.commands.finish(queued(served_store)[0], CommandState.DONE)

    assert answer.result().json()["state"] == "done"


def test_with_all_places_taken_the_next_is_answered_at_once_and_the_server_lives(
    served: Server, served_store: Store, eventually: Eventually
) -> None:
    with taking_all_places(served, served_store, eventually) as clients:
        assert requests.get(f"{served.url}/livez", timeout=20).status_code == 200
        served_store.commands.reject_queued(RUN_ID, "enough")
        answers = sorted(_answer(client) for client in clients)

    assert answers == [*[(200, "rejected")] * wait.MAX_WAITING, (202, "queued")]


@pytest.mark.parametrize("has_gone", [True, False])
def test_who_hangs_up_while_waiting_frees_the_place_at_once(
    served: Server, served_store: Store, eventually: Eventually, has_gone: bool
) -> None:
    with taking_all_places(served, served_store, eventually) as clients:
        assert not _gets_a_place(served, served_store, eventually)
        for client in [] if has_gone else clients:
            client.shutdown(socket.SHUT_WR)
            # Who has only closed the sending half is answered how things stand.
            assert _answer(client) == (202, "queued")

    eventually(lambda: _gets_a_place(served, served_store, eventually), what="a place is free")


def _ask_raw(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=20)
    connection.sendall(b"POST /validate?wait=60 HTTP/1.1\r\nHost: localhost\r\n\r\n")
    return connection


def _answer(client: socket.socket) -> tuple[int, str]:
    """The status of the answer, and the state of the command in it."""
    response = HTTPResponse(client)
    response.begin()
    return response.status, json.load(response)["state"]


def _gets_a_place(server: Server, store: Store, eventually: Eventually) -> bool:
    """Whether one more waits for its command's end; without a place it is answered as things stand: 202."""
    before = {*queued(store)}
    with asking(server, "wait=50") as answer:
        eventually(lambda: {*queued(store)} - before, what="the command is queued")
        (command_id,) = {*queued(store)} - before
        store.commands.finish(command_id, CommandState.DONE)
    return answer.result().status_code == 200


def test_places_are_given_back(store: Store) -> None:
    command = store.commands.submit(RUN_ID, Kind.PAUSE, {}, actor="eva", source="api")

    waited = [wait.wait_until_final(store, command, 0.001) for _ in range(wait.MAX_WAITING + 1)]

    assert waited == [(command, True)] * (wait.MAX_WAITING + 1)


def test_a_store_that_cannot_be_read_meanwhile_is_asked_again(store: Store, root: Path) -> None:
    command = store.commands.submit(RUN_ID, Kind.PAUSE, {}, actor="eva", source="api")
    store.commands.finish(command.id, CommandState.DONE)
    path = root / "leitstand.db"
    path.rename(root / "elsewhere.db")

    away, _ = wait.wait_until_final(store, command, 0.1)
    (root / "elsewhere.db").rename(path)

    assert away.state is CommandState.QUEUED
    assert wait.wait_until_final(store, command, 20)[0].state is CommandState.DONE


def test_a_command_that_a_fresh_start_archived_is_answered_as_it_stood(store: Store) -> None:
    command = store.commands.submit("another-run", Kind.PAUSE, {}, actor="eva", source="api")
    with store.transaction() as connection:
        connection.exec_driver_sql("DELETE FROM commands")

    assert wait.wait_until_final(store, command, 0.1)[0] == command
