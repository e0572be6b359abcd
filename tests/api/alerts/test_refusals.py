"""Refusals for good: what apprise's log says of them, as real servers make it say so."""

import smtplib
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult

from api.alerts.notification import NotificationReceiver
from api.alerts.receiver import DeliveryOutcome
from api.alerts.refusals import refusal_of
from service.config.settings import RunConfig
from tests.api.alerts.test_notification import EVENT, SENT_AT
from tests.service.harness.stand_in import Answer, StandIn, free_port, serving

pytestmark = [
    pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS"),
]


class Strict:
    """A mail server that knows eva, and of the others what it says."""

    def __init__(self) -> None:
        self.answers: dict[str, str] = {}
        self.delivered: list[list[str]] = []

    async def handle_RCPT(  # noqa: N802  # aiosmtpd's
        self, _server: object, _session: object, envelope: object, address: str, _options: list[str]
    ) -> str:
        answer = self.answers.get(address, "250 OK")
        if answer.startswith("250"):
            envelope.rcpt_tos.append(address)  # type: ignore[attr-defined]
        return answer

    async def handle_DATA(self, _server: object, _session: object, envelope: object) -> str:  # noqa: N802  # aiosmtpd's
        self.delivered.append(list(envelope.rcpt_tos))  # type: ignore[attr-defined]
        return "250 OK"


@contextmanager
def mail_server(strict: Strict, *, is_open: bool = True) -> Iterator[int]:
    """The port of a mail server; unless it `is_open`, whoever logs in has a wrong password."""

    def no(*_: object) -> AuthResult:
        return AuthResult(success=False, handled=False)

    class WithLogin(Controller):
        def factory(self) -> SMTP:
            options = {} if is_open else {"authenticator": no, "auth_require_tls": False, "auth_required": True}
            return SMTP(self.handler, **options)

    controller = WithLogin(strict, hostname="127.0.0.1", port=free_port())
    controller.start()
    try:
        yield controller.port
    finally:
        controller.stop()


def send(address: str) -> tuple[DeliveryOutcome, str]:
    (receiver,) = NotificationReceiver.all_of(RunConfig(notify_urls=address))
    attempt = receiver.deliver(EVENT, SENT_AT)
    return attempt.outcome, attempt.reason


def test_a_wrong_password_is_a_refusal() -> None:
    with mail_server(Strict(), is_open=False) as port:
        outcome, reason = send(f"mailto://run:geheim@127.0.0.1:{port}?from=run@example.com&to=eva@example.com")

    assert (outcome, reason) == (
        DeliveryOutcome.REJECTED,
        "the mail server refuses it: it does not accept the user name or the password (535)",
    )


def test_a_recipient_that_the_server_does_not_know_is_a_refusal() -> None:
    strict = Strict()
    strict.answers["adam@example.com"] = "550 5.1.1 no such user"
    with mail_server(strict) as port:
        outcome, reason = send(f"mailto://127.0.0.1:{port}?from=run@example.com&to=adam@example.com")

    assert outcome is DeliveryOutcome.REJECTED
    assert reason.endswith("it does not know a recipient, or does not let the sender send (550)")
    assert "adam" not in reason


def test_whom_the_server_knows_gets_the_letter_once_though_it_refuses_another() -> None:
    strict = Strict()
    strict.answers["adam@example.com"] = "550 5.1.1 no such user"
    with mail_server(strict) as port:
        outcome, _ = send(f"mailto://127.0.0.1:{port}?from=run@example.com&to=eva@example.com,adam@example.com")

    assert outcome is DeliveryOutcome.REJECTED, "tried again, eva would get it for a day"
    assert strict.delivered == [["eva@example.com"]]


def test_a_recipient_who_may_be_taken_later_is_tried_again() -> None:
    strict = Strict()
    strict.answers.update({"adam@example.com": "550 5.1.1 no such user", "eva@example.com": "450 4.2.1 busy"})
    with mail_server(strict) as port:
        outcome, _ = send(f"mailto://127.0.0.1:{port}?from=run@example.com&to=eva@example.com,adam@example.com")

    assert outcome is DeliveryOutcome.UNAVAILABLE


@pytest.mark.parametrize(
    ("scheme", "status", "body", "outcome"),
    [
        ("json", 401, b"", DeliveryOutcome.REJECTED),
        ("json", 404, b"", DeliveryOutcome.REJECTED),
        ("json", 408, b"", DeliveryOutcome.UNAVAILABLE),
        ("json", 429, b"", DeliveryOutcome.UNAVAILABLE),
        ("json", 500, b"", DeliveryOutcome.UNAVAILABLE),
        ("ntfy", 403, b'{"code": 40301, "http": 403, "error": "forbidden"}', DeliveryOutcome.REJECTED),
        ("ntfy", 429, b'{"code": 42901, "http": 429, "error": "limit reached"}', DeliveryOutcome.UNAVAILABLE),
        ("ntfy", 507, b'{"code": 50701, "http": 507, "error": "full"}', DeliveryOutcome.UNAVAILABLE),
        ("gotify", 401, b"", DeliveryOutcome.REJECTED),
    ],
)
def test_a_status_tells_whether_it_is_tried_again(
    scheme: str, status: int, body: bytes, outcome: DeliveryOutcome
) -> None:
    stand_in = StandIn()
    for path in ("/", "/hook", "/message"):
        stand_in.on("POST", path, Answer(body, status))
    with serving(stand_in):
        assert send(f"{scheme}://{stand_in.url.removeprefix('http://')}/hook")[0] is outcome


def test_refusals_are_told_from_what_may_pass() -> None:
    login, recipient = smtplib.SMTPAuthenticationError(535, b"no"), smtplib.SMTPRecipientsRefused({"a@b": (550, b"no")})

    assert "(535)" in refusal_of(["Connection error while submitting email", f"Socket Exception: {login}"])
    assert "(550)" in refusal_of([f"Socket Exception: {recipient}"])
    for passing in (
        f"Socket Exception: {smtplib.SMTPAuthenticationError(454, b'later')}",
        f"Socket Exception: {smtplib.SMTPServerDisconnected('Connection unexpectedly closed')}",
        "Socket Exception: [Errno 111] Connection refused",
        "Failed to send JSON POST notification: Bad Gateway, error=502.",
        "Failed to send it: error=unknown.",
        "",
    ):
        assert refusal_of([passing]) == ""
        assert refusal_of([f"Socket Exception: {recipient}", passing]) == "" or "Socket" not in passing
    assert refusal_of([]) == ""
