"""Registers a run in its store at the start of a training."""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ddp.recording.trainer_stats import previous_stats
from service.config.settings import RunConfig
from service.errors import RunDirectoryError, SettingError, UserError
from service.run.directory import RunDirectory
from service.run.trainer_stats import TrainerStats
from service.store.store import Store, StoreUnavailableError, open_store

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunRegistration:
    """A start of a run: it continues at `step`, and started at the Unix time `time` (s)."""

    run_id: str
    settings: Mapping[str, Any]
    step: int
    time: float = field(default_factory=time.time)

    def in_store(self, store: Store) -> TrainerStats:
        """Register the run; return the statistics of its previous start. Raises `StoreUnavailableError`."""
        with store.transaction_scope():
            previous = previous_stats(store, self.run_id)
            store.open_run(self.run_id, self.settings, self.time)
            store.delete_after(self.run_id, self.step)
        return previous


def register_run(config: RunConfig, registration: RunRegistration) -> tuple[Store, TrainerStats | None]:
    """Open the store and register the run; return the store and the statistics of the previous start.

    The statistics are None if the server is unreachable or busy: the run is registered later, and training starts.
    Raises `UserError` if the store is reachable, but unusable.
    """
    try:
        store = open_store(config, create=True, keep_open=True)
        return store, _register(store, registration)
    except StoreUnavailableError as error:
        raise _unusable(config, error) from None


def _register(store: Store, registration: RunRegistration) -> TrainerStats | None:
    try:
        return registration.in_store(store)
    except StoreUnavailableError as error:
        if error.is_transient or not store.is_permanent_failure():
            logger.warning("The store cannot be reached (%s); training starts, unseen until it is back.", error)
            return None
    return registration.in_store(store)  # it may have become reachable meanwhile


def _unusable(config: RunConfig, error: StoreUnavailableError) -> UserError:
    if config.store_url:
        return SettingError(f"The store cannot be used ({error}); put STORE_URL right, or leave it out.")
    name = RunDirectory(config.data_root).store.name
    return RunDirectoryError(f"The store cannot be opened ({error}); free it, or move {name} away: records are safe.")
