"""The checkpoints of a run: written atomically, verified before use, pruned, archived.

checkpoints/step_0000500/                a saved state, see `ddp/checkpoint/format.py`
checkpoints/latest → step_0000500        best → the saved state whose validation was the best
checkpoints/.tmp-…                       being written or removed; the next start cleans up after a killed process
"""

import errno
import logging
import os
import re
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ddp.checkpoint.format import (
    FORMAT_VERSION,
    LAST_REASONS,
    Kinds,
    LoadedState,
    Reason,
    SavedState,
    UnusableError,
    checkpoint_name,
    load,
    load_state,
    manifest_if_usable,
    step_in,
    verify,
    write_state,
)
from service.atomic_files import TEMPORARY_PREFIX, replace_link, sync_folder
from service.errors import RunDirectoryError

__all__ = [
    "FORMAT_VERSION",
    "LAST_REASONS",
    "CheckpointFolder",
    "LoadedState",
    "Reason",
    "SavedState",
    "checkpoint_name",
    "load_state",
    "verify",
]

_STEP_NAME = re.compile(r"(?:step_)?([0-9]{1,18})")
_MOVED_ASIDE = re.compile(re.escape(TEMPORARY_PREFIX) + r"old-(step_[0-9]+)\.[0-9]+")
_PRUNABLE_REASONS = frozenset(Reason) - {Reason.COMMAND}
logger = logging.getLogger(__name__)


class CheckpointFolder:
    """Folder with the checkpoints of one run. Only rank 0 uses it, from any thread; every rank may load a state."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._lock = threading.Lock()
        self._loadable: set[Kinds] = set()

    def save(
        self,
        step: int,
        state: dict[str, Any],
        *,
        reason: Reason,
        is_best: bool,
        pause: Callable[[], None] = lambda: None,
    ) -> SavedState:
        """Write a state durably, read it back and compare, rename it into place and point `latest` (and `best`) to it.

        A state that replaces one of the same step keeps the reason COMMAND and `is_best`. `pause` is called now and
        then. Raises `OSError` and removes temporary files; if only the last sync or a link fails, the new state is in
        place nevertheless. Raises `TypeError` if the state contains values that cannot be loaded again.
        """
        with self._lock:
            self._make_root()
            self._clean_up()
            final = self._root / checkpoint_name(step)
            earlier = self._manifest(step)
            kept_reason = Reason.COMMAND if earlier.get("reason") == Reason.COMMAND else reason
            try:
                temporary = self._temporary(final.name)
                temporary.mkdir()
                is_or_was_best = is_best or earlier.get("is_best") is True
                write_state(
                    temporary, step, state,
                    reason=kept_reason, is_best=is_or_was_best, loadable=self._loadable, pause=pause,
                )  # fmt: skip
                self._put_in_place(temporary, final)
                replace_link(self._root / "latest", final.name)
                if is_best:
                    replace_link(self._root / "best", final.name)
            except BaseException:
                self._clean_up()
                raise
            return SavedState(step, final)

    def relocate(self, root: Path) -> None:
        """Use another folder from now on, because this one has become another trainer's; any thread may call it."""
        with self._lock:
            self._root = root

    def _make_root(self) -> None:
        if not self._root.is_dir():
            if os.path.lexists(self._root):
                raise NotADirectoryError(errno.ENOTDIR, f"{self._root} is no folder")
            self._root.mkdir(parents=True, exist_ok=True)
            sync_folder(self._root.parent)

    def _temporary(self, name: str) -> Path:
        return self._root / f"{TEMPORARY_PREFIX}{name}.{time.time_ns()}"

    def _put_in_place(self, temporary: Path, final: Path) -> None:
        """Rename a complete state into place, after moving aside an earlier state of the same step."""
        if final.exists():
            aside = self._temporary(f"old-{final.name}")
            final.rename(aside)
            temporary.rename(final)
            shutil.rmtree(aside, ignore_errors=True)
        else:
            temporary.rename(final)
        sync_folder(self._root)

    def _clean_up(self) -> None:
        """Clean up after a killed process or a failure: restore a state that was moved aside, delete the rest."""
        for path in self._root.glob(f"{TEMPORARY_PREFIX}*"):
            aside = _MOVED_ASIDE.fullmatch(path.name)
            try:
                if aside and not (self._root / aside[1]).exists():
                    path.rename(self._root / aside[1])
                elif path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink()
            except OSError as error:
                logger.warning("%s cannot be cleared away (%s); it is tried again.", path, error.strerror)

    def steps(self) -> list[int]:
        """Return the steps of all saved states, usable or not, newest first."""
        if not self._root.is_dir():
            return []
        steps = (step_in(path.name) for path in self._root.iterdir())
        return sorted((step for step in steps if step is not None), reverse=True)

    def newest_sentence(self, failed_step: int | None = None) -> str:
        """Return which saved state is the newest, as a part of a sentence; `save` may have failed after its rename."""
        try:
            steps = self.steps()
        except OSError as error:
            return f"{self._root} cannot be read ({error.strerror})"
        if steps and steps[0] == failed_step:
            return "it is in place, but may not outlast a power failure"
        return f"the newest on disk is {checkpoint_name(steps[0])}" if steps else "there is none on disk"

    def holds(self, step: int) -> bool:
        """Return True if there is a usable state of this step; reads all of it."""
        with self._lock:
            return verify(self._root / checkpoint_name(step)) is None

    def newest_usable(self, at_most: int | None = None) -> LoadedState | None:
        """Load the newest usable state up to the step `at_most`; log and skip unusable ones; None if there is none.

        Raises `RunDirectoryError` if there are states, but none is usable.
        """
        with self._lock:
            self._clean_up()
            return self._newest(at_most)

    def newest_of_other_run(self) -> LoadedState | None:
        """Load the newest usable state as `newest_usable`, but change nothing: another trainer may write here."""
        return self._newest(None)

    def best_of_other_run(self) -> LoadedState | None:
        """Load the state whose validation was the best, else the newest one; change nothing, as above."""
        best = [step for step in (self._linked("best"), *self._best_steps()) if step is not None]
        for step in dict.fromkeys(best):
            try:
                return self._load(step)
            except UnusableError as error:
                logger.warning("Checkpoint %s cannot be used: %s; trying another one.", checkpoint_name(step), error)
        return self._newest(None)

    def _newest(self, at_most: int | None) -> LoadedState | None:
        steps = [step for step in self.steps() if at_most is None or step <= at_most]
        for step in steps:
            try:
                return self._load(step)
            except UnusableError as error:
                name = checkpoint_name(step)
                logger.warning("Checkpoint %s cannot be used: %s; trying the one before.", name, error)
        if steps:
            raise RunDirectoryError(
                f"None of the {len(steps)} checkpoints in {self._root} can be used; "
                "restore one from a backup, or start with --fresh to archive this run."
            )
        return None

    def find(self, wanted: str) -> LoadedState:
        """Load the state named `latest`, `best`, `500` or `step_0000500`.

        Raises `RunDirectoryError`, which lists the existing ones, if there is no such state or it is unusable.
        """
        with self._lock:
            self._clean_up()
            step = self._step_of(wanted)
            if step is None or step not in self.steps():
                raise RunDirectoryError(f"There is no checkpoint {wanted!r} in {self._root}; {self._alternatives()}")
            try:
                return self._load(step)
            except UnusableError as error:
                raise RunDirectoryError(
                    f"Checkpoint {checkpoint_name(step)} cannot be used: {error}; {self._alternatives(step)}"
                ) from error

    def _load(self, step: int) -> LoadedState:
        return load(SavedState(step, self._root / checkpoint_name(step)))

    def _step_of(self, wanted: str) -> int | None:
        if wanted in ("latest", "best"):
            step = self._linked(wanted)
            others = self.steps() if wanted == "latest" else self._best_steps()
            return next(iter(others), None) if step is None else step
        match = _STEP_NAME.fullmatch(wanted)
        return int(match[1]) if match else None

    def _alternatives(self, without: int | None = None) -> str:
        steps = [str(step) for step in self.steps() if step != without]
        return f"choose one of: {', '.join(steps)}." if steps else "there is no other."

    def _linked(self, link: str) -> int | None:
        """Return the step of the link's target, or None if that state does not exist."""
        try:
            step = step_in(os.readlink(self._root / link))
        except OSError:
            return None
        return step if step in self.steps() else None

    def _best_steps(self) -> list[int]:
        """Return the steps of the states that were the best when they were saved, newest first."""
        return [step for step in self.steps() if self._manifest(step).get("is_best") is True]

    def _manifest(self, step: int) -> dict[str, Any]:
        return manifest_if_usable(self._root / checkpoint_name(step))

    def prune(self, keep: int) -> list[int]:
        """Remove all but the newest `keep` states; 0 keeps all. Return the removed steps, newest first.

        States saved by command or with an unreadable manifest are neither counted nor removed. The targets of `latest`
        and `best` stay. A state that cannot be removed is logged.
        """
        if keep <= 0:
            return []
        with self._lock:
            counted = [step for step in self.steps() if self._manifest(step).get("reason") in _PRUNABLE_REASONS]
            # The newest best too: a process killed right after saving it did not update the link.
            protected = {self._linked("latest"), self._linked("best"), *self._best_steps()[:1]}
            return [step for step in counted[keep:] if step not in protected and self._remove(step)]

    def _remove(self, step: int) -> bool:
        """Remove a state; return whether it is gone. Files that cannot be deleted now are retried at the next save."""
        path = self._root / checkpoint_name(step)
        removed = self._temporary(f"pruned-{path.name}")
        try:
            path.rename(removed)
            shutil.rmtree(removed)
        except OSError as error:
            logger.warning("Checkpoint %s cannot be removed (%s); it is tried again.", path.name, error.strerror)
        return not path.exists()

    def archive_after(self, step: int, target: Path) -> list[int]:
        """Move later states into `target/checkpoints/`, on the same file system; return their steps, newest first.

        The links `latest` and `best` are updated or removed before the move, so that they never dangle.
        """
        with self._lock:
            steps = self.steps()
            later = [other for other in steps if other > step]
            if not later:
                return []
            self._relink("latest", [other for other in steps if other <= step])
            self._relink("best", [other for other in self._best_steps() if other <= step])
            archive = target / "checkpoints"
            archive.mkdir(parents=True, exist_ok=True)
            for name in map(checkpoint_name, later):
                (self._root / name).rename(archive / name)
            sync_folder(archive)
            sync_folder(self._root)
            return later

    def _relink(self, link: str, steps: list[int]) -> None:
        """Point a link to the first of these steps; remove it if there is none."""
        if steps:
            replace_link(self._root / link, checkpoint_name(steps[0]))
        else:
            (self._root / link).unlink(missing_ok=True)
