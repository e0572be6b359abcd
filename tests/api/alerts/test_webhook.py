"""Webhooks: what is sent, signed how, and what becomes of every answer."""

import json
import socket
import threading
import time
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from api.alerts import webhook
from api.alerts.signing import signing_key
from api.alerts.webhook import DeliveryOutcome, WebhookTarget, post, signatures
from service.config.settings import RunConfig
from service.errors import SettingError
from service.store.queries.events import Event
from tests.service.harness.stand_in import Answer, Request, StandIn, free_port, serving, slamming_server

SECRET, OTHER_SECRET = (f"whsec_{b64encode(word * 6).decode()}" for word in (b"geheim", b"anders"))
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


def is_genuine(secret: str, request: Request, body: bytes | None = None) -> bool:
    """Whether a receiver takes it for genuine at the time when it was sent."""
    try:
        Webhook(secret).verify(request.body if body is None else body, dict(request.headers.items()))
    except WebhookVerificationError:
        return False
    return True


def test_links_that_answer_the_alert_are_in_the_body_and_signed_with_it(hook: StandIn) -> None:
    actions = {"public_url": "https://train.example", "action_secret": "at least twenty-four bytes of secret"}
    target = WebhookTarget.of(RunConfig(webhook_url=f"{hook.url}/hook", webhook_secret=SECRET, **actions))
    assert target is not None

    target.deliver(EVENT, int(time.time()))

    (request,) = hook.requests
    offered = json.loads(request.body)["actions"]
    assert [link["command"] for link in offered] == ["pause", "stop"]
    assert all(link["url"].startswith("https://train.example/actions/") for link in offered)
    assert {link["expires_at"] for link in offered} == {json.loads(request.body)["sent_at"] + 600}
    assert is_genuine(SECRET, request)


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
    assert request.headers["webhook-id"] == "5f0c1e77ab42-41"
    assert request.headers["webhook-timestamp"] == str(SENT_AT)
    assert request.headers["User-Agent"].startswith("leitstand/")


def test_a_run_may_have_any_name(hook: StandIn) -> None:
    attempt = post(WebhookTarget(f"{hook.url}/hook", ""), replace(EVENT, run_id="实验\n1"), SENT_AT)

    assert attempt.outcome is DeliveryOutcome.ACCEPTED
    assert hook.requests[0].headers["webhook-id"] == "%E5%AE%9E%E9%AA%8C%0A1-41"
    assert json.loads(hook.requests[0].body)["id"] == "实验\n1-41"


@pytest.mark.parametrize("run_id", [EVENT.run_id, "实验.1"])
def test_the_standards_own_library_finds_it_genuine_and_unchanged(hook: StandIn, run_id: str) -> None:
    sent_at = int(time.time())
    post(WebhookTarget(f"{hook.url}/hook", SECRET), replace(EVENT, run_id=run_id), sent_at)
    (request,) = hook.requests

    assert is_genuine(SECRET, request)
    assert not is_genuine(OTHER_SECRET, request)
    assert not is_genuine(SECRET, request, request.body.replace(b"true", b"false"))


@pytest.mark.parametrize("hours", [-1, 1])
def test_an_old_or_future_one_is_not_genuine(hook: StandIn, hours: int) -> None:
    post(WebhookTarget(f"{hook.url}/hook", SECRET), EVENT, int(time.time()) + 3600 * hours)

    assert not is_genuine(SECRET, hook.requests[0])


def test_while_the_secret_changes_both_are_good(hook: StandIn) -> None:
    post(WebhookTarget(f"{hook.url}/hook", SECRET, OTHER_SECRET), EVENT, int(time.time()))
    (request,) = hook.requests

    assert is_genuine(SECRET, request)
    assert is_genuine(OTHER_SECRET, request)
    assert not is_genuine("whsec_" + b64encode(b"neither of the two").decode(), request)


def test_the_signature_is_that_of_openssl() -> None:
    # printf '7.1.{}' | openssl dgst -sha256 -hmac geheim -binary | base64
    assert signatures([b"geheim"], "7", 1, b"{}") == "v1,OZqI6JkBKFxtvY4W7LtVUfcCS5xytIqj+dDD5tgXC04="


@pytest.mark.parametrize(
    ("secret", "key"),
    [("geheim", b"geheim"), ("whsec_Z2VoZWlt", b"geheim"), ("whsec_Z2VoZQ", b"gehe"), ("whsec_Z2VoZQ==", b"gehe"),
     (b"\xff\xfe".decode(errors="surrogateescape"), b"\xff\xfe")],
)  # fmt: skip
def test_a_secret_is_a_key_or_its_base64(secret: str, key: bytes) -> None:
    assert signing_key(secret) == key


@pytest.mark.parametrize("name", ["webhook_secret", "webhook_old_secret"])
@pytest.mark.parametrize("secret", ["whsec_a", "whsec_geheim!"])
def test_a_damaged_secret_is_refused_without_showing_it(name: str, secret: str) -> None:
    with pytest.raises(
        SettingError, match=f"^{name.upper()} begins with whsec_, but what follows is not base64"
    ) as told:
        WebhookTarget.of(replace(RunConfig(webhook_url="https://a/b"), **{name: secret}))

    assert "geheim" not in str(told.value)


@pytest.mark.parametrize("name", ["webhook_secret", "webhook_old_secret"])
@pytest.mark.parametrize(
    ("count", "is_good"), [(0, False), (2, False), (23, False), (24, True), (64, True), (65, False)]
)
def test_a_key_of_the_standard_has_24_to_64_bytes(name: str, count: int, is_good: bool) -> None:
    secret = f"whsec_{b64encode(b'g' * count).decode()}"
    config = replace(RunConfig(webhook_url="https://a/b"), **{name: secret})

    if is_good:
        assert WebhookTarget.of(config) is not None
        return
    with pytest.raises(SettingError, match=f"^{name.upper()} stands for a key of {count} bytes.* 24 to 64") as told:
        WebhookTarget.of(config)
    assert "Z2" not in str(told.value)


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

    assert "webhook-signature" not in hook.requests[0].headers


@pytest.mark.parametrize(
    ("status", "outcome"),
    [(200, "ACCEPTED"), (202, "ACCEPTED"), (204, "ACCEPTED"), (400, "REJECTED"), (401, "REJECTED"), (404, "REJECTED"),
     (410, "GONE"), (408, "UNAVAILABLE"), (429, "UNAVAILABLE"), (500, "UNAVAILABLE"), (503, "UNAVAILABLE"),
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
    said = f"{post(receiver, EVENT, SENT_AT)} {receiver.name} {receiver.id} {receiver}"
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
    assert WebhookTarget.of(RunConfig(webhook_url="https://a/b", webhook_secret="s", webhook_old_secret="t")) == (
        WebhookTarget("https://a/b", "s", "t")
    )
