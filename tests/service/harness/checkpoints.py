"""Checkpoints as a trainer leaves them, but without tensors."""

import hashlib
import json

from service.run.directory import RunDirectory


def save_checkpoint(directory: RunDirectory, step: int, *, is_best: bool = False) -> None:
    """Save a state whose manifest has what one needs to find and to verify it."""
    folder = directory.checkpoints / f"step_{step:07d}"
    folder.mkdir(parents=True)
    content = f"state of step {step}".encode()
    (folder / "state.pt").write_bytes(content)
    manifest = {"step": step, "sha256": hashlib.sha256(content).hexdigest(), "is_best": is_best}
    (folder / "manifest.json").write_text(json.dumps(manifest))
