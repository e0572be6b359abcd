"""The table `events`: the append-only log of everything that happens to a run.

An event is appended in the transaction of the change that it reports. The ids of a run's events become visible in
ascending order, so a reader can continue after the last id that it has read without missing an event.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from service.store.database import Database
from service.store.tables import events, runs


@dataclass(frozen=True)
class Event:
    """One event of a run: its id in the store, its time (Unix seconds) and its step."""

    id: int
    run_id: str
    time: float
    step: int
    kind: str
    details: Mapping[str, Any]


class EventQueries:
    """Queries on the table `events`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, run_id: str, step: int | None, kind: str, details: Mapping[str, Any]) -> None:
        """Append one event; without `step`, at the run's step in the store."""
        with self._database.run_transaction(run_id) as connection:
            append_event(connection, run_id, step, kind, details)

    def add_first(self, run_id: str, step: int, kind: str, details: Mapping[str, Any]) -> None:
        """Append the first event in a store that has taken the place of another.

        It and all later events get higher ids than any of the other store, after which readers would look in vain.
        """
        with self._database.run_transaction(run_id) as connection:
            least = int(1000 * time.time())  # far more than one id a millisecond never were
            if connection.dialect.name == "postgresql":
                connection.execute(_SKIP_IDS, {"least": least})
                append_event(connection, run_id, step, kind, details)
            else:
                last = connection.execute(sa.select(sa.func.max(events.c.id))).scalar() or 0
                append_event(connection, run_id, step, kind, details, event_id=max(least, last + 1))

    def find(self, run_id: str, after_id: int, limit: int) -> list[Event]:
        """Return the first `limit` events of a run with ids above `after_id`, in order."""
        query = sa.select(events).where((events.c.run_id == run_id) & (events.c.id > after_id))
        with self._database.transaction() as connection:
            return [Event(**row._asdict()) for row in connection.execute(query.order_by(events.c.id).limit(limit))]

    def page(
        self, run_id: str, *, before_id: int | None, kinds: Sequence[str] | None, limit: int, after_id: int = 0
    ) -> tuple[list[Event], bool]:
        """Return the newest `limit` events with ids below `before_id`, newest first, and whether no older one follows.

        With `kinds`, only events of these kinds; with `after_id`, only those with higher ids.
        """
        condition = (events.c.run_id == run_id) & (events.c.id > after_id)
        if before_id is not None:
            condition &= events.c.id < before_id
        if kinds is not None:
            condition &= events.c.kind.in_(kinds)
        query = sa.select(events).where(condition).order_by(events.c.id.desc()).limit(limit + 1)
        with self._database.transaction() as connection:
            found = [Event(**row._asdict()) for row in connection.execute(query)]
        return found[:limit], len(found) <= limit

    def last_id(self, run_id: str) -> int:
        """Return the id of the run's latest event, or 0 if there is none."""
        with self._database.transaction() as connection:
            query = sa.select(sa.func.max(events.c.id)).where(events.c.run_id == run_id)
            return connection.execute(query).scalar() or 0

    def counts(self, run_id: str) -> dict[str, int]:
        """Return the number of the run's events by kind."""
        query = sa.select(events.c.kind, sa.func.count()).where(events.c.run_id == run_id).group_by(events.c.kind)
        with self._database.transaction() as connection:
            return {row[0]: row[1] for row in connection.execute(query)}


_SEQUENCE = "pg_get_serial_sequence('events', 'id')"
_SKIP_IDS = sa.text(
    f"SELECT CASE WHEN has_sequence_privilege({_SEQUENCE}, 'UPDATE') "
    f"THEN setval({_SEQUENCE}, GREATEST(nextval({_SEQUENCE}), :least)) END"
)


def append_event(
    connection: sa.Connection,
    run_id: str,
    step: int | None,
    kind: str,
    details: Mapping[str, Any],
    *,
    event_id: int | None = None,
) -> None:
    """Append an event inside a transaction that holds the run's lock; see `EventQueries.add`.

    The store chooses its id unless `event_id` is given.
    """
    run_step = sa.select(runs.c.step).where(runs.c.id == run_id).scalar_subquery()
    row = {
        "run_id": run_id,
        "time": time.time(),
        "step": sa.func.coalesce(run_step, 0) if step is None else step,
        "kind": kind,
        "details": dict(details),
    }
    connection.execute(sa.insert(events).values(row if event_id is None else {"id": event_id, **row}))
