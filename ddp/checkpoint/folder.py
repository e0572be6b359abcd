"""The checkpoints of a run: written whole or not at all, verified before use, pruned, archived.

checkpoints/step_0000500/                a saved state, see `ddp/checkpoint/format.py`
checkpoints/latest → step_0000500        best → the saved state whose validation was the best
checkpoints/.tmp-…                       on its way in or out; what a killed process left is put right by the next one
"""

import logging
import os
import re
import shutil
import threading
import time
from pathlib import Path
from typing import Any

from ddp.checkpoint.format import (
    FORMAT_VERSION,
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
    "CheckpointFolder",
    "LoadedState",
    "Reason",
    "SavedState",
    "checkpoint_name",
    "load_state",
    "verify",
]

_WANTED = re.compile(r"(?:step_)?([0-9]{1,18})")
_ASIDE = re.compile(re.escape(TEMPORARY_PREFIX) + r"old-(step_[0-9]+)\.[0-9]+")
_MAY_BE_PRUNED = frozenset(Reason) - {Reason.COMMAND}
logger = logging.getLogger(__name__)


class CheckpointFolder:
    """The checkpoints of one run. Only rank 0 writes, looks and archives, from any thread; every rank may load."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._one_at_a_time = threading.Lock()

    def save(self, step: int, state: dict[str, Any], *, reason: Reason, is_best: bool) -> SavedState:
        """Write a state durably, read it back and compare, then put it in place and point `latest` (and `best`) to it.

        A state saved again at its step stays a commanded or the best one if it was. Raises `OSError` and leaves no
        rubbish; only when the very last sync or a link fails is the new state in place all the same. Raises
        `TypeError` when the state holds what could not be loaded again.
        """
        with self._one_at_a_time:
            self._make_root()
            self._tidy()
            final = self._root / checkpoint_name(step)
            earlier = self._manifest(step)
            kept_reason = Reason.COMMAND if earlier.get("reason") == Reason.COMMAND else reason
            try:
                temporary = self._temporary(final.name)
                temporary.mkdir()
                is_or_was_best = is_best or earlier.get("is_best") is True
                write_state(temporary, step, state, reason=kept_reason, is_best=is_or_was_best)
                self._put_in_place(temporary, final)
                replace_link(self._root / "latest", final.name)
                if is_best:
                    replace_link(self._root / "best", final.name)
            except BaseException:
                self._tidy()
                raise
            return SavedState(step, final)

    def _make_root(self) -> None:
        if not self._root.is_dir():
            self._root.mkdir(exist_ok=True)
            sync_folder(self._root.parent)

    def _temporary(self, name: str) -> Path:
        return self._root / f"{TEMPORARY_PREFIX}{name}.{time.time_ns()}"

    def _put_in_place(self, temporary: Path, final: Path) -> None:
        """Rename into place; an earlier state of the same step makes way only once the new one is complete."""
        if final.exists():
            aside = self._temporary(f"old-{final.name}")
            final.rename(aside)
            temporary.rename(final)
            shutil.rmtree(aside, ignore_errors=True)
        else:
            temporary.rename(final)
        sync_folder(self._root)

    def _tidy(self) -> None:
        """Put right what a killed process or a failure left: an earlier state back in place, the rest away."""
        for path in self._root.glob(f"{TEMPORARY_PREFIX}*"):
            aside = _ASIDE.fullmatch(path.name)
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
        """The steps of all saved states, newest first, usable or not."""
        if not self._root.is_dir():
            return []
        steps = (step_in(path.name) for path in self._root.iterdir())
        return sorted((step for step in steps if step is not None), reverse=True)

    def newest_usable(self, at_most: int | None = None) -> LoadedState | None:
        """The newest state up to a step that is whole and loads; others are named in the log and passed over.

        Raises `RunDirectoryError` when there are such states and not one can be used.
        """
        with self._one_at_a_time:
            self._tidy()
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
        """The state a person named: `latest`, `best`, `500` or `step_0000500`.

        Raises `RunDirectoryError`, naming those that exist, when there is none of that name or it cannot be used.
        """
        with self._one_at_a_time:
            self._tidy()
            step = self._step_of(wanted)
            if step is None or step not in self.steps():
                raise RunDirectoryError(f"There is no checkpoint {wanted!r} in {self._root}; {self._choice()}")
            try:
                return self._load(step)
            except UnusableError as error:
                raise RunDirectoryError(
                    f"Checkpoint {checkpoint_name(step)} cannot be used: {error}; {self._choice(step)}"
                ) from error

    def _load(self, step: int) -> LoadedState:
        return load(SavedState(step, self._root / checkpoint_name(step)))

    def _step_of(self, wanted: str) -> int | None:
        if wanted in ("latest", "best"):
            step = self._linked(wanted)
            others = self.steps() if wanted == "latest" else self._best_steps()
            return next(iter(others), None) if step is None else step
        match = _WANTED.fullmatch(wanted)
        return int(match[1]) if match else None

    def _choice(self, without: int | None = None) -> str:
        steps = [str(step) for step in self.steps() if step != without]
        return f"choose one of: {', '.join(steps)}." if steps else "there is no other."

    def _linked(self, link: str) -> int | None:
        """The step a link names, as long as there is such a state."""
        try:
            step = step_in(os.readlink(self._root / link))
        except OSError:
            return None
        return step if step in self.steps() else None

    def _best_steps(self) -> list[int]:
        """Those whose state was the best of its time, newest first."""
        return [step for step in self.steps() if self._manifest(step).get("is_best") is True]

    def _manifest(self, step: int) -> dict[str, Any]:
        return manifest_if_usable(self._root / checkpoint_name(step))

    def prune(self, keep: int) -> list[int]:
        """Remove all but the newest `keep` states; 0 keeps all. Returns the removed steps, newest first.

        Neither counted nor ever removed are those saved by command and those whose manifest cannot be read. What
        `latest` or `best` name stays. A state that cannot be removed is named in the log.
        """
        if keep <= 0:
            return []
        with self._one_at_a_time:
            counted = [step for step in self.steps() if self._manifest(step).get("reason") in _MAY_BE_PRUNED]
            # The newest best, too: a process killed right after saving it has not moved the link.
            spared = {self._linked("latest"), self._linked("best"), *self._best_steps()[:1]}
            return [step for step in counted[keep:] if step not in spared and self._remove(step)]

    def _remove(self, step: int) -> bool:
        """Whether the state is gone from sight; what of it cannot be deleted now is tried again with the next save."""
        path = self._root / checkpoint_name(step)
        doomed = self._temporary(f"pruned-{path.name}")
        try:
            path.rename(doomed)
            shutil.rmtree(doomed)
        except OSError as error:
            logger.warning("Checkpoint %s cannot be removed (%s); it is tried again.", path.name, error.strerror)
        return not path.exists()

    def archive_after(self, step: int, target: Path) -> list[int]:
        """Move later states into `target/checkpoints/`, on the same file system; returns their steps, newest first.

        `latest` and `best` are pointed to what remains, or removed, before anything moves: they never dangle.
        """
        with self._one_at_a_time:
            steps = self.steps()
            later = [other for other in steps if other > step]
            if not later:
                return []
            self._point("latest", [other for other in steps if other <= step])
            self._point("best", [other for other in self._best_steps() if other <= step])
            archive = target / "checkpoints"
            archive.mkdir(parents=True, exist_ok=True)
            for name in map(checkpoint_name, later):
                (self._root / name).rename(archive / name)
            sync_folder(archive)
            sync_folder(self._root)
            return later

    def _point(self, link: str, steps: list[int]) -> None:
        """To the newest of these states, or nowhere."""
        if steps:
            replace_link(self._root / link, checkpoint_name(steps[0]))
        else:
            (self._root / link).unlink(missing_ok=True)
