"""Delivers the alerts of all runs to the receiver of the webhooks: each until it is taken, in order, at least once.

What is still to be delivered is told by the store, so a receiver that is away costs no memory, and a restart of this
process forgets nothing.
"""

import logging
import random
import socket
import threading
import time
import uuid
from collections.abc import Callable

from api.alerts.webhook import DeliveryAttempt, DeliveryOutcome, WebhookTarget, post
from service.alerts.webhook_outbox import WebhookOutbox
from service.store.queries.events import Event
from service.store.store import Store, StoreUnavailableError

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 300.0
"""Pauses between attempts double from the first to the second of these, each shortened at random by up to a half."""
GIVE_UP_SECONDS = 7200.0
"""An alert that could not be delivered for so long is dropped, as is one that is so old when this process starts."""
REST_SECONDS = 5.0
"""Before it is tried again what another process is at, or what cannot be read now."""
TICK_SECONDS = 0.5

logger = logging.getLogger(__name__)


class WebhookSender:
    """One thread; nothing that happens to it disturbs anything else."""

    def __init__(self, receiver: WebhookTarget, is_ending: Callable[[], bool]) -> None:
        """It ends once `is_ending` is true."""
        self._receiver = receiver
        self._is_ending = is_ending
        self._holder = f"{socket.gethostname()} {uuid.uuid4().hex}"
        self._not_before = time.time() - GIVE_UP_SECONDS
        # Shared: by run, the last alert that was told of, and the last one up to which all are delivered
        self._changed = threading.Condition()
        self._told: dict[str, tuple[Store, int]] = {}
        self._done: dict[str, int] = {}
        # Of the thread: times of the monotonic clock
        self._failures = 0
        self._failing: dict[str, tuple[int, float]] = {}
        """By run, the alert that is tried in vain, and since when."""
        self._resting: dict[str, float] = {}
        """By run, until when it is left alone, for a reason of its own: it must not delay the others."""

    def start(self) -> None:
        """Begin to deliver."""
        threading.Thread(target=self._run, name="courier", daemon=True).start()

    def notify(self, store: Store, run_id: str, event_id: int) -> None:
        """There may be alerts of a run to deliver, up to this event; returns at once."""
        with self._changed:
            if event_id > self._done.get(run_id, 0):
                self._told[run_id] = (store, event_id)
                self._changed.notify()

    # The thread

    def _run(self) -> None:
        while not self._is_ending():
            with self._changed:
                if not self._due():
                    self._changed.wait(TICK_SECONDS)
                waiting = self._due()
            for run_id, (store, event_id) in waiting.items():
                self._deliver_safely(store, run_id, event_id)

    def _due(self) -> dict[str, tuple[Store, int]]:
        now = time.monotonic()
        return {run_id: told for run_id, told in self._told.items() if self._resting.get(run_id, now) <= now}

    def _deliver_safely(self, store: Store, run_id: str, event_id: int) -> None:
        try:
            rest_seconds = self._deliver(WebhookOutbox(store, run_id, self._receiver.id, self._holder))
        except StoreUnavailableError as error:
            logger.debug("The alerts of run %s cannot be delivered now: %s", run_id, error)
            rest_seconds = REST_SECONDS
        except Exception:  # the boundary of the thread
            logger.exception("The alerts of run %s cannot be delivered; this is tried again.", run_id)
            rest_seconds = LONGEST_PAUSE_SECONDS
        if rest_seconds is None:
            self._forget(run_id, event_id)
        else:
            self._resting[run_id] = time.monotonic() + rest_seconds

    def _deliver(self, outbox: WebhookOutbox) -> float | None:
        """Deliver what waits, one by one; None once all is, else how many seconds to leave the run alone."""
        # The clock may have been ahead when this process started.
        not_before = min(self._not_before, time.time() - GIVE_UP_SECONDS)
        if outbox.next(not_before) is None:  # without a write: the store of an old run may allow none
            return None
        if not outbox.lease(time.time()):
            return REST_SECONDS
        while not self._is_ending() and (event := outbox.next(not_before)) is not None:
            attempt = post(self._receiver, event, int(time.time()))
            if not self._is_settled(event, attempt):
                outbox.release()
                self._pause(self._pause_seconds(attempt))
                return 0.0
            if not outbox.mark_delivered(event.id, time.time()):
                return REST_SECONDS
        outbox.release()
        return 0.0 if self._is_ending() else None

    def _is_settled(self, event: Event, attempt: DeliveryAttempt) -> bool:
        """Whether this alert need not be tried again; says so where it was not taken."""
        if attempt.outcome is DeliveryOutcome.AWAY:
            now = time.monotonic()
            failing = self._failing.get(event.run_id)
            if failing is None or failing[0] != event.id:
                failing = self._failing[event.run_id] = (event.id, now)
            if now - failing[1] < GIVE_UP_SECONDS:
                if self._failures == 0:
                    logger.warning("The webhook at %s is tried again: %s.", self._receiver.host, attempt.why)
                self._failures += 1
                return False
        if attempt.outcome is not DeliveryOutcome.TAKEN:
            said = (event.details["name"], event.run_id, self._receiver.host, attempt.why)
            logger.warning("The alert %s of run %s is not delivered to the webhook at %s: %s.", *said)
        self._failures = 0
        return True

    def _pause_seconds(self, attempt: DeliveryAttempt) -> float:
        doubled = min(FIRST_PAUSE_SECONDS * 2.0 ** min(self._failures - 1, 30), LONGEST_PAUSE_SECONDS)
        return max(doubled * random.uniform(0.5, 1.0), min(attempt.wait_seconds, LONGEST_PAUSE_SECONDS))

    def _pause(self, seconds: float) -> None:
        """Leave the receiver alone, unless the process ends."""
        deadline = time.monotonic() + seconds
        while not self._is_ending() and (left := deadline - time.monotonic()) > 0:
            time.sleep(min(left, TICK_SECONDS))

    def _forget(self, run_id: str, event_id: int) -> None:
        """All alerts of a run up to this event are delivered."""
        self._failing.pop(run_id, None)
        self._resting.pop(run_id, None)
        with self._changed:
            self._done[run_id] = event_id
            if self._told[run_id][1] <= event_id:
                del self._told[run_id]
