"""Catalog of a run's checkpoints. Only names, sizes and manifests are read, never the saved state."""

import json
import math
import re
import reprlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from api.artifacts.safe_read import UnsafeFileError, open_safely, read_safely
from service.api_types import CheckpointEntry, CheckpointList, UnreadableFile
from service.errors import plain_reason

MANIFEST_FILE = "manifest.json"
STATE_FILE = "state.pt"
LINKS = ("latest", "best")
MAX_MANIFEST_BYTES = 1024 * 1024
"""Upper limit for the size of a manifest."""

MANIFEST_FIELDS: dict[str, type | tuple[type, ...]] = {
    "step": int, "size_bytes": int, "saved_at": (int, float), "sha256": str,
}  # fmt: skip
"""Required keys of a manifest and their types."""

_NAME = re.compile(r"step_([0-9]{7,18})")


class BrokenCheckpointError(Exception):
    """A folder is not a valid checkpoint; the text is the reason, as the end of a sentence."""


@dataclass(frozen=True)
class CheckpointCatalog:
    """Checkpoints in the checkpoint folder of one run."""

    folder: Path

    def names(self) -> list[str]:
        """Return the names of the valid checkpoints (`step_0000500`, …) by step; raises `OSError`."""
        return [entry["name"] for entry in self.listing()["checkpoints"]]

    def find(self, name_or_step: str) -> str | None:
        """Return the name of the checkpoint for `latest`, `best`, a step or a name; None if there is none."""
        names = self.names()
        if name_or_step in LINKS:
            name = self._target(name_or_step)
            return name if name in names else None
        return next((name for name in names if _step(name) == _step(name_or_step)), None)

    def listing(self) -> CheckpointList:
        """Return all checkpoints by step, and the folders that are named like one but are invalid; raises `OSError`."""
        targets = {link: self._target(link) for link in LINKS}
        checkpoints: list[CheckpointEntry] = []
        unreadable: list[UnreadableFile] = []
        for path in self._paths():
            try:
                links = [link for link, target in targets.items() if target == path.name]
                checkpoints.append(_entry(path, links))
            except BrokenCheckpointError as error:
                if path.exists() or path.is_symlink():  # not pruned or archived since the folder was listed
                    unreadable.append({"name": path.name, "reason": str(error)})
        return {"checkpoints": checkpoints, "unreadable": unreadable}

    def _paths(self) -> list[Path]:
        """Return all paths named like a checkpoint, by step."""
        try:
            paths = [path for path in self.folder.iterdir() if _NAME.fullmatch(path.name)]
        except FileNotFoundError:
            return []
        return sorted(paths, key=lambda path: (_step(path.name), path.name))

    def _target(self, link: str) -> str | None:
        """Return the name that a link points to; None if there is no such link."""
        try:
            return (self.folder / link).readlink().name
        except OSError:  # absent, or not a link
            return None


def _entry(folder: Path, links: list[str]) -> CheckpointEntry:
    """Return the list entry of a checkpoint; raises `BrokenCheckpointError`."""
    step = _step(folder.name)
    if folder.is_symlink() or not folder.is_dir():
        raise BrokenCheckpointError("it is no folder")
    if folder.name != f"step_{step:07d}":
        raise BrokenCheckpointError("its name is none of step_<step>")
    manifest = _manifest(folder / MANIFEST_FILE)
    if manifest["step"] != step:
        raise BrokenCheckpointError(f"its {MANIFEST_FILE} is of step {manifest['step']}")
    size_bytes = _size(folder / STATE_FILE)
    if size_bytes != manifest["size_bytes"]:
        raise BrokenCheckpointError(f"its {STATE_FILE} has {size_bytes} bytes, not {manifest['size_bytes']}")
    return {
        "name": folder.name,
        "step": step,
        "size_bytes": size_bytes,
        "saved_at": manifest["saved_at"],
        "sha256": manifest["sha256"],
        "links": links,
    }


def _size(path: Path) -> int:
    """Return the size of the state file in bytes; raises `BrokenCheckpointError` if it cannot be read."""
    try:
        with open_safely(path) as (_, status):
            return status.st_size
    except OSError as error:
        raise BrokenCheckpointError(f"its {STATE_FILE} cannot be read ({error.strerror})") from None
    except UnsafeFileError as error:
        raise BrokenCheckpointError(f"its {STATE_FILE} is damaged ({error})") from None


def _step(name: str) -> int:
    return int(name.removeprefix("step_"))


def _manifest(path: Path) -> dict[str, Any]:
    """Return the validated manifest, the last file written to a checkpoint; raises `BrokenCheckpointError`."""
    try:
        manifest = json.loads(read_safely(path, MAX_MANIFEST_BYTES).content)
    except FileNotFoundError:
        raise BrokenCheckpointError(f"it has no {MANIFEST_FILE}") from None
    except OSError as error:
        raise BrokenCheckpointError(f"its {MANIFEST_FILE} cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError, UnsafeFileError) as error:
        raise BrokenCheckpointError(f"its {MANIFEST_FILE} is damaged ({plain_reason(error)})") from None
    if not isinstance(manifest, dict):
        raise BrokenCheckpointError(f"its {MANIFEST_FILE} holds no JSON object")
    for key, kinds in MANIFEST_FIELDS.items():
        value = manifest.get(key)
        is_finite = not isinstance(value, float) or math.isfinite(value)
        if isinstance(value, bool) or not isinstance(value, kinds) or not is_finite:
            raise BrokenCheckpointError(f"its {MANIFEST_FILE} has the {key} {reprlib.repr(value)}")
    return manifest
