"""What a trainer's parts have to tell beside the snapshot, gathered for the recorder's heartbeat."""

import shutil
from collections.abc import Callable
from contextlib import suppress
from typing import cast

from service.run.directory import RunDirectory
from service.run.trainer_stats import TrainerStats
from service.store.store import Store


class TrainerStatsSource:
    """Facts of a trainer; `now` is called on the recorder's thread."""

    def __init__(
        self,
        directory: RunDirectory,
        before: TrainerStats,
        has_perceptual: bool,
        of_checkpoints: Callable[[], TrainerStats],
    ) -> None:
        """`before` is what an earlier trainer of the run told last: its last checkpoint is still the last one."""
        self._directory = directory
        self._kept: TrainerStats = {**before, "has_perceptual": has_perceptual}
        self._of_checkpoints = of_checkpoints

    def current(self) -> TrainerStats:
        """All of them."""
        facts: TrainerStats = {**self._kept, **self._of_checkpoints()}
        with suppress(OSError):  # then the disk is what it was
            usage = shutil.disk_usage(self._directory.root)
            facts["disk_bytes"], facts["disk_free_bytes"] = usage.total, usage.free
        return facts


def previous_stats(store: Store, run_id: str) -> TrainerStats:
    """What the run's last trainer told. Raises `StoreUnavailableError`."""
    run = store.runs.get(run_id)
    return cast(TrainerStats, dict(run.facts or {})) if run is not None else {}
