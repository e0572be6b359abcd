"""The table `ranks`: the present activity of every rank of a run, written by rank 0 and read by the API."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields

import sqlalchemy as sa

from service.store.database import Database
from service.store.tables import ranks


@dataclass(frozen=True)
class RankRow:
    """The activity of one rank.

    `time` is when it last reported and `stacked_at` when `stack` was taken (Unix seconds). `stage` and `stage_seconds`
    are those at `time`. `host`, `pid` and `device` are None if the rank has never reported.
    """

    rank: int
    time: float
    host: str | None
    pid: int | None
    device: str | None
    stage: str
    step: int | None
    stage_seconds: float
    stack: str | None
    stacked_at: float | None


_COLUMNS = tuple(ranks.c[field.name] for field in fields(RankRow))


class RankQueries:
    """Queries on the table `ranks`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def replace(self, run_id: str, rows: Iterable[RankRow]) -> None:
        """Replace all rows of the run; on `StoreUnavailableError` nothing is changed."""
        values = [{"run_id": run_id, **asdict(row)} for row in rows]
        with self._database.run_transaction(run_id, announces=False) as connection:
            connection.execute(sa.delete(ranks).where(ranks.c.run_id == run_id))
            if values:
                connection.execute(sa.insert(ranks), values)

    def find(self, run_id: str) -> list[RankRow]:
        """Return the ranks of a run, ordered by rank; none before the first report. Raises `StoreUnavailableError`."""
        query = sa.select(*_COLUMNS).where(ranks.c.run_id == run_id).order_by(ranks.c.rank)
        with self._database.transaction() as connection:
            return [RankRow(*row) for row in connection.execute(query)]
