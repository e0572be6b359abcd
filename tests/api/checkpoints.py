"""Checkpoints as the API sees them: names, links and manifests, without any state."""

import json
from pathlib import Path


def write_checkpoint(root: Path, step: int, *links: str) -> Path:
    """A checkpoint of `step` in the run directory `root`, `latest` by default."""
    folder = root / "checkpoints" / f"step_{step:07d}"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(json.dumps({"format_version": 2, "step": step}))
    for link in links or ("latest",):
        path = folder.parent / link
        path.unlink(missing_ok=True)
        path.symlink_to(folder.name)
    return folder
