"""The store: the database that the trainer writes and the API reads, one file in the run directory.

SQLAlchemy Core on SQLite: `service/database.py` has its transactions, `service/run_store.py` and
`service/command_store.py` have what is asked of them. Times are Unix seconds.
"""

import time
from collections.abc import Mapping
from typing import Any

from service.command_store import CommandStore
from service.database import StoreUnavailableError
from service.run_store import RunRow, RunStore, SeriesRow

__all__ = ["RunRow", "SeriesRow", "Store", "StoreUnavailableError"]


class Store(RunStore, CommandStore):
    """The one way to the tables; safe to use from several threads.

    Values that JSON cannot hold raise `ValueError`, everything else that goes wrong `StoreUnavailableError`.
    """

    def open_run(self, run_id: str, config: Mapping[str, Any]) -> None:
        """Begin or continue a run.

        Commands that a crash left half done become `failed (interrupted)`; those that waited for a trainer too long
        become `expired`: a `stop` of yesterday must not end today's resume.
        """
        now = time.time()
        with self.together():
            self._start_run(run_id, config, now)
            self._settle_commands(run_id, now)
