"""Whether the checkpoints of a run directory are those that their manifests describe."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from service.atomic_files import sha256_of
from service.errors import plain_reason
from service.run.records.files import RecordProblem

MANIFEST_FILE, STATE_FILE = "manifest.json", "state.pt"
LINKS = ("latest", "best")


def checkpoint_folders(root: Path) -> list[Path]:
    """Return the folders of a run's checkpoints, by step. Raises `OSError`."""
    try:
        return sorted(path for path in (root / "checkpoints").iterdir() if path.name.startswith("step_"))
    except FileNotFoundError:
        return []


def check_checkpoints(root: Path) -> Iterator[RecordProblem]:
    """Read every checkpoint whole, and yield those that differ from their manifest, and links to none."""
    try:
        folders = checkpoint_folders(root)
    except OSError as error:
        yield RecordProblem(root / "checkpoints", f"it cannot be read ({plain_reason(error)})")
        return
    for folder in folders:
        if reason := _difference(folder):
            yield RecordProblem(folder, reason)
    for link in (root / "checkpoints" / name for name in LINKS):
        if link.is_symlink() and not link.exists():
            yield RecordProblem(link, f"it points to {link.readlink()}, which is missing")


def _difference(folder: Path) -> str | None:
    """Return how a checkpoint differs from its manifest, or None."""
    try:
        manifest = read_manifest(folder)
        state = folder / STATE_FILE
        size = manifest.get("size_bytes")
        if size is not None and state.stat().st_size != size:
            return f"its {STATE_FILE} has {state.stat().st_size} bytes, its manifest says {size}"
        if sha256_of(state) != manifest.get("sha256"):
            return f"the sha256 of its {STATE_FILE} is not the one in its manifest"
    except (OSError, ValueError, RecursionError) as error:
        return f"it cannot be read ({plain_reason(error)})"
    is_named = folder.name == f"step_{manifest.get('step', -1):07d}"
    return None if is_named else f"its manifest is of step {manifest.get('step')}"


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return a checkpoint's manifest. Raises `OSError`, `ValueError` or `RecursionError`."""
    manifest = json.loads((folder / MANIFEST_FILE).read_text(encoding="utf-8"))
    step = manifest.get("step") if isinstance(manifest, dict) else None
    if type(step) is not int:
        raise ValueError(f"its {MANIFEST_FILE} holds no object with a step")
    return dict(manifest)
