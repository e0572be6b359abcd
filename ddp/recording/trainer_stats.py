"""Trainer statistics outside the snapshot, collected for the recorder's heartbeat."""

import shutil
from collections.abc import Callable
from contextlib import suppress
from typing import cast

from service.run.directory import RunDirectory
from service.run.ledger.time_spent import TimeSpent
from service.run.trainer_stats import TrainerStats
from service.store.store import Store


class TrainerStatsSource:
    """Statistics of a trainer; the recorder's thread calls `current`."""

    def __init__(
        self,
        directory: RunDirectory,
        previous: TrainerStats,
        has_perceptual: bool,
        checkpoint_stats: Callable[[], TrainerStats],
        time_spent: Callable[[], TimeSpent],
    ) -> None:
        """`previous`: statistics last reported before this start; they include its last checkpoint."""
        self._directory = directory
        self._kept: TrainerStats = {**previous, "has_perceptual": has_perceptual}
        self._checkpoint_stats = checkpoint_stats
        self._time_spent = time_spent

    def current(self) -> TrainerStats:
        """Return all statistics."""
        stats: TrainerStats = {**self._kept, **self._checkpoint_stats(), "time_spent": self._time_spent().as_dict()}
        with suppress(OSError):  # then the last values stay
            usage = shutil.disk_usage(self._directory.root)
            stats["disk_bytes"], stats["disk_free_bytes"] = usage.total, usage.free
        return stats


def previous_stats(store: Store, run_id: str) -> TrainerStats:
    """Return the statistics that the run's previous trainer reported last. Raises `StoreUnavailableError`."""
    run = store.runs.get(run_id)
    return cast(TrainerStats, dict(run.facts or {})) if run is not None else {}
