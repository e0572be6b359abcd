"""Which alerts have been delivered to a receiver: durable, so that a restart neither forgets one nor begins anew."""

from typing import Any

import sqlalchemy as sa

from service.store.queries.events import Event
from service.store.store import Store
from service.store.tables import deliveries, events

HOLD_SECONDS = 20.0
"""Who delivers keeps others from it for so long at a time, unless he is through earlier; most attempts are shorter."""


class WebhookOutbox:
    """The alerts of one run for one receiver, in their order. Methods raise `StoreUnavailableError`.

    `holder` names who delivers: of several processes with the same receiver, one does it at a time.
    """

    def __init__(self, store: Store, run_id: str, receiver: str, holder: str) -> None:
        self._store = store
        self._run_id = run_id
        self._holder = holder
        self._receiver = receiver
        self._key = (deliveries.c.run_id == run_id) & (deliveries.c.receiver == receiver)

    def lease(self, now: float) -> bool:
        """Begin, or go on, to deliver at the Unix time `now`; False while somebody else does."""
        held = {"holder": self._holder, "held_until": now + HOLD_SECONDS}
        with self._store.run_transaction(self._run_id) as connection:
            row = connection.execute(sa.select(deliveries).where(self._key)).first()
            if row is None:
                key = {"run_id": self._run_id, "receiver": self._receiver}
                connection.execute(sa.insert(deliveries).values(**key, event_id=0, **held))
                return True
            if row.holder not in (None, self._holder) and now < row.held_until < now + 2 * HOLD_SECONDS:
                return False
            connection.execute(sa.update(deliveries).where(self._key).values(**held))
        return True

    def next(self, not_before: float) -> Event | None:
        """The first alert that was not delivered yet; those from before the Unix time `not_before` are left out."""
        done = sa.select(sa.func.coalesce(sa.func.max(deliveries.c.event_id), 0)).where(self._key).scalar_subquery()
        chosen = (events.c.run_id == self._run_id) & (events.c.kind == "alert") & (events.c.id > done)
        query = sa.select(events).where(chosen & (events.c.time >= not_before)).order_by(events.c.id).limit(1)
        with self._store.transaction() as connection:
            row = connection.execute(query).first()
        return None if row is None else Event(**row._asdict())

    def mark_delivered(self, event_id: int, now: float) -> bool:
        """This one, and all before it, need not be delivered any more; go on to hold at the Unix time `now`.

        False where somebody else has begun to deliver meanwhile, who may be further: then nothing changes.
        """
        return self._change(event_id=event_id, held_until=now + HOLD_SECONDS)

    def release(self) -> None:
        """Let others deliver."""
        self._change(holder=None, held_until=0.0)

    def _change(self, **values: Any) -> bool:
        """Whether it is still held, so that this could be written."""
        mine = self._key & (deliveries.c.holder == self._holder)
        with self._store.run_transaction(self._run_id) as connection:
            return connection.execute(sa.update(deliveries).where(mine).values(**values)).rowcount == 1
