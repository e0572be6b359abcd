"""The table `records`: a copy of every record that was written as a file, and the sha256 of that file.

Times are Unix seconds.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import sqlalchemy as sa

from service.run.record import record_name
from service.store.database import Database
from service.store.queries.events import append_event
from service.store.tables import records, upsert


@dataclass(frozen=True)
class RecordRow:
    """The stored copy of a record; `sha256` is that of its file."""

    step: int
    time: float
    sha256: str
    record: Mapping[str, Any]


_RECORD_COLUMNS = (records.c.step, records.c.time, records.c.sha256, records.c.record)

EVENT_KEYS = ("trigger", "quality_ki_value", "quality_lr_value", "psnr_ki_db", "validation_loss_value")
"""Keys of a record whose values are copied into its event."""


class RecordVersion(NamedTuple):
    """Identifies one version of a copy by step, time of storage (Unix seconds) and sha256 of the record's file."""

    step: int
    time: float
    sha256: str


class RecordQueries:
    """Queries on the table `records`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, run_id: str, step: int, record: Mapping[str, Any], sha256: str) -> None:
        """Store the copy of a record and append an event; replaces an earlier copy of the same step."""
        row = {"run_id": run_id, "step": step, "time": time.time(), "record": dict(record), "sha256": sha256}
        values = {name: record.get(name) for name in EVENT_KEYS}
        details = {"step": step, "name": record_name(step), "sha256": sha256, **values}
        with self._database.run_transaction(run_id) as connection:
            connection.execute(upsert(records, connection.dialect.name), row)
            append_event(connection, run_id, step, "record", details)

    def restore(self, run_id: str, step: int, record: Mapping[str, Any], sha256: str, saved_at: float) -> None:
        """Store the copy of a record that was saved at the Unix time `saved_at`, without an event."""
        row = {"run_id": run_id, "step": step, "time": saved_at, "record": dict(record), "sha256": sha256}
        with self._database.change(run_id) as connection:
            connection.execute(upsert(records, connection.dialect.name), row)

    def find(self, run_id: str, *, after_step: int = -1, limit: int) -> list[RecordRow]:
        """Return the first `limit` records of a run after `after_step`, in step order."""
        condition = (records.c.run_id == run_id) & (records.c.step > after_step)
        query = sa.select(*_RECORD_COLUMNS).where(condition).order_by(records.c.step).limit(limit)
        with self._database.transaction() as connection:
            return [RecordRow(*row) for row in connection.execute(query)]

    def get(self, run_id: str, step: int) -> RecordRow | None:
        """Return the record of one step, or None."""
        condition = (records.c.run_id == run_id) & (records.c.step == step)
        return self._one_record(sa.select(*_RECORD_COLUMNS).where(condition))

    def latest(self, run_id: str) -> RecordRow | None:
        """Return the record of the highest step, or None."""
        query = sa.select(*_RECORD_COLUMNS).where(records.c.run_id == run_id)
        return self._one_record(query.order_by(records.c.step.desc()).limit(1))

    def count(self, run_id: str) -> int:
        """Return the number of records of a run."""
        query = sa.select(sa.func.count()).select_from(records).where(records.c.run_id == run_id)
        with self._database.transaction() as connection:
            return connection.execute(query).scalar_one()

    def move_to_branch(self, run_id: str, step: int, branch_id: str) -> None:
        """Move the copies after `step` to the run id `branch_id`, which has none yet."""
        moved = (records.c.run_id == run_id) & (records.c.step > step)
        with self._database.transaction() as connection:
            connection.execute(sa.update(records).where(moved).values(run_id=branch_id))

    def _one_record(self, query: sa.Select[Any]) -> RecordRow | None:
        with self._database.transaction() as connection:
            row = connection.execute(query).first()
        return None if row is None else RecordRow(*row)

    def find_versions(
        self, run_id: str, *, beyond: int | None = None, newest_first: bool = False, limit: int
    ) -> list[RecordVersion]:
        """Return the versions of the first `limit` copies after the step `beyond`, in ascending or descending order.

        Raises `StoreUnavailableError`.
        """
        condition = records.c.run_id == run_id
        if beyond is not None:
            condition &= records.c.step < beyond if newest_first else records.c.step > beyond
        order = records.c.step.desc() if newest_first else records.c.step
        columns = (records.c.step, records.c.time, records.c.sha256)
        query = sa.select(*columns).where(condition).order_by(order).limit(limit)
        with self._database.transaction() as connection:
            return [RecordVersion(*row) for row in connection.execute(query)]
