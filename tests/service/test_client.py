"""The client against a real HTTP server."""

import hashlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from service import client as client_module
from service import connection as connection_module
from service.client import ApiError, Client, ServerUnreachableError, WaitTimeoutError
from service.errors import UserError
from tests.service.stand_in import Answer, StandIn, command, problem, serving

RECORD = b'{\n  "step_current": 500\n}\n'
ETAG = {"ETag": f'"{hashlib.sha256(RECORD).hexdigest()}"'}


@contextmanager
def slamming_server(react: Callable[[socket.socket], object]) -> Iterator[tuple[str, list[int]]]:
    """A server that lets `react` deal with each connection and then closes it; yields URL and the connections."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        connections: list[int] = []

        def serve() -> None:
            while True:
                try:
                    connection, address = listener.accept()
                except OSError:
                    return
                with connection:
                    connections.append(address[1])
                    connection.recv(4096)
                    react(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}", connections
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def test_state_is_the_object_that_the_server_sends(server: StandIn) -> None:
    server.on("GET", "/state", Answer({"run_state": "running", "step_live": 12}))

    with Client(server.url + "/") as client:
        assert client.state() == {"run_state": "running", "step_live": 12}


def test_submit_posts_once_and_says_who_asks(server: StandIn) -> None:
    server.on("POST", "/validate", Answer(command(), 202, {"Location": "/commands/c0ffee"}))

    with Client(server.url, actor="eva", source="cli") as client:
        assert client.submit("validate")["id"] == "c0ffee"

    (request,) = server.requests
    assert (request.method, request.body) == ("POST", b"")
    assert request.headers["X-Leitstand-Actor"] == "eva"
    assert request.headers["X-Leitstand-Source"] == "cli"


def test_an_actor_is_cut_to_what_the_server_takes(server: StandIn) -> None:
    server.on("POST", "/pause", Answer(command(), 202))

    with Client(server.url, actor="Jürgen\n" + "x" * 100) as client:
        client.submit("pause")

    assert server.requests[0].headers["X-Leitstand-Actor"] == ("J?rgen?" + "x" * 100)[:64]


def test_without_an_actor_and_token_neither_header_is_sent(server: StandIn) -> None:
    server.on("GET", "/state", Answer({}))

    with Client(server.url) as client:
        client.state()

    assert not {"X-Leitstand-Actor", "Authorization"} & server.requests[0].headers.keys()
    assert server.requests[0].headers["X-Leitstand-Source"] == "api"


def test_the_token_is_sent_and_a_netrc_file_does_not_replace_it(
    server: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine localhost login somebody password else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    server.on("GET", "/state", Answer({}))

    with Client(server.url.replace("127.0.0.1", "localhost"), "secret") as client:
        client.state()

    assert server.requests[0].headers["Authorization"] == "Bearer secret"


def test_a_token_that_http_cannot_carry_is_refused_without_being_shown() -> None:
    with pytest.raises(UserError, match="characters that HTTP cannot carry") as refused:
        Client(token="geheim\n")

    assert "geheim" not in str(refused.value)


def test_a_proxy_is_not_asked_for_this_machine(server: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    server.on("GET", "/state", Answer({"run_id": "run-1"}))

    with Client(server.url) as client:
        assert client.state()["run_id"] == "run-1"


@pytest.mark.parametrize("url", ["", "127.0.0.1:5050", "ftp://host", "http://", "http://host:port", "http://[::1"])
def test_an_address_that_is_none_is_refused_with_an_example(url: str) -> None:
    with pytest.raises(UserError, match=r"must look like http://127\.0\.0\.1:5050"):
        Client(url)


@pytest.mark.parametrize(
    ("status", "exit_code"), [(400, 2), (401, 2), (404, 2), (409, 1), (422, 2), (500, 1), (503, 3), (599, 1)]
)
def test_a_refusal_carries_the_servers_sentence_status_and_exit_code(
    server: StandIn, status: int, exit_code: int
) -> None:
    server.on("POST", "/stop", problem(status, "The run has ended (finished)."))

    with Client(server.url) as client, pytest.raises(ApiError, match=r"^The run has ended \(finished\)\.$") as refused:
        client.submit("stop")

    assert (refused.value.status, refused.value.exit_code) == (status, exit_code)


def test_a_refusal_without_detail_gives_its_title(server: StandIn) -> None:
    server.on("GET", "/state", Answer({"title": "Not now"}, 503))

    with Client(server.url) as client, pytest.raises(ApiError, match=r"^Not now$"):
        client.state()


@pytest.mark.parametrize(
    "answer",
    [
        Answer(b"<html>gateway</html>", 502, {"Content-Type": "text/html"}),
        Answer(["no", "problem"], 502),
        Answer({"detail": 5}, 502),
    ],
)
def test_a_refusal_by_something_else_names_the_address(server: StandIn, answer: Answer) -> None:
    server.on("GET", "/state", answer)

    with Client(server.url) as client, pytest.raises(ApiError, match=r"answered 502 Bad Gateway; check") as refused:
        client.state()

    assert server.url in str(refused.value)


@pytest.mark.parametrize("body", [b"hello", [1, 2], None])
def test_an_answer_that_is_no_object_is_an_error(server: StandIn, body: object) -> None:
    server.on("GET", "/state", Answer(body))

    with Client(server.url) as client, pytest.raises(ApiError, match="does not answer as Leitstand's API does"):
        client.state()


def test_a_redirect_is_not_followed(server: StandIn) -> None:
    server.on("POST", "/validate", Answer({}, 302, {"Location": "/elsewhere"}))

    with Client(server.url) as client, pytest.raises(ApiError, match="answered 302 Found"):
        client.submit("validate")

    assert len(server.requests) == 1


def test_an_unreachable_server_is_one_sentence_with_the_address() -> None:
    url = f"http://127.0.0.1:{free_port()}"

    with Client(url) as client, pytest.raises(ServerUnreachableError, match="leitstand up") as unreachable:
        client.state()

    assert url in str(unreachable.value)
    assert unreachable.value.exit_code == 3


@pytest.mark.parametrize(("ask", "attempts"), [("state", 3), ("submit", 1)])
def test_only_a_get_is_tried_again_when_the_connection_breaks(ask: str, attempts: int) -> None:
    with (
        slamming_server(lambda _: None) as (url, connections),
        Client(url) as client,
        pytest.raises(ServerUnreachableError),
    ):
        client.state() if ask == "state" else client.submit("validate")

    assert len(connections) == attempts


def test_a_get_succeeds_at_the_second_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([b"", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"])

    with (
        slamming_server(lambda connection: connection.sendall(next(answers))) as (url, connections),
        Client(url) as client,
    ):
        assert client.state() == {}

    assert len(connections) == 2


def test_an_answer_that_breaks_off_is_tried_again() -> None:
    short = b"HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\n{"

    with (
        slamming_server(lambda connection: connection.sendall(short)) as (url, connections),
        Client(url) as client,
        pytest.raises(ServerUnreachableError),
    ):
        client.state()

    assert len(connections) == 3


@pytest.mark.parametrize(
    ("ask", "sentence"), [("state", r"within 0\.1 s; look"), ("submit", "may or may not have taken the command; look")]
)
def test_a_server_that_hangs_is_given_up_after_the_timeout(
    ask: str, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_module, "GET_PAUSES_SECONDS", (0.0,))
    released = threading.Event()

    with slamming_server(lambda _: released.wait(20)) as (url, _), Client(url, timeout_seconds=0.1) as client:
        try:
            with pytest.raises(ServerUnreachableError, match=sentence):
                client.state() if ask == "state" else client.submit("validate")
        finally:
            released.set()


def test_wait_returns_the_command_once_it_is_final(server: StandIn) -> None:
    done = command("done", step=12, result={"record": "Statistik_12.json"})
    server.on("GET", "/commands/c0ffee", Answer(command()), Answer(command("running")), Answer(done))

    with Client(server.url) as client:
        assert client.wait("c0ffee", timeout_seconds=20) == done

    assert len(server.requests) == 3


def test_wait_takes_an_unknown_state_for_final(server: StandIn) -> None:
    server.on("GET", "/commands/c0ffee", Answer(command("postponed")))

    with Client(server.url) as client:
        assert client.wait("c0ffee", timeout_seconds=20)["state"] == "postponed"


def test_wait_gives_up_in_time_and_says_that_the_command_goes_on(server: StandIn) -> None:
    server.on("GET", "/commands/c0ffee", Answer(command("running")))

    with Client(server.url) as client, pytest.raises(WaitTimeoutError, match=r"within 0\.2 s; it goes on") as late:
        client.wait("c0ffee", timeout_seconds=0.2)

    assert late.value.exit_code == 124


def test_wait_survives_a_restart_of_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "GET_PAUSES_SECONDS", (0.0,))
    monkeypatch.setattr(client_module, "POLL_SECONDS", (0.02, 0.05))
    first, second = StandIn(), StandIn()
    first.on("GET", "/commands/c0ffee", Answer(command("running")))
    second.on("GET", "/commands/c0ffee", Answer(command("done")))
    results: list[str] = []
    with serving(first) as url:
        waiting = threading.Thread(target=lambda: results.append(Client(url).wait("c0ffee", 30)["state"]))
        waiting.start()
        deadline = time.monotonic() + 20
        while not first.requests and time.monotonic() < deadline:
            time.sleep(0.01)
    with serving(second, int(url.rpartition(":")[2])):
        waiting.join(20)

    assert results == ["done"]


def test_wait_does_not_wait_for_a_server_that_stays_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "GET_PAUSES_SECONDS", (0.0,))
    monkeypatch.setattr(client_module, "ABSENCE_SECONDS", 0.1)

    with Client(f"http://127.0.0.1:{free_port()}") as client, pytest.raises(ServerUnreachableError):
        client.wait("c0ffee", timeout_seconds=30)


def test_ids_and_names_cannot_leave_their_route(server: StandIn) -> None:
    with Client(server.url) as client, pytest.raises(ApiError):
        client.command("../state?x=1")

    assert server.requests[0].target == "/commands/..%2Fstate%3Fx%3D1"


def test_statistics_is_the_list_that_the_server_sends(server: StandIn) -> None:
    server.on("GET", "/statistics", Answer({"records": [], "unreadable": [], "count": 0}))

    with Client(server.url) as client:
        assert client.statistics()["count"] == 0


def test_series_asks_for_names_and_steps(server: StandIn) -> None:
    server.on("GET", "/series", Answer({"names": ["a"]}))

    with Client(server.url) as client:
        assert client.series(["total_loss_value", "psnr_ki_db"], 10, 20)["names"] == ["a"]
        client.series()

    targets = [request.target for request in server.requests]
    assert targets == ["/series?names=total_loss_value%2Cpsnr_ki_db&from=10&to=20", "/series"]


@pytest.mark.parametrize(
    ("name", "headers"),
    [
        ("Statistik_500.json", {}),
        ("latest", {"Content-Disposition": "attachment; filename=Statistik_500.json"}),
        ("latest", {"Content-Disposition": 'attachment; filename="Statistik_500.json"; size=5'}),
    ],
)
def test_download_saves_the_bytes_under_the_records_name(
    server: StandIn, tmp_path: Path, name: str, headers: dict[str, str]
) -> None:
    server.on("GET", f"/statistics/{name}", Answer(RECORD, headers={**ETAG, **headers}))

    with Client(server.url) as client:
        path = client.download(name, tmp_path / "new" / "folder")

    assert path == tmp_path / "new" / "folder" / "Statistik_500.json"
    assert path.read_bytes() == RECORD


@pytest.mark.parametrize("offered", ["", "attachment; filename=../../evil.sh", "attachment; filename=notes.txt"])
def test_download_never_saves_under_a_name_that_is_no_records(server: StandIn, tmp_path: Path, offered: str) -> None:
    server.on("GET", "/statistics/latest", Answer(RECORD, headers={**ETAG, "Content-Disposition": offered}))

    with Client(server.url) as client, pytest.raises(ApiError, match="no name of a record"):
        client.download("latest", tmp_path)

    assert list(tmp_path.iterdir()) == []


def test_download_of_damaged_bytes_leaves_no_file(server: StandIn, tmp_path: Path) -> None:
    server.on("GET", "/statistics/Statistik_500.json", Answer(RECORD[:-1], headers=ETAG))

    with Client(server.url) as client, pytest.raises(ApiError, match="arrived damaged"):
        client.download("Statistik_500.json", tmp_path)

    assert list(tmp_path.iterdir()) == []


def test_conditions_are_sent_only_where_they_are_given(server: StandIn) -> None:
    server.on("POST", "/rollback", Answer(command(kind="rollback"), 202))

    with Client(server.url) as client:
        client.submit("rollback", {"checkpoint": "best"}, apply_at_step=500, expires_in=2.5)
        client.submit("rollback")

    conditional, plain = server.requests
    assert conditional.target == "/rollback?apply_at_step=500&expires_in=2.5"
    assert json.loads(conditional.body) == {"checkpoint": "best"}
    assert conditional.headers["Content-Type"] == "application/json"
    assert (plain.target, plain.body) == ("/rollback", b"")


def test_a_dry_run_returns_what_would_be_queued(server: StandIn) -> None:
    server.on("POST", "/stop", Answer({"accepted": True, "kind": "stop", "step": 12}))

    with Client(server.url) as client:
        assert client.submit("stop", dry_run=True)["accepted"] is True

    assert server.requests[0].target == "/stop?dry_run=true"


@pytest.mark.parametrize("ask", ["submit", "change_settings"])
def test_settings_are_changed_by_patch(server: StandIn, ask: str) -> None:
    server.on("PATCH", "/settings", Answer(command(kind="set"), 202))

    with Client(server.url) as client:
        changes = {"LR_SCALE": 0.5, "L1_WEIGHT": None}
        answer = client.submit("set", changes) if ask == "submit" else client.change_settings(changes)

    assert answer["kind"] == "set"
    assert json.loads(server.requests[0].body) == {"LR_SCALE": 0.5, "L1_WEIGHT": None}


def test_settings_are_what_the_server_sends(server: StandIn) -> None:
    server.on("GET", "/settings", Answer({"changes": {"LR_SCALE": 0.5}}))

    with Client(server.url) as client:
        assert client.settings()["changes"] == {"LR_SCALE": 0.5}


def test_a_command_is_cancelled_by_delete(server: StandIn) -> None:
    server.on("DELETE", "/commands/c0ffee", Answer(command("cancelled")))

    with Client(server.url) as client:
        assert client.cancel("c0ffee")["state"] == "cancelled"
        with pytest.raises(ApiError):
            client.cancel("../state")

    assert server.requests[1].target == "/commands/..%2Fstate"


@pytest.mark.parametrize("ask", ["change_settings", "cancel"])
def test_neither_a_change_nor_a_cancellation_is_sent_twice(ask: str) -> None:
    with (
        slamming_server(lambda _: None) as (url, connections),
        Client(url) as client,
        pytest.raises(ServerUnreachableError),
    ):
        client.change_settings({"LR_SCALE": 1}) if ask == "change_settings" else client.cancel("c0ffee")

    assert len(connections) == 1
