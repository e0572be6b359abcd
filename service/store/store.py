"""The store: one database together with the queries on each of its tables.

It is an SQLite file in the run directory, or with STORE_URL a PostgreSQL database for many runs.
`service/store/database.py` defines the transactions, `service/store/queries/` has one module per table. Times are Unix
seconds.
"""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from service.config.settings import RunConfig
from service.run.directory import RunDirectory, numbered_names
from service.store.database import BUSY_SECONDS, Database, StoreConflictError, StoreUnavailableError
from service.store.event_replay import EventReplay
from service.store.queries.commands import CommandQueries
from service.store.queries.events import Event, EventQueries
from service.store.queries.ledgers import LedgerQueries
from service.store.queries.ranks import RankQueries
from service.store.queries.records import RecordQueries, RecordRow
from service.store.queries.runs import RunOwner, RunQueries, RunRow
from service.store.queries.series import SeriesQueries, SeriesRow
from service.store.rollups.buckets import Bucket
from service.store.tables import records, runs, series, series_progress, series_summaries

__all__ = [
    "Bucket",
    "Event",
    "RecordRow",
    "RunRow",
    "SeriesRow",
    "Store",
    "StoreConflictError",
    "StoreUnavailableError",
    "open_store",
    "store_location",
]


class Store(Database):
    """One database and the queries on each of its tables; safe to use from several threads.

    `runs`, `records`, `series`, `commands`, `events` and `ranks` are named after their tables; `replay` reads events
    and log points merged in time order, `ledgers` adds up what the events tell. Every query raises `ValueError` for
    values that JSON cannot hold, and `StoreUnavailableError` for any other failure.
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
        self.ledgers = LedgerQueries(self)
        self.replay = EventReplay(self, self.events, self.series)

    def open_run(
        self, run_id: str, config: Mapping[str, Any], now: float | None = None, owner: RunOwner | None = None
    ) -> int:
        """Start or resume a run as of the Unix time `now`, by default the present; return the number of the start.

        From now on `owner` reports it: a trainer that did so before notices at its next write.

        Commands that a crash interrupted become `failed`. Those that waited too long for a trainer become `expired`, so
        that an old `stop` does not end a run that is resumed much later. Rollups that are wrong are made anew.
        """
        now = time.time() if now is None else now
        with self.transaction_scope():
            number = self.runs.start(run_id, config, now, owner)
            self.commands.recover(run_id, now)
            self.series.repair_rollups(run_id)
        return number

    def reopen_run(
        self, run_id: str, config: Mapping[str, Any], started_at: float, owner: RunOwner, start_number: int
    ) -> None:
        """Open a run that has been started before, because its store was emptied or restored since."""
        with self.transaction_scope():
            self.runs.start(run_id, config, started_at, owner, start_number)
            self.commands.recover(run_id, time.time())
            self.series.repair_rollups(run_id)

    def move_to_branch(
        self,
        run_id: str,
        step: int,
        branch_id: str,
        last_recorded_step: int | None = None,
        is_reserved: Callable[[str], bool] = lambda _: False,
    ) -> str | None:
        """Move log points after `step` to the run id `branch_id`, because the run goes on from there and repeats steps.

        Record copies after `last_recorded_step`, by default `step`, are moved too. Nothing is replaced: a number is
        appended to an id that is taken here, or that `is_reserved`. Returns the id used, or None if there was nothing
        to move.
        """
        last_recorded_step = step if last_recorded_step is None else last_recorded_step
        with self.transaction_scope():
            has_points = bool(self.series.find_after(run_id, step, limit=1))
            has_records = bool(self.records.find(run_id, after_step=last_recorded_step, limit=1))
            if not has_points and not has_records:
                return None
            names = numbered_names(branch_id)
            free_id = next(name for name in names if not is_reserved(name) and not self._is_taken(name))
            if has_points:
                self.series.move_to_branch(run_id, step, free_id)
            self.records.move_to_branch(run_id, last_recorded_step, free_id)
        return free_id

    def _is_taken(self, run_id: str) -> bool:
        """Return True if there is a run or an abandoned branch of this id."""
        with self.transaction() as connection:
            rows = (connection.execute(sa.select(column).where(column == run_id).limit(1)) for column in _RUN_IDS)
            return any(result.first() is not None for result in rows)


_RUN_IDS = (runs.c.id, *(table.c.run_id for table in (series, series_progress, series_summaries, records)))


def store_location(config: RunConfig) -> Path | str:
    """Return STORE_URL, or if it is empty, the path of the store's file in DATA_ROOT."""
    return config.store_url or RunDirectory(config.data_root).store


def open_store(
    config: RunConfig, *, create: bool = False, keep_open: bool = False, busy_seconds: float = BUSY_SECONDS
) -> Store:
    """Open the store of a run with these settings; see `Store`."""
    return Store(store_location(config), create=create, keep_open=keep_open, busy_seconds=busy_seconds)
