"""Statistics of a trainer's components beside the snapshot, gathered for the recorder's heartbeat."""

import shutil
from collections.abc import Callable
from contextlib import suppress
from typing import cast

from service.run.directory import RunDirectory
from service.run.trainer_stats import TrainerStats
from service.store.store import Store


class TrainerStatsSource:
    """Gathers the statistics; `current` is called on the recorder's thread."""

    def __init__(
        self,
        directory: RunDirectory,
        previous: TrainerStats,
        has_perceptual: bool,
        checkpoint_stats: Callable[[], TrainerStats],
    ) -> None:
        """`previous` are the statistics reported last before this start: the last checkpoint is still the last one."""
        self._directory = directory
        self._kept: TrainerStats = {**previous, "has_perceptual": has_perceptual}
        self._checkpoint_stats = checkpoint_stats

    def current(self) -> TrainerStats:
        """Return all of them; those of the disk are left out where it cannot be asked."""
        stats: TrainerStats = {**self._kept, **self._checkpoint_stats()}
        with suppress(OSError):  # then the disk is what it was
            usage = shutil.disk_usage(self._directory.root)
            stats["disk_bytes"], stats["disk_free_bytes"] = usage.total, usage.free
        return stats


def previous_stats(store: Store, run_id: str) -> TrainerStats:
    """Return the statistics that the run's last trainer reported. Raises `StoreUnavailableError`."""
    run = store.runs.get(run_id)
    return cast(TrainerStats, dict(run.facts or {})) if run is not None else {}
