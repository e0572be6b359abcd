"""Waiting for a command's end: in the server, by looking again, over restarts of it."""

import json
import threading
import time
from collections.abc import Callable

import pytest

from service.client import client as client_module
from service.client import retry
from service.client.client import Client, ServerUnreachableError, WaitTimeoutError
from tests.service.harness.stand_in import Answer, StandIn, command, free_port, problem, serving, slamming_server

Eventually = Callable[..., None]


@pytest.fixture
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that stays away is waited for a moment only."""
    monkeypatch.setattr(client_module, "MAX_OUTAGE_SECONDS", 0.1)


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


def test_wait_survives_a_restart_of_the_server(monkeypatch: pytest.MonkeyPatch, eventually: Eventually) -> None:
    monkeypatch.setattr(client_module, "POLL_SECONDS", (0.02, 0.05))
    first, second = StandIn(), StandIn()
    first.on("GET", "/commands/c0ffee", Answer(command("running")))
    second.on("GET", "/commands/c0ffee", Answer(command("done")))
    results: list[str] = []
    with serving(first) as url:
        waiting = threading.Thread(target=lambda: results.append(Client(url).wait("c0ffee", 30)["state"]))
        waiting.start()
        eventually(lambda: first.requests, what="the first look")
    with serving(second, int(url.rpartition(":")[2])):
        waiting.join(20)

    assert results == ["done"]


def test_wait_survives_a_store_that_is_locked_for_long(server: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "MAX_REFUSAL_RETRIES", 1)
    locked = problem(503, "The store is locked.", "storage-unavailable", Retry_After="0")
    server.on("GET", "/commands/c0ffee", Answer(command()), *[locked] * 6, Answer(command("done")))

    with Client(server.url) as client:
        assert client.wait("c0ffee", timeout_seconds=30)["state"] == "done"


@pytest.mark.usefixtures("_impatient")
def test_wait_does_not_wait_for_a_server_that_stays_away() -> None:
    with Client(f"http://127.0.0.1:{free_port()}") as client, pytest.raises(ServerUnreachableError):
        client.wait("c0ffee", timeout_seconds=30)


def test_carry_out_lets_the_server_wait_and_returns_the_ended_command(server: StandIn) -> None:
    done = command("done", step=12)
    server.on("POST", "/validate", Answer(done))

    with Client(server.url) as client:
        assert client.carry_out("validate", timeout_seconds=600, expires_in=9) == done

    assert server.targets == ["/validate?expires_in=9&wait=30.000"]


def test_carry_out_looks_again_where_the_server_has_answered_early(server: StandIn) -> None:
    server.on("POST", "/validate", Answer(command("running"), 202))
    server.on("GET", "/commands/c0ffee", Answer(command("running")), Answer(command("done")))

    with Client(server.url) as client:
        assert client.carry_out("validate", timeout_seconds=20)["state"] == "done"

    assert server.targets[1:] == ["/commands/c0ffee"] * 2


def test_a_server_may_be_silent_for_as_long_as_it_was_asked_to_wait() -> None:
    def answer_late(peer: object) -> None:
        time.sleep(0.4)
        body = json.dumps(command("done")).encode()
        peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))  # type: ignore[attr-defined]

    with slamming_server(answer_late) as (url, asked), Client(url, timeout_seconds=0.2) as client:
        assert client.carry_out("validate", timeout_seconds=10)["state"] == "done"

    assert len(asked) == 1
