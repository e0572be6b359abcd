"""Notifications by apprise: what people get, by HTTP and by e-mail, and what if a receiver is not there."""

import email.policy
import json
import logging
import socket
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import replace
from email.message import EmailMessage
from email.parser import BytesParser
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import Envelope

from api.alerts import notification
from api.alerts.actions import ActionLinks
from api.alerts.notification import NotificationReceiver
from api.alerts.receiver import DeliveryOutcome
from api.server.background import receivers_of
from service.alerts.receivers import receiver_ids
from service.config.loader import plain_values
from service.config.settings import RunConfig
from service.errors import SettingError
from service.store.queries.events import Event
from tests.service.harness.stand_in import Answer, StandIn, free_port, serving

# One of apprise's many services imports it, if it is there.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")
Eventually = Callable[..., None]
SENT_AT = 1_795_596_556
EVENT = Event(
    41, "5f0c1e77ab42", 1_795_596_550.5, 4200, "alert",
    {"name": "disk", "is_on": True, "since": 1_795_596_490.5, "sentence": "Only 1.2 GiB are free <in> runs/a_b – now."},
)  # fmt: skip


@pytest.fixture
def server() -> Iterator[StandIn]:
    stand_in = StandIn()
    for path in ("/", "/hook"):
        stand_in.on("POST", path, Answer({}))
    with serving(stand_in):
        yield stand_in


class Letters:
    """What a mail server has received."""

    def __init__(self) -> None:
        self.envelopes: list[Envelope] = []

    async def handle_DATA(self, _server: object, _session: object, envelope: Envelope) -> str:  # noqa: N802  # aiosmtpd's
        self.envelopes.append(envelope)
        return "250 OK"

    def message(self) -> EmailMessage:
        (envelope,) = self.envelopes
        assert isinstance(envelope.content, bytes)
        message = BytesParser(policy=email.policy.default).parsebytes(envelope.content)
        assert isinstance(message, EmailMessage)
        return message


@pytest.fixture
def post_office() -> Iterator[tuple[Letters, int]]:
    letters = Letters()
    controller = Controller(letters, hostname="127.0.0.1", port=free_port())
    controller.start()
    try:
        yield letters, controller.port
    finally:
        controller.stop()


ACTIONS = {"public_url": "https://train.example", "action_secret": "at least twenty-four bytes of secret"}


def receiver(address: str, **settings: Any) -> NotificationReceiver:
    (found,) = NotificationReceiver.all_of(RunConfig(notify_urls=address, **settings))
    return found


def links() -> list[str]:
    made = ActionLinks.of(RunConfig(**ACTIONS))
    assert made is not None
    return [link.url for link in made.offered(EVENT, SENT_AT)]


def host_of(server: StandIn) -> str:
    return server.url.removeprefix("http://")


def test_ntfy_gets_title_and_sentence(server: StandIn) -> None:
    attempt = receiver(f"ntfy://eva:geheim@{host_of(server)}/alarm").deliver(EVENT, SENT_AT)

    assert attempt.outcome is DeliveryOutcome.ACCEPTED
    (request,) = server.requests
    assert json.loads(request.body) == {
        "topic": "alarm",
        "title": "⚠️ disk, run 5f0c1e77ab42",
        "message": "Only 1.2 GiB are free <in> runs/a_b – now.",
    }
    assert request.headers["Authorization"] == f"Basic {b64encode(b'eva:geheim').decode()}"


def test_the_end_of_an_alert_is_good_news(server: StandIn) -> None:
    over = replace(EVENT, details={**EVENT.details, "is_on": False})

    receiver(f"json://{host_of(server)}/hook").deliver(over, SENT_AT)

    (request,) = server.requests
    body = json.loads(request.body)
    assert (body["title"], body["type"]) == ("✅ disk, run 5f0c1e77ab42", "success")


def test_a_letter_is_sent_that_shows_the_sentence_as_it_is(post_office: tuple[Letters, int]) -> None:
    letters, port = post_office

    attempt = receiver(f"mailto://127.0.0.1:{port}?from=run@example.com&to=eva@example.com").deliver(EVENT, SENT_AT)

    assert attempt.outcome is DeliveryOutcome.ACCEPTED
    assert letters.envelopes[0].rcpt_tos == ["eva@example.com"]
    message = letters.message()
    assert message["Subject"] == "⚠️ disk, run 5f0c1e77ab42"
    assert "run@example.com" in message["From"]
    text = message.get_body(("plain", "html"))
    assert text is not None
    assert "Only 1.2 GiB are free" in text.get_content()


def test_ntfy_has_a_button_for_each_answer(server: StandIn) -> None:
    address = f"ntfy://{host_of(server)}/alarm?priority=high"

    receiver(address, **ACTIONS).deliver(EVENT, SENT_AT)

    (request,) = server.requests
    buttons = [button.split(", ") for button in request.headers["X-Actions"].split("; ")]
    assert [button[:2] + button[3:] for button in buttons] == [
        ["http", name, "method=POST", "clear=true"] for name in ("Pause", "Stop")
    ]
    assert [button[2] for button in buttons] == links()
    assert json.loads(request.body)["message"] == EVENT.details["sentence"], "no link is in the text"


def test_buttons_that_the_address_has_are_kept(server: StandIn) -> None:
    address = f"ntfy://{host_of(server)}/alarm?actions=view%2C%20Mine%2C%20mailto%3Aeva"

    receiver(address, **ACTIONS).deliver(EVENT, SENT_AT)

    (request,) = server.requests
    assert request.headers["X-Actions"] == "view, Mine, mailto:eva"
    assert links()[0] in json.loads(request.body)["message"]


def test_where_there_are_no_buttons_the_links_are_in_the_text(server: StandIn) -> None:
    receiver(f"json://{host_of(server)}/hook", **ACTIONS).deliver(EVENT, SENT_AT)

    (request,) = server.requests
    pause, stop = links()
    assert json.loads(request.body)["message"] == (
        f"{EVENT.details['sentence']}\n\nPause: {pause}\nStop: {stop}\n"
        "Each link works once, for ten minutes, for whoever has it."
    )


def test_a_letter_has_links_that_can_be_followed(post_office: tuple[Letters, int]) -> None:
    letters, port = post_office

    receiver(f"mailto://127.0.0.1:{port}?from=run@example.com&to=eva@example.com", **ACTIONS).deliver(EVENT, SENT_AT)

    text = letters.message().get_body(("html", "plain"))
    assert text is not None
    assert all(link in text.get_content() for link in links())


@pytest.mark.parametrize(("status", "outcome"), [(301, "REJECTED"), (307, "REJECTED"), (500, "UNAVAILABLE")])
def test_an_answer_that_is_no_yes_is_none_and_redirects_are_not_followed(
    server: StandIn, status: int, outcome: str
) -> None:
    server.on("POST", "/hook", Answer(b"", status, {"Location": f"{server.url}/elsewhere"}))

    attempt = receiver(f"json://{host_of(server)}/hook").deliver(EVENT, SENT_AT)

    assert attempt.outcome is DeliveryOutcome[outcome]
    assert {target.partition("?")[0] for target in server.targets} == {"/hook"}, "redirects are not followed"


@pytest.mark.parametrize("scheme", ["json", "ntfy", "mailto"])
def test_a_receiver_that_is_not_there_is_away(scheme: str) -> None:
    away = receiver(f"{scheme}://127.0.0.1:{free_port()}/T0KEN?to=eva@example.com&from=run@example.com")

    assert away.deliver(EVENT, SENT_AT).outcome is DeliveryOutcome.UNAVAILABLE


@pytest.mark.parametrize("scheme", ["json", "mailto"])
def test_a_receiver_that_is_silent_is_given_up(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notification, "ANSWER_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        silent = receiver(f"{scheme}://127.0.0.1:{port}/a?to=eva@example.com&from=run@example.com&rto=1&cto=1")

        attempt = silent.deliver(EVENT, SENT_AT)

    assert (attempt.outcome, attempt.reason) == (DeliveryOutcome.UNAVAILABLE, "it does not answer in time")


def test_nothing_that_is_said_holds_an_address_or_a_secret(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "apprise")
    # An address of this test alone: the threads of others may still write to the log.
    address = f"json://eva:password@127.0.0.77:{free_port()}/T0KEN"
    away = receiver(address)
    said = f"{away.deliver(EVENT, SENT_AT)} {away.name} {away.id} {away!r}"

    logger = logging.getLogger("apprise")
    assert not logger.propagate, "what it logs reaches no log of this process; pytest's looks at the logger itself"
    own = [handler for handler in logger.handlers if not type(handler).__module__.startswith("_pytest")]
    assert all(isinstance(handler, logging.NullHandler) for handler in own)
    others = [record.getMessage() for record in caplog.records if record.name not in {"root", "apprise"}]
    for secret in ("T0KEN", "password", "127.0.0.77"):
        assert secret not in said + "".join(others)
    assert plain_values(RunConfig(notify_urls=address))["NOTIFY_URLS"] == "(set)"


@pytest.mark.parametrize(
    "address",
    [
        "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#general",
        "discord://4174216298/JHMHI8qBe7bk2ZwO5U711o3dV_js",
        "tgram://123456789:abcdefg_hijklmnop/12315544/",
        "mailtos://eva:geheim@example.com",
        "ntfys://alarm",
    ],
)
def test_the_services_that_the_documentation_names_are_known(address: str) -> None:
    assert receiver(address).name == f"receiver 1 of NOTIFY_URLS ({address.partition(':')[0]})"


@pytest.mark.parametrize("wrong", ["T0KEN", "nonsense://T0KEN", "slack://T0KEN", "https://hooks.example/T0KEN"])
def test_an_address_that_is_none_is_refused_without_showing_it(wrong: str) -> None:
    with pytest.raises(SettingError, match=r"^Address 2 in NOTIFY_URLS") as refused:
        receivers_of(RunConfig(notify_urls=f"ntfy://alarm {wrong}"))

    assert "T0KEN" not in str(refused.value)


def test_without_the_package_the_start_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notification, "find_spec", lambda _name: None)

    with pytest.raises(SettingError, match=r"install the extra leitstand\[notify\]"):
        receivers_of(RunConfig(notify_urls="ntfy://alarm"))
    assert receivers_of(RunConfig()) == []


def test_receivers_have_ids_that_the_launcher_knows_too() -> None:
    config = RunConfig(webhook_url="https://a/b", notify_urls="ntfy://alarm  json://a/b")
    receivers: list[Any] = receivers_of(config)

    assert len(receivers) == 3
    assert tuple(item.id for item in receivers) == receiver_ids(config)
