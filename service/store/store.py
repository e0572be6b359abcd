"""The store: one database together with the queries on each of its tables.

It is an SQLite file in the run directory, or with STORE_URL a PostgreSQL database for many runs.
`service/store/database.py` defines the transactions, `service/store/queries/` has one module per table. Times are Unix
seconds.
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
    and log points merged in time order. Every query raises `ValueError` for values that JSON cannot hold, and
    `StoreUnavailableError` for any other failure.
    """

    def __init__(
        self,
        location: Path | str,
        *,
        create: bool = False,
        keep_open: bool = False,
        busy_seconds: float = BUSY_SECONDS,
    ) -> None:
        """Open the store; see `Database`."""
        super().__init__(location, create=create, keep_open=keep_open, busy_seconds=busy_seconds)
        self.runs = RunQueries(self)
        self.records = RecordQueries(self)
        self.series = SeriesQueries(self)
        self.commands = CommandQueries(self)
        self.events = EventQueries(self)
        self.ranks = RankQueries(self)
        self.replay = EventReplay(self, self.events, self.series)

    def open_run(self, run_id: str, config: Mapping[str, Any], now: float | None = None) -> None:
        """Start or resume a run as of the Unix time `now`, by default the present.

        Commands that a crash interrupted become `failed`. Those that waited too long for a trainer become `expired`, so
        that an old `stop` does not end a run that is resumed much later.
        """
        now = time.time() if now is None else now
        with self.transaction_scope():
            self.runs.start(run_id, config, now)
            self.commands.recover(run_id, now)

    def delete_after(self, run_id: str, step: int) -> None:
        """Delete log points and record copies after `step`, because a resumed run repeats those steps."""
        with self.transaction_scope():
            self.series.delete_after(run_id, step)
            self.records.delete_after(run_id, step)

    def move_to_branch(self, run_id: str, step: int, branch_id: str) -> None:
        """Move log points and record copies after `step` to the run id `branch_id`, because the run is rolled back.

        Existing rows of `branch_id` are replaced: after a crash during a rollback, the same branch is moved again.
        """
        with self.transaction_scope():
            self.series.move_to_branch(run_id, step, branch_id)
            self.records.move_to_branch(run_id, step, branch_id)


def store_location(config: RunConfig) -> Path | str:
    """Return STORE_URL, or if it is empty, the path of the store's file in DATA_ROOT."""
    return config.store_url or RunDirectory(config.data_root).store


def open_store(
    config: RunConfig, *, create: bool = False, keep_open: bool = False, busy_seconds: float = BUSY_SECONDS
) -> Store:
    """Open the store of a run with these settings; see `Store`."""
    return Store(store_location(config), create=create, keep_open=keep_open, busy_seconds=busy_seconds)
