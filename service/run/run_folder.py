"""Keeps a run directory a run's while it is trained: `run.json` up to date, and the folder itself, if it vanishes."""

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from service.atomic_files import read_small_file, write_atomically
from service.background_thread import OngoingProblem
from service.run.directory import RunDirectory
from service.run.identity import RunIdentity

CHECK_SECONDS = 1.0
RETRY_SECONDS = 2.0

logger = logging.getLogger(__name__)


class RunFolder:
    """Writer of `run.json`, and of a new folder in place of one that was moved or deleted.

    Any thread notes a checkpoint, one thread calls `keep`.
    """

    def __init__(self, directory: RunDirectory, identity: RunIdentity) -> None:
        """Begin with `identity`, which `run.json` holds; `config.json` is the same for the whole start."""
        self._directory = directory
        self._identity = self._written = identity
        self._problem = OngoingProblem()
        self._check_at = 0.0
        self._missing_since = float("inf")
        self._config = b""
        with suppress(OSError):
            self._config = read_small_file(directory.config)

    @property
    def is_pending(self) -> bool:
        """True if something is not in the file yet."""
        return self._identity != self._written

    def note_checkpoint(self, step: int) -> None:
        """Note the step of the checkpoint that was saved last: a start that finds none must not begin anew."""
        self._identity = replace(self._identity, last_checkpoint=step)

    def keep(self, now: float, on_lost: Callable[[str], object] = lambda _: None) -> None:
        """Write what is new, and look whether the folder is there, at the monotonic time `now` (s).

        A folder that has been gone for CHECK_SECONDS is made again; `on_lost` receives what happened, as a sentence.
        """
        if now < self._check_at and (self._problem.is_active or not self.is_pending):
            return
        self._check_at = now + CHECK_SECONDS
        try:
            if self._is_missing(now):
                if now >= self._missing_since + CHECK_SECONDS:  # not while `rm -r` is still at work
                    self._make_again(on_lost)
            elif self.is_pending:
                self._write(self._identity)
        except OSError as error:
            self._check_at = now + RETRY_SECONDS
            if self._problem.begin():
                logger.warning(
                    "%s cannot be written (%s); it is tried again.", self._directory.identity, error.strerror
                )
        else:
            self._problem.end()

    def _is_missing(self, now: float) -> bool:
        """Return True if there is no `run.json`, and note since when."""
        is_missing = not self._directory.identity.exists()
        self._missing_since = min(self._missing_since, now) if is_missing else float("inf")
        return is_missing

    def _write(self, identity: RunIdentity) -> None:
        self._directory.write_identity(identity)
        self._written = identity

    def _make_again(self, on_lost: Callable[[str], object]) -> None:
        """Write `run.json` again, and before it the folder if that is gone; say what was lost with it."""
        root, identity = self._directory.root, self._identity
        was_moved, was_emptied = not root.is_dir(), bool(self._config) and not self._directory.config.exists()
        root.mkdir(parents=True, exist_ok=True)
        if not self._directory.checkpoints.exists():
            identity = self._identity = replace(identity, last_checkpoint=None)
        if self._config:
            write_atomically(self._directory.config, self._config)
        self._write(identity)
        if not was_moved and not was_emptied:
            logger.warning("%s was removed, and is written again.", self._directory.identity)
            return
        what = "moved or deleted" if was_moved else "emptied"
        reason = (
            f"{root} was {what} while this run was trained. It was made again, but records, curves and checkpoints of "
            "before are not in it; a checkpoint is saved now."
        )
        logger.warning("%s", reason)
        on_lost(reason)
