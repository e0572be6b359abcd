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
from service.store.database import BUSY_SECONDS, StoreUnavailableError
from service.store.queries.commands import CommandStore
from service.store.queries.events import Event
from service.store.queries.runs import RecordRow, RunRow, RunStore
from service.store.queries.series import SeriesRow, SeriesStore
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


class Store(RunStore, SeriesStore, CommandStore):
    """The one way to the tables; safe to use from several threads.

    Values that JSON cannot hold raise `ValueError`, everything else that goes wrong `StoreUnavailableError`.
    """

    def open_run(self, run_id: str, config: Mapping[str, Any], now: float | None = None) -> None:
        """Begin or continue a run, now or at a Unix time that has passed.

        Commands that a crash left half done become `failed (interrupted)`; those that waited for a trainer too long
        become `expired`: a `stop` of yesterday must not end today's resume.
        """
        now = time.time() if now is None else now
        with self.transaction_scope():
            self._start_run(run_id, config, now)
            self._settle_commands(run_id, now)


def store_location(config: RunConfig) -> Path | str:
    """Where a run with these settings keeps its store: the server of STORE_URL, else the file in DATA_ROOT."""
    return config.store_url or RunDirectory(config.data_root).store


def open_store(
    config: RunConfig, *, create: bool = False, keep_open: bool = False, busy_seconds: float = BUSY_SECONDS
) -> Store:
    """The store of a run with these settings; see `Store`."""
    return Store(store_location(config), create=create, keep_open=keep_open, busy_seconds=busy_seconds)
