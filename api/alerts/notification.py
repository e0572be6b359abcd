"""Alerts to the places that people read: e-mail, ntfy, Slack, Discord, Telegram and many more, by the library apprise.

apprise is an optional dependency, imported only where NOTIFY_URLS names a receiver. What it logs goes nowhere but to
`refusals.py`: it holds parts of addresses, and addresses hold secrets.
"""

import logging
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING
from urllib.parse import quote

from api.alerts.actions import ActionLink, ActionLinks
from api.alerts.receiver import DeliveryAttempt, DeliveryOutcome
from api.alerts.refusals import refusal_of
from service.alerts.receivers import notify_addresses, receiver_id
from service.config.settings import RunConfig
from service.errors import SettingError, printable
from service.store.queries.events import Event

if TYPE_CHECKING:
    from apprise import Apprise

ANSWER_SECONDS = 15.0
"""Limit for one attempt; most services answer within a second."""
WITH_BUTTONS = frozenset({"ntfy", "ntfys"})
"""Services that apprise can give buttons; elsewhere the links are part of the text."""
LINKS_SENTENCE = "Each link works once, for ten minutes, for whoever has it."


@dataclass(frozen=True, repr=False)
class NotificationReceiver:
    """One receiver of NOTIFY_URLS; `number` is its place there, from 1, and `scheme` what its address begins with."""

    address: str
    number: int
    scheme: str
    service: "Apprise"
    actions: ActionLinks | None = None

    @classmethod
    def all_of(cls, config: RunConfig) -> "list[NotificationReceiver]":
        """Return the receivers in the settings; raises `SettingError` for an address that apprise does not know."""
        addresses = notify_addresses(config)
        if addresses and find_spec("apprise") is None:
            raise SettingError("NOTIFY_URLS is set, but apprise is not installed; install the extra leitstand[notify].")
        actions = ActionLinks.of(config)
        return [cls._of(address, number, actions) for number, address in enumerate(addresses, 1)]

    @classmethod
    def _of(cls, address: str, number: int, actions: ActionLinks | None) -> "NotificationReceiver":
        scheme = address.partition("://")[0]
        service = service_at(address) if "://" in address else None
        if service is None:
            beginning = f", which begins with {printable(scheme)}://," if "://" in address else ""
            raise SettingError(
                f"Address {number} in NOTIFY_URLS{beginning} is none that apprise knows, or lacks a part; spaces "
                f"separate addresses. `apprise --details` lists their forms."
            )
        return cls(address, number, scheme, service, actions)

    @property
    def id(self) -> str:
        """Identifier of the receiver in the store."""
        return receiver_id(self.address)

    @property
    def name(self) -> str:
        """What log messages call it."""
        return f"receiver {self.number} of NOTIFY_URLS ({printable(self.scheme)})"

    def deliver(self, event: Event, sent_at: int) -> DeliveryAttempt:
        """Send one alert and return the outcome; never raises."""
        from apprise import AppriseResultStatus, NotifyFormat, NotifyType

        is_on = event.details["is_on"]
        links = [] if self.actions is None else self.actions.offered(event, sent_at)
        with_buttons = self._with_buttons(links)
        result = (with_buttons or self.service).notify(
            title=f"{'⚠️' if is_on else '✅'} {event.details['name']}, run {printable(event.run_id)}",
            body=printable(event.details["sentence"]) + ("" if with_buttons else links_text(links)),
            notify_type=NotifyType.WARNING if is_on else NotifyType.SUCCESS,
            body_format=NotifyFormat.TEXT,
            log_level=logging.DEBUG,
        )
        with result:
            if result.status is AppriseResultStatus.SUCCESS:
                return DeliveryAttempt(DeliveryOutcome.ACCEPTED, "it was accepted")
            if result.status is AppriseResultStatus.TIMEOUT:
                return DeliveryAttempt(DeliveryOutcome.UNAVAILABLE, "it does not answer in time")
            if reason := refusal_of(entry.message for entry in result.logs()):
                return DeliveryAttempt(DeliveryOutcome.REJECTED, reason)
        return DeliveryAttempt(DeliveryOutcome.UNAVAILABLE, "it cannot be reached, or does not accept the alert")

    def _with_buttons(self, links: list[ActionLink]) -> "Apprise | None":
        """Return the service with a button for each link; None if it has none, or those of its address."""
        query = self.address.partition("?")[2]
        if not links or self.scheme.lower() not in WITH_BUTTONS or "actions=" in query.lower():
            return None
        return service_at(f"{self.address}{'&' if query else '?'}actions={quote(ntfy_actions(links), safe='')}")


def service_at(address: str) -> "Apprise | None":
    """Return apprise with one receiver; None if it does not know the address."""
    silence(logging.getLogger("apprise"))
    import apprise

    # Redirects would carry secrets to other servers; pictures and storage on disk are not needed.
    asset = apprise.AppriseAsset(
        app_id="Leitstand",
        http_redirects=False,
        image_url_mask="",
        image_url_logo="",
        service_timeout=ANSWER_SECONDS,
    )
    service = apprise.Apprise(asset=asset)
    return service if service.add(address) else None


def silence(log: logging.Logger) -> None:
    """Let nothing of a log get anywhere but to those who look at it themselves, as a result of apprise does."""
    log.propagate = False
    log.setLevel(logging.DEBUG)
    if not log.handlers:
        log.addHandler(logging.NullHandler())


def ntfy_actions(links: list[ActionLink]) -> str:
    """Return what ntfy makes buttons of: https://docs.ntfy.sh/publish/#action-buttons."""
    buttons = (f"http, {link.action.kind.capitalize()}, {link.url}, method=POST, clear=true" for link in links)
    return "; ".join(buttons)


def links_text(links: list[ActionLink]) -> str:
    """Return the links as lines after an alert's sentence; empty without any."""
    lines = [f"{link.action.kind.capitalize()}: {link.url}" for link in links]
    return "\n\n" + "\n".join([*lines, LINKS_SENTENCE]) if lines else ""
