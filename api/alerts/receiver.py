"""Who gets alerts: the interface of a receiver, and what can become of one delivery."""

from dataclasses import dataclass
from enum import Enum, auto
from typing import Protocol

from service.store.queries.events import Event


class DeliveryOutcome(Enum):
    """Result of one delivery attempt."""

    ACCEPTED = auto()
    REJECTED = auto()
    UNAVAILABLE = auto()
    GONE = auto()
    """The receiver wants no more."""


@dataclass(frozen=True)
class DeliveryAttempt:
    """One attempt: its outcome, the reason for the log, and the delay that the receiver requested in seconds."""

    outcome: DeliveryOutcome
    reason: str
    wait_seconds: float = 0.0


class Receiver(Protocol):
    """One receiver of alerts. Neither its address nor a secret is in `id`, `name` or a reason."""

    @property
    def id(self) -> str:
        """Identifier of the receiver in the store."""

    @property
    def name(self) -> str:
        """What log messages call it, as the object of a sentence."""

    def deliver(self, event: Event, sent_at: int) -> DeliveryAttempt:
        """Send one alert at the Unix time `sent_at` and return the outcome; never raises."""
