"""Alerts to the places that people read: e-mail, ntfy, Slack, Discord, Telegram and many more, by the library apprise.

apprise is an optional dependency, imported only where NOTIFY_URLS names a receiver. Its log is switched off: it holds
parts of addresses, and addresses hold secrets.
"""

import logging
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

from api.alerts.receiver import DeliveryAttempt, DeliveryOutcome
from service.alerts.receivers import notify_addresses, receiver_id
from service.config.settings import RunConfig
from service.errors import SettingError, printable
from service.store.queries.events import Event

if TYPE_CHECKING:
    from apprise import Apprise

ANSWER_SECONDS = 15.0
"""Limit for one attempt; most services answer within a second."""


@dataclass(frozen=True, repr=False)
class NotificationReceiver:
    """One receiver of NOTIFY_URLS; `number` is its place there, from 1, and `scheme` what its address begins with."""

    address: str
    number: int
    scheme: str
    service: "Apprise"

    @classmethod
    def all_of(cls, config: RunConfig) -> "list[NotificationReceiver]":
        """Return the receivers in the settings; raises `SettingError` for an address that apprise does not know."""
        addresses = notify_addresses(config)
        if addresses and find_spec("apprise") is None:
            raise SettingError("NOTIFY_URLS is set, but apprise is not installed; install the extra leitstand[notify].")
        return [cls._of(address, number) for number, address in enumerate(addresses, 1)]

    @classmethod
    def _of(cls, address: str, number: int) -> "NotificationReceiver":
        import apprise

        logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)
        # Redirects would carry secrets to other servers; pictures and storage on disk are not needed.
        asset = apprise.AppriseAsset(
            app_id="Leitstand",
            http_redirects=False,
            image_url_mask="",
            image_url_logo="",
            service_timeout=ANSWER_SECONDS,
        )
        service, scheme = apprise.Apprise(asset=asset), address.partition("://")[0]
        if "://" not in address or not service.add(address):
            beginning = f", which begins with {printable(scheme)}://," if "://" in address else ""
            raise SettingError(
                f"Address {number} in NOTIFY_URLS{beginning} is none that apprise knows, or lacks a part; spaces "
                f"separate addresses. `apprise --details` lists their forms."
            )
        return cls(address, number, scheme, service)

    @property
    def id(self) -> str:
        """Identifier of the receiver in the store."""
        return receiver_id(self.address)

    @property
    def name(self) -> str:
        """What log messages call it."""
        return f"receiver {self.number} of NOTIFY_URLS ({printable(self.scheme)})"

    def deliver(self, event: Event, sent_at: int) -> DeliveryAttempt:  # noqa: ARG002  # the text needs no time
        """Send one alert and return the outcome; never raises. apprise does not say why something failed."""
        from apprise import AppriseResultStatus, NotifyFormat, NotifyType

        is_on = event.details["is_on"]
        result = self.service.notify(
            title=f"{'⚠️' if is_on else '✅'} {event.details['name']}, run {printable(event.run_id)}",
            body=printable(event.details["sentence"]),
            notify_type=NotifyType.WARNING if is_on else NotifyType.SUCCESS,
            body_format=NotifyFormat.TEXT,
        )
        if result.status is AppriseResultStatus.SUCCESS:
            return DeliveryAttempt(DeliveryOutcome.ACCEPTED, "it was accepted")
        if result.status is AppriseResultStatus.TIMEOUT:
            return DeliveryAttempt(DeliveryOutcome.UNAVAILABLE, "it does not answer in time")
        return DeliveryAttempt(DeliveryOutcome.UNAVAILABLE, "it cannot be reached, or does not accept the alert")
