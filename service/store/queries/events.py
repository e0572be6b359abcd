"""The journal of a run: everything that happened to it, numbered, for whoever follows it and goes on where he was.

Events are only ever appended, each in the transaction that made it true. The numbers of one run's events become visible
in their order: who has read up to one number has missed none before it.
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
    """One thing that happened: its number in the store, when (Unix seconds) and at which step."""

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
        """Append one event; without `step`, at the step that the run has reached as far as the store knows."""
        with self._database.run_transaction(run_id) as connection:
            append_event(connection, run_id, step, kind, details)

    def after(self, run_id: str, after_id: int, limit: int) -> list[Event]:
        """The first `limit` events with numbers above `after_id`, in order."""
        query = sa.select(events).where((events.c.run_id == run_id) & (events.c.id > after_id))
        with self._database.transaction() as connection:
            return [Event(**row._asdict()) for row in connection.execute(query.order_by(events.c.id).limit(limit))]

    def last_id(self, run_id: str) -> int:
        """The number of the latest event, 0 where there is none."""
        with self._database.transaction() as connection:
            query = sa.select(sa.func.max(events.c.id)).where(events.c.run_id == run_id)
            return connection.execute(query).scalar() or 0

    def counts(self, run_id: str) -> dict[str, int]:
        """How many events there are of each kind."""
        query = sa.select(events.c.kind, sa.func.count()).where(events.c.run_id == run_id).group_by(events.c.kind)
        with self._database.transaction() as connection:
            return {row[0]: row[1] for row in connection.execute(query)}


def append_event(
    connection: sa.Connection, run_id: str, step: int | None, kind: str, details: Mapping[str, Any]
) -> None:
    """Append an event as a part of a turn on the run; see `EventQueries.add`."""
    reached = sa.select(runs.c.step).where(runs.c.id == run_id).scalar_subquery()
    row = {
        "run_id": run_id,
        "time": time.time(),
        "step": sa.func.coalesce(reached, 0) if step is None else step,
        "kind": kind,
        "details": dict(details),
    }
    connection.execute(sa.insert(events).values(row))
