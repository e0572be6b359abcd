"""The last alert of a run whose trainer has failed: that the store says so, and whether all receivers have got it."""

from pathlib import Path

import sqlalchemy as sa

from service.run.state import RunState
from service.store.store import RunRow, Store, StoreUnavailableError
from service.store.tables import deliveries, events

BUSY_SECONDS = 1.0
"""How long a locked store is waited for."""


class FailureNotice:
    """Looks after the alert `failed` of a run; a store that cannot be read or written counts as not there."""

    def __init__(self, location: Path | str, run: RunRow, receivers: tuple[str, ...]) -> None:
        """Of a run since its last start, in the store at `location`; `receivers` are their ids there."""
        self._store = Store(location, busy_seconds=BUSY_SECONDS)
        self._run = run
        self._receivers = receivers

    def close(self) -> None:
        """Close the connections to the store."""
        self._store.close()

    def mark_failed(self, reason: str) -> bool:
        """Write the state `failed` with its reason, unless the trainer has written how it ended.

        Returns whether the run has failed.
        """
        try:
            run = self._store.runs.get(self._run.id)
            if run is not None and not run.state.has_ended:
                self._store.runs.update(run.id, state=RunState.FAILED.value, reason=reason)
                return True
        except StoreUnavailableError:
            return False
        return run is not None and run.state is RunState.FAILED

    def is_delivered(self) -> bool:
        """Return True if the alert is in the event log, and each receiver has accepted it."""
        is_alert = (events.c.run_id == self._run.id) & (events.c.kind == "alert")
        is_failed = (events.c.details["name"].as_string() == "failed") & (events.c.time >= self._run.started_at)
        alert_id = sa.select(sa.func.max(events.c.id)).where(is_alert & is_failed).scalar_subquery()
        has_got_it = (deliveries.c.run_id == self._run.id) & (deliveries.c.event_id >= alert_id)
        query = sa.select(sa.func.count()).where(has_got_it & deliveries.c.receiver.in_(self._receivers))
        try:
            with self._store.transaction() as connection:
                return connection.execute(query).scalar() == len(self._receivers)
        except StoreUnavailableError:
            return False
