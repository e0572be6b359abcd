"""The store: the database that the trainer writes and the API reads.

One SQLite file in the run directory, or with STORE_URL one PostgreSQL database for many runs. SQLAlchemy Core:
`service/store/database.py` has its transactions, `service/store/queries/` one module per table. Times are Unix seconds.
"""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from service.config.settings import RunConfig
from service.run.directory import RunDirectory
from service.store.database import BUSY_SECONDS, Database, StoreUnavailableError
from service.store.event_replay import EventReplay
from service.store.queries.commands import CommandQueries
from service.store.queries.events import Event, EventQueries
from service.store.queries.ranks import RankQueries
from service.store.queries.records import RecordQueries, RecordRow
from service.store.queries.runs import RunQueries, RunRow
from service.store.queries.series import SeriesQueries, SeriesRow
from service.store.rollups.buckets import Bucket

__all__ = [
    "Bucket",
    "Event",
    "RecordRow",
    "RunRow",
    "SeriesRow",
    "Store",
    "StoreUnavailableError",
    "open_store",
    "store_location",
]


class Store(Database):
    """One database and the queries on each of its tables; safe to use from several threads.

    `runs`, `records`, `series`, `commands`, `events` and `ranks` are named after their tables; `replay` reads events
    and log points in one order. Values that JSON cannot hold raise `ValueError`, everything else that goes wrong
    `StoreUnavailableError`.
    """

    def __init__(
        self,
        location: Path | str,
        *,
        create: bool = False,
        keep_open: bool = False,
        busy_seconds: float = BUSY_SECONDS,
    ) -> None:
        """Connect; see `Database`."""
        super().__init__(location, create=create, keep_open=keep_open, busy_seconds=busy_seconds)
        self.runs = RunQueries(self)
        self.records = RecordQueries(self)
        self.series = SeriesQueries(self)
        self.commands = CommandQueries(self)
        self.events = EventQueries(self)
        self.ranks = RankQueries(self)
        self.replay = EventReplay(self, self.events, self.series)

    def open_run(self, run_id: str, config: Mapping[str, Any], now: float | None = None) -> None:
        """Begin or continue a run, now or at a Unix time that has passed.

        Commands that a crash left half done become `failed (interrupted)`; those that waited for a trainer too long
        become `expired`: a `stop` of yesterday must not end today's resume.
        """
        now = time.time() if now is None else now
        with self.transaction_scope():
            self.runs.start(run_id, config, now)
            self.commands.settle(run_id, now)

    def forget_after(self, run_id: str, step: int) -> None:
        """Delete log points and copies of records beyond `step`: a resume walks those steps again."""
        with self.transaction_scope():
            self.series.forget_after(run_id, step)
            self.records.forget_after(run_id, step)

    def branch_off(self, run_id: str, step: int, name: str) -> None:
        """Keep log points and records beyond `step` under the run id `name`: the run continues another way.

        What is there under that name is replaced: a crash right after a rollback may let a run leave a branch twice.
        """
        with self.transaction_scope():
            self.series.branch_off(run_id, step, name)
            self.records.branch_off(run_id, step, name)


def store_location(config: RunConfig) -> Path | str:
    """Where a run with these settings keeps its store: the server of STORE_URL, else the file in DATA_ROOT."""
    return config.store_url or RunDirectory(config.data_root).store


def open_store(
    config: RunConfig, *, create: bool = False, keep_open: bool = False, busy_seconds: float = BUSY_SECONDS
) -> Store:
    """The store of a run with these settings; see `Store`."""
    return Store(store_location(config), create=create, keep_open=keep_open, busy_seconds=busy_seconds)
