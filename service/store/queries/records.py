"""Which records the store has copies of, without the copies: enough to turn pages in either direction."""

from typing import NamedTuple

import sqlalchemy as sa

from service.store.database import Database
from service.store.tables import records


class RecordMark(NamedTuple):
    """One copy: its step, when it was put into the store (Unix seconds), and the sha256 of the file's bytes."""

    step: int
    time: float
    sha256: str


def record_marks(
    store: Database, run_id: str, *, beyond: int | None = None, newest_first: bool = False, limit: int
) -> list[RecordMark]:
    """The first `limit` copies of a run's records beyond a step, upwards or from the newest down.

    Raises `StoreUnavailableError`.
    """
    chosen = records.c.run_id == run_id
    if beyond is not None:
        chosen &= records.c.step < beyond if newest_first else records.c.step > beyond
    order = records.c.step.desc() if newest_first else records.c.step
    query = sa.select(records.c.step, records.c.time, records.c.sha256).where(chosen).order_by(order).limit(limit)
    with store.transaction() as connection:
        return [RecordMark(*row) for row in connection.execute(query)]
