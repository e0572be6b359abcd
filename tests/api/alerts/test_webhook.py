"""Webhooks: what is sent, signed how, and what becomes of every answer."""

import hashlib
import hmac
import json
import socket
import threading
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from api.alerts import webhook
from api.alerts.webhook import DeliveryOutcome, WebhookTarget, post, signature
from service.config.settings import RunConfig
from service.errors import SettingError
from service.store.queries.events import Event
from tests.service.harness.stand_in import Answer, StandIn, free_port, serving, slamming_server

SENT_AT = 1_795_596_556
EVENT = Event(
    41, "5f0c1e77ab42", 1_795_596_550.5, 4200, "alert",
    {"name": "disk", "is_on": True, "since": 1_795_596_490.5, "sentence": "Only 1.2 GiB are free – now."},
)  # fmt: skip


@pytest.fixture
def hook() -> Iterator[StandIn]:
    """A receiver that takes everything at /hook."""
    stand_in = StandIn()
    stand_in.on("POST", "/hook", Answer({}))
    with serving(stand_in):
        yield stand_in


def is_genuine(secret: str, header: str, body: bytes, now: float, tolerance_seconds: float = 300) -> bool:
    """What a receiver does, as the documentation tells it to."""
    parts = dict(part.split("=", 1) for part in header.split(","))
    expected = hmac.new(secret.encode(), parts["t"].encode() + b"." + body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(expected, parts["v1"]) and abs(now - int(parts["t"])) <= tolerance_seconds


def test_an_alert_is_posted_as_json(hook: StandIn) -> None:
    attempt = post(WebhookTarget(f"{hook.url}/hook?room=7", "geheim"), EVENT, SENT_AT)

    assert attempt.outcome is DeliveryOutcome.ACCEPTED
    (request,) = hook.requests
    assert (request.method, request.target) == ("POST", "/hook?room=7")
    assert json.loads(request.body) == {
        "id": "5f0c1e77ab42-41", "run_id": "5f0c1e77ab42", "step": 4200, "name": "disk", "is_on": True,
        "since": 1_795_596_490.5, "sentence": "Only 1.2 GiB are free – now.", "sent_at": SENT_AT,
    }  # fmt: skip
    assert request.headers["Content-Type"] == "application/json"
    assert request.headers["X-Leitstand-Event-Id"] == "5f0c1e77ab42-41"
    assert request.headers["User-Agent"].startswith("leitstand/")


def test_a_run_may_have_any_name(hook: StandIn) -> None:
    attempt = post(WebhookTarget(f"{hook.url}/hook", ""), replace(EVENT, run_id="实验\n1"), SENT_AT)

    assert attempt.outcome is DeliveryOutcome.ACCEPTED
    assert hook.requests[0].headers["X-Leitstand-Event-Id"] == "%E5%AE%9E%E9%AA%8C%0A1-41"
    assert json.loads(hook.requests[0].body)["id"] == "实验\n1-41"


def test_the_signature_proves_sender_body_and_time(hook: StandIn) -> None:
    post(WebhookTarget(f"{hook.url}/hook", "geheim"), EVENT, SENT_AT)
    (request,) = hook.requests
    header = request.headers["X-Leitstand-Signature"]

    assert is_genuine("geheim", header, request.body, SENT_AT + 2)
    assert not is_genuine("geheimer", header, request.body, SENT_AT + 2)
    assert not is_genuine("geheim", header, request.body.replace(b"true", b"false"), SENT_AT + 2)
    assert not is_genuine("geheim", header, request.body, SENT_AT + 3600)
    assert not is_genuine("geheim", header.replace(str(SENT_AT), str(SENT_AT + 3600)), request.body, SENT_AT + 3600)


def test_the_signature_is_computed_as_written_down() -> None:
    # printf '1.{}' | openssl dgst -sha256 -hmac geheim
    digest = "495e69ef774789fe8ae928076385918a93404a438ba6981b31c960fedc0989d2"

    assert signature("geheim", 1, b"{}") == f"t=1,v1={digest}"


def test_a_secret_of_any_bytes_signs() -> None:
    secret = b"\xff\xfe".decode(errors="surrogateescape")  # as the environment gives it

    assert signature(secret, 1, b"{}").endswith(hmac.new(b"\xff\xfe", b"1.{}", hashlib.sha256).hexdigest())


def test_credentials_are_those_in_the_address_whatever_netrc_says(
    hook: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("default login somebody password else\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    post(WebhookTarget(f"{hook.url}/hook", ""), EVENT, SENT_AT)
    post(WebhookTarget(f"{hook.url}/hook".replace("//", "//eva:geheim@"), ""), EVENT, SENT_AT)

    without, named = hook.requests
    assert "Authorization" not in without.headers
    assert named.headers["Authorization"] == f"Basic {b64encode(b'eva:geheim').decode()}"


def test_without_a_secret_nothing_is_signed(hook: StandIn) -> None:
    post(WebhookTarget(f"{hook.url}/hook", ""), EVENT, SENT_AT)

    assert "X-Leitstand-Signature" not in hook.requests[0].headers


@pytest.mark.parametrize(
    ("status", "outcome"),
    [(200, "ACCEPTED"), (202, "ACCEPTED"), (204, "ACCEPTED"), (400, "REJECTED"), (401, "REJECTED"), (404, "REJECTED"),
     (410, "REJECTED"), (408, "UNAVAILABLE"), (429, "UNAVAILABLE"), (500, "UNAVAILABLE"), (503, "UNAVAILABLE"),
     (599, "UNAVAILABLE")],
)  # fmt: skip
def test_the_status_says_whether_to_try_again(hook: StandIn, status: int, outcome: str) -> None:
    hook.on("POST", "/hook", Answer(b"", status))

    attempt = post(WebhookTarget(f"{hook.url}/hook", ""), EVENT, SENT_AT)

    assert attempt.outcome.name == outcome
    assert str(status) in attempt.reason


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(hook: StandIn, status: int) -> None:
    hook.on("POST", "/hook", Answer(b"", status, {"Location": f"{hook.url}/elsewhere"}))

    assert post(WebhookTarget(f"{hook.url}/hook", ""), EVENT, SENT_AT).outcome is DeliveryOutcome.REJECTED
    assert hook.targets == ["/hook"]


@pytest.mark.parametrize(("text", "seconds"), [("7", 7.0), ("soon", 0.0), ("-1", 0.0), ("", 0.0)])
def test_a_receiver_may_say_when_to_come_again(hook: StandIn, text: str, seconds: float) -> None:
    hook.on("POST", "/hook", Answer(b"", 429, {"Retry-After": text}))

    assert post(WebhookTarget(f"{hook.url}/hook", ""), EVENT, SENT_AT).wait_seconds == seconds


def test_a_receiver_that_is_not_there_is_away() -> None:
    assert (
        post(WebhookTarget(f"http://127.0.0.1:{free_port()}/", ""), EVENT, SENT_AT).outcome
        is DeliveryOutcome.UNAVAILABLE
    )


def test_a_receiver_that_slams_the_door_or_babbles_is_away() -> None:
    for said in (b"", b"hello\r\n\r\n", b"HTTP/1.1 2"):
        with slamming_server(lambda peer, said=said: peer.sendall(said)) as (url, _):  # type: ignore[misc]
            assert post(WebhookTarget(url, ""), EVENT, SENT_AT).outcome is DeliveryOutcome.UNAVAILABLE


def test_a_receiver_that_is_silent_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook, "ANSWER_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        attempt = post(WebhookTarget(f"http://127.0.0.1:{listener.getsockname()[1]}/", ""), EVENT, SENT_AT)

    assert (attempt.outcome, attempt.reason) == (DeliveryOutcome.UNAVAILABLE, "it does not answer in time")


def test_an_answer_without_end_is_not_read() -> None:
    released = threading.Event()

    def react(peer: socket.socket) -> None:
        peer.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        released.wait(20)

    with slamming_server(react) as (url, _):
        try:
            assert post(WebhookTarget(url, ""), EVENT, SENT_AT).outcome is DeliveryOutcome.ACCEPTED
        finally:
            released.set()


def test_what_is_said_of_a_failure_holds_neither_address_nor_secret(caplog: pytest.LogCaptureFixture) -> None:
    receiver = WebhookTarget(f"http://user:password@127.0.0.1:{free_port()}/T0KEN", "geheim")
    said = f"{post(receiver, EVENT, SENT_AT)} {receiver.host} {receiver.id} {receiver}"
    damaged = b"HTTP/1.1 200 OK\r\nno header\r\nX: y\r\n\r\n"
    with slamming_server(lambda peer: peer.sendall(damaged)) as (url, _):
        post(WebhookTarget(f"{url}/T0KEN", "geheim"), EVENT, SENT_AT)

    for secret in ("T0KEN", "geheim", "password"):
        assert secret not in said + caplog.text


@pytest.mark.parametrize(
    "url", ["ftp://a/b", "file:///etc/passwd", "hooks.example.org/x", "http://", "https://a:port/"]
)
def test_only_web_addresses_are_taken(url: str) -> None:
    with pytest.raises(SettingError, match=r"^WEBHOOK_URL is not the address of a web server"):
        WebhookTarget.of(RunConfig(webhook_url=url))


def test_without_an_address_there_is_no_receiver() -> None:
    assert WebhookTarget.of(RunConfig()) is None
    assert WebhookTarget.of(RunConfig(webhook_url="https://a/b", webhook_secret="s")) == WebhookTarget(
        "https://a/b", "s"
    )
