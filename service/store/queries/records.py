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
from service.store.tables import records


@dataclass(frozen=True)
class RecordRow:
    """The copy of a record that the store keeps: `sha256` is of the bytes of its file."""

    step: int
    time: float
    sha256: str
    record: Mapping[str, Any]


_RECORD_COLUMNS = (records.c.step, records.c.time, records.c.sha256, records.c.record)

RECORD_HEADLINES = ("trigger", "quality_ki_value", "quality_lr_value", "psnr_ki_db", "validation_loss_value")
"""What the journal tells of a record."""


class RecordMark(NamedTuple):
    """One copy: its step, when it was put into the store (Unix seconds), and the sha256 of the file's bytes."""

    step: int
    time: float
    sha256: str


class RecordQueries:
    """Queries on the table `records`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, run_id: str, step: int, record: Mapping[str, Any], sha256: str) -> None:
        """Keep a copy of a record beside its file, and tell of it; a later one of the same step replaces it."""
        row = {"run_id": run_id, "step": step, "time": time.time(), "record": dict(record), "sha256": sha256}
        headlines = {name: record.get(name) for name in RECORD_HEADLINES}
        details = {"step": step, "name": record_name(step), "sha256": sha256, **headlines}
        with self._database.run_transaction(run_id) as connection:
            connection.execute(sa.delete(records).where((records.c.run_id == run_id) & (records.c.step == step)))
            connection.execute(sa.insert(records).values(row))
            append_event(connection, run_id, step, "record", details)

    def rows(self, run_id: str, *, after_step: int = -1, limit: int) -> list[RecordRow]:
        """The first `limit` records beyond `after_step`, in step order."""
        chosen = (records.c.run_id == run_id) & (records.c.step > after_step)
        query = sa.select(*_RECORD_COLUMNS).where(chosen).order_by(records.c.step).limit(limit)
        with self._database.transaction() as connection:
            return [RecordRow(*row) for row in connection.execute(query)]

    def get(self, run_id: str, step: int) -> RecordRow | None:
        """The record of one step, or None."""
        chosen = (records.c.run_id == run_id) & (records.c.step == step)
        return self._one_record(sa.select(*_RECORD_COLUMNS).where(chosen))

    def last(self, run_id: str) -> RecordRow | None:
        """The record of the highest step, or None."""
        query = sa.select(*_RECORD_COLUMNS).where(records.c.run_id == run_id)
        return self._one_record(query.order_by(records.c.step.desc()).limit(1))

    def count(self, run_id: str) -> int:
        """How many records there are."""
        query = sa.select(sa.func.count()).select_from(records).where(records.c.run_id == run_id)
        with self._database.transaction() as connection:
            return connection.execute(query).scalar_one()

    def forget_after(self, run_id: str, step: int) -> None:
        """Delete the copies of records beyond `step`: a resume writes those records again."""
        with self._database.transaction() as connection:
            connection.execute(sa.delete(records).where(_beyond(run_id, step)))

    def branch_off(self, run_id: str, step: int, name: str) -> None:
        """Keep the copies beyond `step` under the run id `name`; one of the same step that is there is replaced."""
        beyond = _beyond(run_id, step)
        replaced = (records.c.run_id == name) & records.c.step.in_(sa.select(records.c.step).where(beyond))
        with self._database.transaction() as connection:
            connection.execute(sa.delete(records).where(replaced))
            connection.execute(sa.update(records).where(beyond).values(run_id=name))

    def _one_record(self, query: sa.Select[Any]) -> RecordRow | None:
        with self._database.transaction() as connection:
            row = connection.execute(query).first()
        return None if row is None else RecordRow(*row)

    def marks(
        self, run_id: str, *, beyond: int | None = None, newest_first: bool = False, limit: int
    ) -> list[RecordMark]:
        """The first `limit` copies of a run's records beyond a step, upwards or from the newest down.

        Raises `StoreUnavailableError`.
        """
        chosen = records.c.run_id == run_id
        if beyond is not None:
            chosen &= records.c.step < beyond if newest_first else records.c.step > beyond
        order = records.c.step.desc() if newest_first else records.c.step
        query = sa.select(records.c.step, records.c.time, records.c.sha256).where(chosen).order_by(order).limit(limit)
        with self._database.transaction() as connection:
            return [RecordMark(*row) for row in connection.execute(query)]


def _beyond(run_id: str, step: int) -> sa.ColumnElement[bool]:
    return (records.c.run_id == run_id) & (records.c.step > step)
