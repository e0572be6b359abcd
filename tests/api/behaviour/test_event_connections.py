"""Event streams over real connections to a real server: many, slow, vanishing, and at its end."""

import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import psutil
import pytest
import requests

from api.commands.wait import MAX_WAITING
from api.events.stream import ENDS, HEARTBEAT_SECONDS
from service.client.client import Client
from service.commands import CommandState
from service.store.store import Store
from tests.api.conftest import keep_alive
from tests.api.harness.example_run import RUN_ID
from tests.api.harness.following import following
from tests.api.harness.serving import Server, Serving

Eventually = Callable[..., None]
STREAMS = 32


@pytest.fixture
def store(store: Store) -> Store:
    """A run whose trainer seems to live for ever, and writes nothing by itself."""
    keep_alive(store)
    return store


@pytest.fixture
def server(serving: Serving, root: Path, store: Store) -> Iterator[Server]:
    with serving(root) as server:
        yield server


def test_a_stream_is_taken_up_after_a_restart_of_the_server(
    serving: Serving, root: Path, store: Store, eventually: Eventually
) -> None:
    with serving(root) as server, following(server.url, eventually) as before:
        before.await_kind("state")
    store.events.add(RUN_ID, 4300, "paused", {})
    with serving(root) as server, following(server.url, eventually, Last_Event_ID=before.last_id) as after:
        assert after.await_kind("event")["kind"] == "paused"


def test_a_server_whose_master_is_killed_ends_though_a_stream_is_open(
    serving: Serving, root: Path, store: Store, eventually: Eventually
) -> None:
    with serving(root) as server, following(server.url, eventually) as follower:
        follower.await_kind("state")
        (worker,) = psutil.Process(server.process.pid).children()
        server.process.kill()

        eventually(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE, what="the server's end")


def test_with_all_streams_taken_the_next_is_refused_and_the_server_lives(
    server: Server, store: Store, eventually: Eventually
) -> None:
    with ExitStack() as streams, ThreadPoolExecutor(MAX_WAITING) as pool:
        for _ in range(STREAMS):
            streams.enter_context(following(server.url, eventually)).await_kind("state")
        waiting = [pool.submit(requests.post, f"{server.url}/validate?wait=50", timeout=60) for _ in range(MAX_WAITING)]
        queued = partial(store.commands.find, RUN_ID, CommandState.QUEUED)
        eventually(lambda: len(queued()) == MAX_WAITING, seconds=45, what="all wait")
        refused = requests.get(f"{server.url}/events", timeout=20)
        alive = requests.get(f"{server.url}/livez", timeout=20)
        taken = open_streams(server)
        store.commands.reject_queued(RUN_ID, "enough")

        assert (refused.status_code, refused.json()["type"]) == (503, "/problems/too-many-streams")
        assert refused.headers["Retry-After"] == "5"
        assert alive.status_code == 200
        assert taken == STREAMS
        assert {answer.result().status_code for answer in waiting} == {200}

    eventually(lambda: open_streams(server) == 0, what="all places are free")


def test_who_vanishes_gives_the_place_back_before_the_next_heartbeat(
    serving: Serving, root: Path, store: Store, eventually: Eventually
) -> None:
    with serving(root, API_STREAMS="1") as server:
        for _ in range(3):
            with following(server.url, eventually) as follower:
                follower.await_kind("state")
                assert open_streams(server) == 1
            eventually(lambda: open_streams(server) == 0, seconds=HEARTBEAT_SECONDS - 2, what="the place is free")


def open_streams(server: Server) -> float:
    text = requests.get(f"{server.url}/metrics", timeout=20).text
    (line,) = [line for line in text.splitlines() if line.startswith("leitstand_api_event_streams ")]
    return float(line.split()[1])


def test_a_client_that_does_not_read_slows_nobody(store: Store, server: Server, eventually: Eventually) -> None:
    address = ("127.0.0.1", server.port)
    with socket.create_connection(address) as lazy, following(server.url, eventually) as follower:
        lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        lazy.sendall(b"GET /events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        follower.await_kind("state")
        for number in range(40):
            store.events.add(RUN_ID, number, "set", {"text": "x" * 100_000})
        follower.await_kind("event", 40)

        assert b"200 OK" in lazy.recv(100)


def test_streams_end_with_the_server_and_say_so(
    serving: Serving, root: Path, store: Store, eventually: Eventually
) -> None:
    with serving(root) as server, ExitStack() as streams:
        followers = [streams.enter_context(following(server.url, eventually)) for _ in range(8)]
        for follower in followers:
            follower.await_kind("state")
        server.process.terminate()
        eventually(lambda: all(follower.has_ended for follower in followers), what="the end of all streams")
        eventually(lambda: server.process.poll() is not None, what="the end of the server")

        assert [follower.comments for follower in followers] == [[ENDS]] * 8
        assert server.process.returncode == 0


def test_a_run_in_a_shared_store_is_followed(
    serving: Serving, store_url: str, tmp_path: Path, eventually: Eventually
) -> None:
    shared = Store(store_url, create=True)
    shared.open_run("far", {})
    shared.open_run("farther", {})
    with serving(tmp_path, STORE_URL=store_url) as server, following(f"{server.url}/runs/far", eventually) as follower:
        assert follower.await_kind("state")["run_id"] == "far"
        shared.events.add("farther", 1, "paused", {})
        shared.events.add("far", 1, "resumed", {})
        assert follower.await_kind("event")["kind"] == "resumed"
    shared.close()


def test_our_client_misses_nothing_while_the_server_is_killed_and_started_again(
    serving: Serving, root: Path, store: Store
) -> None:
    with serving(root) as server:
        found = Client(server.url).events(["event"], last_event_id=f"6-4201-{RUN_ID}")
        store.events.add(RUN_ID, 1, "paused", {})
        assert next(found).data["kind"] == "paused"
        master = psutil.Process(server.process.pid)
        for process in [master, *master.children()]:
            process.kill()
        store.events.add(RUN_ID, 2, "resumed", {})
    with serving(root, at_port=server.port):
        assert next(found).data["kind"] == "resumed"
        store.events.add(RUN_ID, 3, "set", {})
        assert next(found).data["kind"] == "set"
