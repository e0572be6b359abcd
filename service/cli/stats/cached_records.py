"""Records of directories, as every command reads and names them: with the cache in the user's cache directory."""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from service.run.records.history import Records

CACHE = Path("leitstand", "records")


def cached_records(*folders: Path, archived: bool = False) -> Records:
    """Return the records of run directories, with the user's cache."""
    return Records(*folders, archived=archived, cache=_cache_home())


def labels_of(folders: Sequence[Path]) -> dict[Path, str]:
    """Return what each folder is called: its name, or its path if another one has the same name."""
    names = Counter(folder.name for folder in folders)
    return {folder: folder.name if names[folder.name] == 1 else str(folder) for folder in folders}


def _cache_home() -> Path | None:
    """Return the directory of the caches: LEITSTAND_CACHE, or below XDG_CACHE_HOME or `~/.cache`.

    None if LEITSTAND_CACHE is empty, or without a home.
    """
    own = os.environ.get("LEITSTAND_CACHE")
    if own is not None:
        return Path(own) if own else None
    chosen = os.environ.get("XDG_CACHE_HOME", "")
    try:
        return (Path(chosen) if chosen.startswith("/") else Path.home() / ".cache") / CACHE
    except RuntimeError:
        return None
