"""The table `events`: the append-only log of everything that happens to a run.

An event is appended in the transaction of the change that it reports. The ids of a run's events become visible in
ascending order, so a reader can continue after the last id that it has read without missing an event.
"""

import time
from collections.abc import Mapping
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

    def find(self, run_id: str, after_id: int, limit: int) -> list[Event]:
        """Return the first `limit` events of a run with ids above `after_id`, in order."""
        query = sa.select(events).where((events.c.run_id == run_id) & (events.c.id > after_id))
        with self._database.transaction() as connection:
            return [Event(**row._asdict()) for row in connection.execute(query.order_by(events.c.id).limit(limit))]

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


def append_event(
    connection: sa.Connection, run_id: str, step: int | None, kind: str, details: Mapping[str, Any]
) -> None:
    """Append an event inside a transaction that holds the run's lock; see `EventQueries.add`."""
    run_step = sa.select(runs.c.step).where(runs.c.id == run_id).scalar_subquery()
    row = {
        "run_id": run_id,
        "time": time.time(),
        "step": sa.func.coalesce(run_step, 0) if step is None else step,
        "kind": kind,
        "details": dict(details),
    }
    connection.execute(sa.insert(events).values(row))
