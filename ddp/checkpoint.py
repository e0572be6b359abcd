"""Saved states: written whole or not at all, verified before use.

checkpoints/step_0000500/state.pt        tensors and plain values only, loaded with `weights_only`
checkpoints/step_0000500/manifest.json   format, step, sha256 of state.pt; written last
checkpoints/latest → step_0000500        best → the saved state whose validation was the best
"""

import json
import logging
import os
import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from service.errors import RunDirectoryError
from service.files import TEMPORARY_PREFIX, point_link, sha256_of, sync_folder, write_whole

FORMAT_VERSION = 1
STATE_FILE = "state.pt"
MANIFEST_FILE = "manifest.json"

_NAME = re.compile(r"step_([0-9]{7,})")
logger = logging.getLogger(__name__)


def checkpoint_name(step: int) -> str:
    """`step_0000500`."""
    return f"step_{step:07d}"


@dataclass(frozen=True)
class SavedState:
    """A verified checkpoint."""

    step: int
    folder: Path


class CheckpointFolder:
    """The checkpoints of one run. Only rank 0 writes; every rank reads."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def save(self, step: int, state: dict[str, Any], *, is_best: bool) -> SavedState:
        """Write a state durably and verify it by reading it back. Raises `OSError`; then nothing has changed."""
        self._root.mkdir(exist_ok=True)
        final = self._root / checkpoint_name(step)
        temporary = self._root / f"{TEMPORARY_PREFIX}{final.name}.{os.getpid()}"
        try:
            temporary.mkdir()
            self._write(temporary, step, state)
            self._put_in_place(temporary, final)
        except OSError:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        point_link(self._root / "latest", final.name)
        if is_best:
            point_link(self._root / "best", final.name)
        return SavedState(step, final)

    def _write(self, folder: Path, step: int, state: dict[str, Any]) -> None:
        path = folder / STATE_FILE
        with path.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        manifest = {
            "format_version": FORMAT_VERSION,
            "step": step,
            "saved_at": time.time(),
            "size_bytes": path.stat().st_size,
            "sha256": sha256_of(path),
        }
        write_whole(folder / MANIFEST_FILE, json.dumps(manifest, indent=2).encode() + b"\n")

    def _put_in_place(self, temporary: Path, final: Path) -> None:
        """Rename into place; an earlier state of the same step makes way only once the new one is complete."""
        if final.exists():
            aside = self._root / f"{TEMPORARY_PREFIX}old-{final.name}.{os.getpid()}"
            final.rename(aside)
            temporary.rename(final)
            shutil.rmtree(aside, ignore_errors=True)
        else:
            temporary.rename(final)
        sync_folder(self._root)

    def steps(self) -> list[int]:
        """The steps of all saved states, newest first, verified or not."""
        if not self._root.is_dir():
            return []
        matches = (_NAME.fullmatch(path.name) for path in self._root.iterdir())
        return sorted((int(match.group(1)) for match in matches if match), reverse=True)

    def newest_verified(self) -> SavedState | None:
        """The newest state whose bytes are what its manifest says; damaged ones are named in the log and passed over.

        Raises `RunDirectoryError` when there are states and not one can be used.
        """
        steps = self.steps()
        for step in steps:
            folder = self._root / checkpoint_name(step)
            problem = verify(folder)
            if problem is None:
                return SavedState(step, folder)
            logger.warning("Checkpoint %s cannot be used: %s; trying the one before.", folder.name, problem)
        if steps:
            raise RunDirectoryError(
                f"None of the {len(steps)} checkpoints in {self._root} can be used; "
                "restore one from a backup, or start with --fresh to archive this run."
            )
        return None


def verify(folder: Path) -> str | None:
    """Why a saved state cannot be used, or None when it is whole."""
    try:
        manifest = json.loads((folder / MANIFEST_FILE).read_text())
        if manifest["format_version"] > FORMAT_VERSION:
            return f"it has format {manifest['format_version']}, this version reads up to {FORMAT_VERSION}"
        if sha256_of(folder / STATE_FILE) != manifest["sha256"]:
            return f"{STATE_FILE} is not what its manifest says"
    except OSError as error:
        return f"{Path(error.filename or folder).name}: {error.strerror}"
    except (ValueError, KeyError, TypeError):
        return f"{MANIFEST_FILE} is damaged"
    return None


def load_state(saved: SavedState) -> dict[str, Any]:
    """The state on the CPU; only tensors and plain values are ever unpickled."""
    state: dict[str, Any] = torch.load(saved.folder / STATE_FILE, map_location="cpu", weights_only=True)
    return state
