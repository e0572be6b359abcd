"""The checkpoints of a run as names: which exist, and whether a wanted one does. Only names and manifests are read."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

MANIFEST = "manifest.json"
LINKS = ("latest", "best")

_NAME = re.compile(r"step_([0-9]{7,18})")


@dataclass(frozen=True)
class SavedStates:
    """The folder of checkpoints of one run."""

    folder: Path

    def names(self) -> list[str]:
        """`step_0000500`, …, by step; a folder without its manifest is none. Raises `OSError` if it cannot be read."""
        try:
            found = [path for path in self.folder.iterdir() if _NAME.fullmatch(path.name) and not path.is_symlink()]
        except FileNotFoundError:
            return []
        return [path.name for path in sorted(found, key=lambda path: _step(path.name)) if _has_manifest(path)]

    def find(self, wanted: str) -> str | None:
        """The name of the checkpoint meant by `latest`, `best`, a step or a name; None when there is none."""
        names = self.names()
        if wanted in LINKS:
            link = self.folder / wanted
            return link.readlink().name if link.is_symlink() and link.readlink().name in names else None
        return next((name for name in names if _step(name) == _step(wanted)), None)


def _step(name: str) -> int:
    return int(name.removeprefix("step_"))


def _has_manifest(folder: Path) -> bool:
    """Whether the manifest, which is written last, is there and speaks of this step."""
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(manifest, dict) and manifest.get("step") == _step(folder.name)
