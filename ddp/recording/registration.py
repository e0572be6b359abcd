"""Opens a run in its store at the start of a training."""

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
    """A run to be opened: it goes on at `step`, and began to do so at the Unix time `time`."""

    run_id: str
    settings: Mapping[str, Any]
    step: int
    time: float = field(default_factory=time.time)

    def in_store(self, store: Store) -> TrainerStats:
        """Open the run; returns the statistics of its last trainer. Raises `StoreUnavailableError`."""
        with store.transaction_scope():
            previous = previous_stats(store, self.run_id)
            store.open_run(self.run_id, self.settings, self.time)
            store.delete_after(self.run_id, self.step)
        return previous


def register_run(config: RunConfig, registration: RunRegistration) -> tuple[Store, TrainerStats | None]:
    """Return the store, and the statistics of the run's last trainer; None while a server does not know this start.

    A server that is away or busy keeps no training from its work. Raises `UserError` when the store is there and
    unusable.
    """
    try:
        store = open_store(config, create=True, keep_open=True)
        return store, _opened(store, registration)
    except StoreUnavailableError as error:
        raise _unusable(config, error) from None


def _opened(store: Store, registration: RunRegistration) -> TrainerStats | None:
    try:
        return registration.in_store(store)
    except StoreUnavailableError as error:
        if error.is_transient or not store.is_permanent_failure():
            logger.warning("The store cannot be reached (%s); training starts, unseen until it is back.", error)
            return None
    return registration.in_store(store)  # it may just have come back


def _unusable(config: RunConfig, error: StoreUnavailableError) -> UserError:
    if config.store_url:
        return SettingError(f"The store cannot be used ({error}); put STORE_URL right, or leave it out.")
    name = RunDirectory(config.data_root).store.name
    return RunDirectoryError(f"The store cannot be opened ({error}); free it, or move {name} away: records are safe.")
