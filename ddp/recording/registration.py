"""A run in its store: registered at the start of a training, owned by its trainer as long as nobody else starts it."""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ddp.recording.log_files import FILE_LINE
from ddp.recording.trainer_stats import previous_stats
from service.config.settings import RunConfig
from service.errors import RunDirectoryError, SettingError, UserError
from service.run.directory import RunDirectory
from service.run.identity import RunIdentity
from service.run.ledger.last_seen import last_seen_as_dict
from service.run.ledger.ledger import REGISTERED
from service.run.ledger.log_lines import begun_line, spent_line
from service.run.ledger.time_spent import TimeSpent
from service.run.trainer_stats import TrainerStats
from service.store.queries.runs import NotOwnerError, RunOwner, RunOwnership, RunRow
from service.store.store import Store, StoreUnavailableError, open_store

logger = logging.getLogger(__name__)


@dataclass
class RunRegistration:
    """A start of a run by `owner`: it continues at `step`, and started at the Unix time `time` (s).

    Steps after `step` are repeated: what the store holds of them is moved to the run id `archived_as`, which is None if
    there is nothing. `is_archive` tells ids that are taken by folders of the archive. `number` counts the starts of the
    run; 0 until the store has registered this one. `is_late` is True if the store was out of reach at the start.
    `reached_step` is the last step that the start before this one reported; None if it is not known. `about` is what is
    recorded of this start beside its number and the end of the one before: when it began, and why the launcher did it.
    """

    run_id: str
    settings: Mapping[str, Any]
    step: int
    last_recorded_step: int | None = None
    is_archive: Callable[[str], bool] = lambda _: False
    archived_as: str | None = None
    time: float = field(default_factory=time.time)
    owner: RunOwner = field(default_factory=RunOwner)
    number: int = 0
    is_late: bool = False
    reached_step: int | None = None
    about: Mapping[str, Any] = field(default_factory=dict)
    is_told: bool = False

    def in_store(self, store: Store) -> TrainerStats:
        """Register the run; return the statistics of its previous start.

        Raises `StoreUnavailableError`, and `NotOwnerError` if another trainer started while the store was out of reach.
        """
        with store.transaction_scope(), store.run_transaction(self.run_id):
            if self.is_late and (found := store.runs.ownership(self.run_id)) and found.started_at > self.time:
                raise NotOwnerError(self.run_id)
            previous = previous_stats(store, self.run_id)
            run = store.runs.get(self.run_id)
            self.reached_step = None if run is None else run.step
            self.number = store.open_run(self.run_id, self.settings, self.time, self.owner)
            self._record_start(store, run)
            self.archived_as = store.move_to_branch(
                self.run_id, self.step, self._archive_name, self.last_recorded_step, self.is_archive
            )
        return previous

    def _record_start(self, store: Store, before: RunRow | None) -> None:
        """Record that the run was started, and what was last heard `before`, which the row does not tell any more."""
        previous = None
        if before is not None:
            previous = last_seen_as_dict(
                state=before.state, reason=before.reason, step=before.step, heartbeat_at=before.heartbeat_at,
                started_at=before.started_at, facts=before.facts,
            )  # fmt: skip
        details = {"began_at": self.time, "restarts": 0, "failure": None, **self.about, "previous": previous}
        store.events.add(self.run_id, self.step, REGISTERED, {**details, "start_number": self.number})
        if not self.is_told:  # a transaction that was lost is repeated
            self.is_told = True
            if previous is not None and (spent := TimeSpent.parse(previous["time_spent"])) is not None:
                logger.info("%s", spent_line(spent, is_past=True), extra=FILE_LINE)
            logger.info("%s", begun_line(details), extra=FILE_LINE)

    def again_in_store(self, store: Store) -> None:
        """Register the run once more, in a store that does not know this start; raises `StoreUnavailableError`."""
        store.reopen_run(self.run_id, self.settings, self.time, self.owner, self.number)

    def superseded_by(self, found: RunOwnership | None) -> RunOwnership | None:
        """Return `found` if that is a trainer which started later; None if it shows that the store is another one."""
        if found is None or found.start_number < self.number:
            return None
        is_own = found.token == self.owner.token and found.started_at == self.time
        return None if is_own and found.start_number == self.number else found

    def archive_files(self, directory: RunDirectory) -> None:
        """Move the records of repeated steps into the archive folder of the name that the store has used.

        If the store is not reachable yet, it will use the name of this folder. Raises `OSError`.
        """
        archive = directory.archive_of_resume(self.archived_as or self._archive_name)
        self.is_archive = lambda name: name != archive.name and directory.holds_archive(name)
        recorded = self.step if self.last_recorded_step is None else self.last_recorded_step
        for path in directory.archive_records_after(recorded, archive):
            logger.info(
                "%s is newer than the resumed checkpoint of step %d and was moved to archive/.", path.name, self.step
            )
        if self.archived_as is not None:
            logger.info("Curves beyond the resumed step %d are kept in the store as %s.", self.step, self.archived_as)

    @property
    def _archive_name(self) -> str:
        return f"{self.run_id}-after-{self.step}"


class OwnedRun:
    """The run's row in the store, as this trainer left it last.

    Every transaction of the trainer stores a marker there, and the next one requires it. So it shows at the next write,
    and at no cost, that another trainer has started the run, or that the store was emptied or restored from a backup.
    Methods raise `StoreUnavailableError`; used by the recorder's thread.
    """

    def __init__(self, store: Store, run_id: str, marker: str | None = None) -> None:
        """`marker` is the one that the run was registered with; without it, no write requires any."""
        self._store = store
        self.run_id = run_id
        self._is_guarded = marker is not None
        self.marker = marker

    def update(self, **values: object) -> None:
        """Update columns of the row; raises `NotOwnerError` if it is not as this trainer left it."""
        self._store.runs.update(self.run_id, marker=self.marker, **values)

    def require(self) -> None:
        """Raise `NotOwnerError` if the row is not as this trainer left it."""
        if self.marker is not None:
            self._store.runs.set_write_marker(self.run_id, self.marker, self.marker)

    def mark(self, marker: str) -> None:
        """Store the marker of a transaction; raises `NotOwnerError` if the row is not as this trainer left it."""
        self._store.runs.set_write_marker(self.run_id, marker, self.marker)

    def confirm(self, marker: str) -> None:
        """Record that the transaction with this marker was committed."""
        if self._is_guarded:
            self.marker = marker

    def has_committed(self, marker: str) -> bool:
        """Return True if the transaction with this marker was committed and is the last one."""
        return self._store.runs.has_write_marker(self.run_id, marker)


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


def saved_checkpoint(config: RunConfig, identity: RunIdentity) -> int | None:
    """Return the step of the last checkpoint that the run saved; None if it saved none, as far as is known.

    `run.json` tells, and of a run of an earlier version its store, if that is reachable.
    """
    if identity.last_checkpoint is not None:
        return identity.last_checkpoint
    store = open_store(config)
    try:
        return previous_stats(store, identity.run_id).get("checkpoint_step")
    except StoreUnavailableError:
        return None
    finally:
        store.close()


def _register(store: Store, registration: RunRegistration) -> TrainerStats | None:
    try:
        return registration.in_store(store)
    except StoreUnavailableError as error:
        if error.is_transient or not store.is_permanent_failure():
            logger.warning("The store cannot be reached (%s); training starts, unseen until it is back.", error)
            registration.is_late = True
            return None
    return registration.in_store(store)  # it may have become reachable meanwhile


def _unusable(config: RunConfig, error: StoreUnavailableError) -> UserError:
    if config.store_url:
        return SettingError(f"The store cannot be used ({error}); put STORE_URL right, or leave it out.")
    name = RunDirectory(config.data_root).store.name
    return RunDirectoryError(f"The store cannot be opened ({error}); free it, or move {name} away: records are safe.")
