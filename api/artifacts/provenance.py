"""Provenance files of a run, `provenance/<sha256>.json`: read, never written.

The diffs beside them are not served: what was not committed may hold anything.
"""

from pathlib import Path

from api.artifacts.safe_read import SafeFile, UnsafeFileError, read_safely

MAX_BYTES = 8 * 1024 * 1024
"""Upper limit of a file; that of a machine with a thousand packages has 100 kB."""


def find_provenance(folder: Path, sha256: str) -> SafeFile | None:
    """Return a file of `folder` whose content has the sha256 that its name says; None if there is none.

    Raises `OSError`.
    """
    try:
        file = read_safely(folder / f"{sha256}.json", MAX_BYTES)
    except (FileNotFoundError, NotADirectoryError, UnsafeFileError):
        return None
    return file if file.sha256 == sha256 else None
