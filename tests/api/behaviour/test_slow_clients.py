"""Clients that are slow, silent or only half there, under a real gunicorn: they take no thread and stop nobody."""

import re
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
from flask.testing import FlaskClient

from api.commands.wait import MAX_WAITING
from api.server import worker
from api.server.request_buffer import MAX_BODY_BYTES
from service.config.settings import RunConfig
from tests.api.harness.serving import Server, Serving

Eventually = Callable[..., None]

HALF_HEAD = b"GET /state HTTP/1.1\r\nHost: 127.0.0.1\r\n"
HALF_BODY = b"POST /validate?dry_run=1 HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 2\r\n"
HALF_BODY += b"Content-Type: application/json\r\n\r\n{"
HALF_CHUNK = b"POST /validate?dry_run=1 HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n"
HALF_CHUNK += b"Content-Type: application/json\r\n\r\n0000000006\r\n\r\n"
"""What a careless look takes for the end: the chunk's size begins with zeros, its content with an empty line."""


@contextmanager
def connected(server: Server, count: int) -> Iterator[list[socket.socket]]:
    """So many open connections."""
    connections = [socket.create_connection(("127.0.0.1", server.port), timeout=20) for _ in range(count)]
    try:
        yield connections
    finally:
        for connection in connections:
            connection.close()


def answer_on(connection: socket.socket) -> bytes:
    """What comes until the server closes its side."""
    pieces = []
    while piece := connection.recv(65536):
        pieces.append(piece)
    return b"".join(pieces)


def start_of_answer(connection: socket.socket) -> bytes:
    return connection.recv(65536)[:12]


def is_alive(server: Server) -> bool:
    return requests.get(f"{server.url}/livez", timeout=20).status_code == 200


def threads_of(server: Server) -> int:
    """How many threads the worker has; its pool makes one more whenever all are taken."""
    worker = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()[0]
    return len(list(Path(f"/proc/{worker}/task").iterdir()))


@pytest.fixture(scope="module")
def fresh_server(serving: Serving, served_root: Path) -> Iterator[Server]:
    """A server whose pool has made no threads yet, and that does not count requests."""
    with serving(served_root, API_COMMANDS_PER_MINUTE="1000000") as server:
        yield server


@pytest.mark.parametrize(
    ("half", "rest"),
    [
        (HALF_HEAD, b"\r\n"),
        (HALF_BODY, b"}"),
        (b"", HALF_HEAD + b"\r\n"),
        (HALF_CHUNK, b"{}\r\n\r\n0\r\n\r\n"),
    ],
)
def test_a_hundred_half_requests_take_no_threads_and_are_answered_once_whole(
    fresh_server: Server, half: bytes, rest: bytes
) -> None:
    before = threads_of(fresh_server)
    with connected(fresh_server, 100) as slow:
        for connection in slow:
            connection.sendall(half)

        assert is_alive(fresh_server)
        assert requests.get(f"{fresh_server.url}/state", timeout=20).status_code == 200
        assert threads_of(fresh_server) < before + 10

        for connection in slow:
            connection.sendall(rest)
        assert {start_of_answer(connection) for connection in slow} == {b"HTTP/1.1 200"}


def test_with_every_stream_and_every_wait_taken_others_are_answered(serving: Serving, served_root: Path) -> None:
    streams = RunConfig().api_streams
    with serving(served_root) as server, connected(server, streams + MAX_WAITING) as taken:
        for connection in taken[:streams]:
            connection.sendall(b"GET /events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert {start_of_answer(connection) for connection in taken[:streams]} == {b"HTTP/1.1 200"}
        for connection in taken[streams:]:
            connection.sendall(b"POST /checkpoint?wait=60 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")

        assert requests.get(f"{server.url}/events", timeout=20).status_code == 503
        assert is_alive(server)
        assert requests.get(f"{server.url}/state", timeout=20).status_code == 200
        assert requests.post(f"{server.url}/validate", timeout=20).status_code == 202


def test_of_too_many_half_requests_the_oldest_are_dropped(fresh_server: Server) -> None:
    with connected(fresh_server, worker.MAX_ARRIVING + 50) as slow:
        for connection in slow:
            connection.sendall(HALF_HEAD)

        assert is_alive(fresh_server)
        assert slow[0].recv(1) == b""
        slow[-1].sendall(b"\r\n")
        assert start_of_answer(slow[-1]) == b"HTTP/1.1 200"


def test_clients_that_never_close_their_side_hold_nobody_up(fresh_server: Server) -> None:
    with connected(fresh_server, 40) as open_ended:
        for connection in open_ended:
            connection.sendall(b"GET /livez HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")

        assert {answer_on(connection)[:12] for connection in open_ended} == {b"HTTP/1.0 200"}
        assert is_alive(fresh_server)


def test_a_client_that_closed_its_sending_side_is_answered(fresh_server: Server) -> None:
    with connected(fresh_server, 1) as (connection,):
        connection.sendall(HALF_HEAD + b"\r\n")
        connection.shutdown(socket.SHUT_WR)

        assert answer_on(connection).startswith(b"HTTP/1.1 200")


def test_a_client_that_leaves_in_the_middle_is_forgotten(fresh_server: Server) -> None:
    with connected(fresh_server, 20) as leaving:
        for connection in leaving:
            connection.sendall(HALF_BODY)
            connection.shutdown(socket.SHUT_WR)
        assert {answer_on(connection) for connection in leaving} == {b""}

    assert is_alive(fresh_server)


def test_requests_sent_at_once_are_answered_in_their_order(fresh_server: Server) -> None:
    pair = HALF_HEAD + b"\r\n" + b"GET /no-such HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    with connected(fresh_server, 1) as (connection,):
        connection.sendall(pair)
        first, _, second = answer_on(connection).partition(b"HTTP/1.1 404")

    assert first.startswith(b"HTTP/1.1 200")
    assert b"/problems/not-found" in second


def test_a_body_in_chunks_arrives_piece_by_piece(fresh_server: Server) -> None:
    answer = requests.post(
        f"{fresh_server.url}/validate?dry_run=1",
        data=iter([b"{", b" ", b"}"]),
        headers={"Content-Type": "application/json"},
        timeout=20,
    )

    assert answer.status_code == 200


def test_a_client_is_told_to_go_on_when_it_waits_for_that(fresh_server: Server) -> None:
    head = HALF_BODY[:-3].replace(b"Length: 2", b"Length: 2\r\nConnection: close\r\nExpect: 100-continue")
    with connected(fresh_server, 1) as (connection,):
        connection.sendall(head + b"\r\n")
        assert connection.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"

        connection.sendall(b"{}")
        assert b"HTTP/1.1 200" in answer_on(connection)


def test_a_body_that_is_too_large_is_refused_while_it_is_still_sent(fresh_server: Server) -> None:
    answer = requests.post(f"{fresh_server.url}/validate", data=b"x" * (4 * MAX_BODY_BYTES), timeout=20)

    assert (answer.status_code, answer.json()["type"]) == (413, "/problems/body-too-large")
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_a_head_that_is_too_large_is_refused(fresh_server: Server) -> None:
    with connected(fresh_server, 1) as (connection,):
        connection.sendall(HALF_HEAD + b"X-Long: " + b"a" * 70_000)

        assert answer_on(connection).startswith(b"HTTP/1.1 431")


@pytest.mark.parametrize(
    "fields",
    [
        b"".join(b"X-%d: %s\r\n" % (number, b"a" * 8000) for number in range(12)),  # 96 KB
        b"".join(b"X-%d: 1\r\n" % number for number in range(9000)),
        b"X-Long: a\r\n" + b" a\r\n" * 30_000,
    ],
)
@pytest.mark.parametrize("is_second", [False, True])
def test_a_head_that_is_too_large_is_refused_though_all_of_it_is_there(
    fresh_server: Server, fields: bytes, is_second: bool
) -> None:
    first = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n" if is_second else b""
    with connected(fresh_server, 1) as (connection,):
        connection.sendall(first + b"GET /livez HTTP/1.1\r\nHost: localhost\r\n" + fields + b"\r\n")

        statuses = re.findall(rb"HTTP/1.1 (\d+)", answer_on(connection))

    assert statuses == ([b"200", b"431"] if is_second else [b"431"])


def test_a_request_that_never_ends_is_refused_in_time(serving: Serving, served_root: Path, tmp_path: Path) -> None:
    config = tmp_path / "hurried.py"
    config.write_text(
        "from api.server import worker\n"
        "worker.REQUEST_SECONDS = 0.2\n"
        "from api.server.gunicorn_config import *\n"
    )  # fmt: skip

    with serving(served_root, config=str(config)) as server, connected(server, 2) as (begun, silent):
        begun.sendall(HALF_HEAD)

        assert b"/problems/request-timeout" in answer_on(begun)
        assert answer_on(silent) == b""
        assert is_alive(server)


def test_a_client_that_does_not_take_its_answer_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "STALL_SECONDS", 1)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        sock, _ = listener.accept()
        with client, sock:
            worker.set_socket_timeouts(sock)
            sock.setblocking(True)

            with pytest.raises((BlockingIOError, TimeoutError)):
                sock.sendall(b"x" * 50_000_000)


@pytest.mark.parametrize("path", ["/openapi.json", "/docs", "/"])
def test_an_answer_that_needs_no_token_is_taken_off_its_thread_at_once(client: FlaskClient, path: str) -> None:
    answer = client.get(path).data
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as slow:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16_384)  # as a network has it, not loopback
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.connect(listener.getsockname())
        sock, _ = listener.accept()
        with sock:
            worker.set_socket_timeouts(sock)
            sock.setblocking(False)

            assert sock.send(answer) == len(answer)


def test_a_server_that_is_to_stop_does_not_wait_for_half_requests(
    serving: Serving, served_root: Path, eventually: Eventually
) -> None:
    with serving(served_root) as server, connected(server, 20) as silent:
        assert is_alive(server)
        server.process.terminate()

        assert {answer_on(connection) for connection in silent} == {b""}
        eventually(lambda: server.process.poll() is not None, what="the end of the server")
