"""Checkpoints as the API sees them: names, links and manifests, and bytes in place of a state."""

import hashlib
import json
from pathlib import Path


def write_checkpoint(root: Path, step: int, *links: str, state: bytes = b"weights") -> Path:
    """A checkpoint of `step` in the run directory `root`, `latest` by default."""
    folder = root / "checkpoints" / f"step_{step:07d}"
    folder.mkdir(parents=True)
    (folder / "state.pt").write_bytes(state)
    manifest = {
        "format_version": 2, "step": step, "saved_at": 1_795_000_000.5, "size_bytes": len(state),
        "sha256": hashlib.sha256(state).hexdigest(),
    }  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps(manifest))
    for link in links or ("latest",):
        path = folder.parent / link
        path.unlink(missing_ok=True)
        path.symlink_to(folder.name)
    return folder
