"""Tracks durably which alerts a webhook receiver has got, so that a restart neither loses nor repeats one."""

from typing import Any

import sqlalchemy as sa

from service.store.queries.events import Event
from service.store.store import Store
from service.store.tables import deliveries, events

LEASE_SECONDS = 20.0
"""Duration of the lease of the delivering process; most deliveries take less."""


class WebhookOutbox:
    """Queue of one run's alerts for one receiver, in order. Methods raise `StoreUnavailableError`.

    `holder` identifies the process: of several processes with the same receiver, only the lease holder delivers.
    """

    def __init__(self, store: Store, run_id: str, receiver: str, holder: str) -> None:
        self._store = store
        self._run_id = run_id
        self._holder = holder
        self._receiver = receiver
        self._key = (deliveries.c.run_id == run_id) & (deliveries.c.receiver == receiver)

    def lease(self, now: float, first_id: int) -> bool:
        """Take or renew the lease at the Unix time `now`; returns False while another process holds it.

        For a receiver that is new to the run, the alerts before event `first_id` count as delivered.
        """
        lease = {"holder": self._holder, "held_until": now + LEASE_SECONDS}
        with self._store.run_transaction(self._run_id) as connection:
            row = connection.execute(sa.select(deliveries).where(self._key)).first()
            if row is None:
                key = {"run_id": self._run_id, "receiver": self._receiver}
                connection.execute(sa.insert(deliveries).values(**key, event_id=first_id - 1, **lease))
                return True
            if row.holder not in (None, self._holder) and now < row.held_until < now + 2 * LEASE_SECONDS:
                return False
            connection.execute(sa.update(deliveries).where(self._key).values(**lease))
        return True

    def next(self, not_before: float, new_not_before: float) -> Event | None:
        """Return the first undelivered alert, or None; alerts before the Unix time `not_before` are skipped.

        For a receiver that is new to the run, those before `new_not_before` are.
        """
        last_id = sa.func.max(deliveries.c.event_id)
        delivered = sa.select(sa.func.coalesce(last_id, 0)).where(self._key).scalar_subquery()
        since = sa.select(sa.case((last_id.is_(None), new_not_before), else_=not_before)).where(self._key)
        undelivered = (events.c.run_id == self._run_id) & (events.c.kind == "alert") & (events.c.id > delivered)
        is_due = undelivered & (events.c.time >= since.scalar_subquery())
        query = sa.select(events).where(is_due).order_by(events.c.id).limit(1)
        with self._store.transaction() as connection:
            row = connection.execute(query).first()
        return None if row is None else Event(**row._asdict())

    def mark_delivered(self, event_id: int, now: float) -> bool:
        """Mark this alert and all before it as delivered, and renew the lease at the Unix time `now`.

        Returns False and changes nothing if another process has taken the lease, because it may have delivered more.
        """
        return self._update(event_id=event_id, held_until=now + LEASE_SECONDS)

    def note_undelivered(self, event: Event, receiver: str, reason: str) -> None:
        """Append to the run's events that this alert will not reach `receiver` (its name for people), and why."""
        details = {"name": event.details["name"], "receiver": receiver, "reason": reason}
        self._store.events.add(self._run_id, None, "alert undelivered", details)

    def release(self) -> None:
        """Release the lease, so that other processes can deliver."""
        self._update(holder=None, held_until=0.0)

    def _update(self, **values: Any) -> bool:
        """Update the row if this process still holds the lease; returns whether it does."""
        is_held = self._key & (deliveries.c.holder == self._holder)
        with self._store.run_transaction(self._run_id) as connection:
            return connection.execute(sa.update(deliveries).where(is_held).values(**values)).rowcount == 1
