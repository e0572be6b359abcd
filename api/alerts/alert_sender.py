"""Delivers the alerts of all runs to one receiver: in order, at least once, retrying until accepted.

The store holds which alerts are still to be delivered, so an unreachable receiver takes no memory, and a restart of
this process loses nothing.
"""

import logging
import random
import socket
import threading
import time
import uuid
from collections.abc import Callable

from api.alerts.receiver import DeliveryAttempt, DeliveryOutcome, Receiver
from service.alerts.webhook_outbox import WebhookOutbox
from service.background_thread import BackgroundThread, ErrorBoundary
from service.store.queries.events import Event
from service.store.store import Store, StoreUnavailableError

INITIAL_BACKOFF_SECONDS, MAX_BACKOFF_SECONDS = 1.0, 300.0
"""Pauses between attempts double from the first to the second value, each shortened at random by up to one half."""
GIVE_UP_SECONDS = 86400.0
"""An alert is dropped after failing for this long, or if it is older than this when this process starts."""
NEWS_SECONDS = 7200.0
"""A receiver that is new to a run is not told of alerts that are older than this when this process starts."""
RETRY_SECONDS = 5.0
"""Delay before retrying a run whose alerts another process delivers, or whose store cannot be read."""
TICK_SECONDS = 0.5

logger = logging.getLogger(__name__)


class AlertSender:
    """Delivers alerts on one thread; its errors are logged and affect nothing else."""

    def __init__(self, receiver: Receiver, is_ending: Callable[[], bool]) -> None:
        """Create a sender that ends once `is_ending()`."""
        self._receiver = receiver
        self._is_ending = is_ending
        self._lease_holder = f"{socket.gethostname()} {uuid.uuid4().hex}"
        self._started_at = time.time()
        # Shared between threads: by run, the last notified alert, and the alert up to which all are delivered
        self._lock = threading.Lock()
        self._pending: dict[str, tuple[Store, int]] = {}
        self._delivered: dict[str, int] = {}
        # Used by the sender's thread only; times are monotonic
        self._is_switched_off = False
        self._failures = 0
        self._failing: dict[str, tuple[int, float]] = {}
        """By run, the alert whose delivery fails, and since when."""
        self._paused_until: dict[str, float] = {}
        """By run, the time until which it is not retried for a reason of its own, which must not delay other runs."""
        self._boundary = ErrorBoundary(logger)
        self._thread = BackgroundThread(
            "alert-sender",
            self._deliver_due,
            interval_seconds=TICK_SECONDS,
            is_over=is_ending,
            boundary=self._boundary,
            error_message="The alerts cannot be delivered; this is tried again.",
        )

    def start(self) -> None:
        """Start the sender's thread."""
        self._thread.start()

    def notify(self, store: Store, run_id: str, event_id: int) -> None:
        """Announce that a run may have alerts to deliver, up to event `event_id`; returns immediately."""
        with self._lock:
            if event_id <= self._delivered.get(run_id, 0):
                return
            self._pending[run_id] = (store, event_id)
        self._thread.wake()

    def undelivered(self) -> list[str]:
        """Return the ids of the runs whose alerts are still to be delivered, or looked for."""
        with self._lock:
            return list(self._pending)

    # The sender's thread

    def _deliver_due(self) -> None:
        """Deliver until no run is due, or the receiver wants no more."""
        while not self._is_over() and (due := self._due()):
            for run_id, (store, event_id) in due.items():
                self._deliver_safely(store, run_id, event_id)

    def _due(self) -> dict[str, tuple[Store, int]]:
        now = time.monotonic()
        with self._lock:
            pending = dict(self._pending)
        return {run_id: item for run_id, item in pending.items() if self._paused_until.get(run_id, now) <= now}

    def _deliver_safely(self, store: Store, run_id: str, event_id: int) -> None:
        pause_seconds: float | None = MAX_BACKOFF_SECONDS  # after an unexpected error
        with self._boundary.guard("The alerts of run %s cannot be delivered; this is tried again.", run_id):
            try:
                pause_seconds = self._deliver(WebhookOutbox(store, run_id, self._receiver.id, self._lease_holder))
            except StoreUnavailableError as error:
                logger.debug("The alerts of run %s cannot be delivered now: %s", run_id, error)
                pause_seconds = RETRY_SECONDS
        if pause_seconds is None:
            self._mark_delivered(run_id, event_id)
        else:
            self._paused_until[run_id] = time.monotonic() + pause_seconds

    def _deliver(self, outbox: WebhookOutbox) -> float | None:
        """Deliver the run's alerts one by one; returns None if all are delivered, otherwise the seconds to wait."""
        # The clock may have been ahead when this process started.
        started_at = min(self._started_at, time.time())
        not_before = started_at - GIVE_UP_SECONDS, started_at - NEWS_SECONDS
        first = outbox.next(*not_before)  # before any write: the store of an old run may be read-only
        if first is None:
            return None
        if not outbox.lease(time.time(), first.id):
            return RETRY_SECONDS
        while not self._is_over() and (event := outbox.next(*not_before)) is not None:
            attempt = self._receiver.deliver(event, int(time.time()))
            if attempt.outcome is DeliveryOutcome.GONE:
                self._switch_off(attempt)
            elif not self._is_settled(outbox, event, attempt):
                outbox.release()
                self._pause(backoff_seconds(self._failures, attempt.wait_seconds))
                return 0.0
            elif not outbox.mark_delivered(event.id, time.time()):
                return RETRY_SECONDS
        outbox.release()
        return 0.0 if self._is_over() else None

    def _is_over(self) -> bool:
        return self._is_switched_off or self._is_ending()

    def _switch_off(self, attempt: DeliveryAttempt) -> None:
        """Send nothing more from this process; the alerts stay in the store."""
        self._is_switched_off = True
        logger.warning(
            "%s wants no more alerts: %s. None is sent there until the API starts again.",
            _begin(self._receiver.name), attempt.reason,
        )  # fmt: skip

    def _is_settled(self, outbox: WebhookOutbox, event: Event, attempt: DeliveryAttempt) -> bool:
        """Whether this alert need not be tried again; if it was not accepted, the log and the run's events say why."""
        if attempt.outcome is DeliveryOutcome.UNAVAILABLE:
            now = time.monotonic()
            failing = self._failing.get(event.run_id)
            if failing is None or failing[0] != event.id:
                failing = self._failing[event.run_id] = (event.id, now)
            if now - failing[1] < GIVE_UP_SECONDS:
                if self._failures == 0:
                    logger.warning("%s is tried again: %s.", _begin(self._receiver.name), attempt.reason)
                self._failures += 1
                return False
        if attempt.outcome is not DeliveryOutcome.ACCEPTED:
            arguments = (event.details["name"], event.run_id, self._receiver.name, attempt.reason)
            logger.warning("The alert %s of run %s is not delivered to %s: %s.", *arguments)
            outbox.note_undelivered(event, self._receiver.name, attempt.reason)
        self._failures = 0
        return True

    def _pause(self, seconds: float) -> None:
        """Wait `seconds` before the next attempt, or until the process ends."""
        deadline = time.monotonic() + seconds
        while not self._is_ending() and (remaining := deadline - time.monotonic()) > 0:
            time.sleep(min(remaining, TICK_SECONDS))

    def _mark_delivered(self, run_id: str, event_id: int) -> None:
        """Record that all alerts of a run up to event `event_id` are delivered."""
        self._failing.pop(run_id, None)
        self._paused_until.pop(run_id, None)
        with self._lock:
            self._delivered[run_id] = event_id
            if self._pending[run_id][1] <= event_id:
                del self._pending[run_id]


def _begin(name: str) -> str:
    """Return a name at the beginning of a sentence."""
    return name[:1].upper() + name[1:]


def backoff_seconds(failures: int, wait_seconds: float) -> float:
    """Return the pause after so many failed attempts; the receiver asked for one of `wait_seconds`."""
    doubled = min(INITIAL_BACKOFF_SECONDS * 2.0 ** min(failures - 1, 30), MAX_BACKOFF_SECONDS)
    return max(doubled * random.uniform(0.5, 1.0), min(wait_seconds, MAX_BACKOFF_SECONDS))
