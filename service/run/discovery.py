"""Where runs lie on this machine: DATA_ROOT, the folders of RUN_ROOTS or one level below, and their archives."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from service.config.settings import RunConfig
from service.errors import SettingError
from service.run.directory import RunDirectory

SEPARATOR = ":"
ARCHIVE = "archive"


@dataclass(frozen=True)
class RunFolders:
    """The roots to look in, in the order of their names in the settings."""

    roots: tuple[Path, ...]

    @classmethod
    def of(cls, config: RunConfig) -> "RunFolders":
        """DATA_ROOT first, then RUN_ROOTS."""
        others = [Path(text).expanduser() for text in config.run_roots.split(SEPARATOR) if text.strip()]
        return cls((config.data_root, *others))

    def all(self) -> list[Path]:
        """Every run directory there is now, once, without links in its path; an unreadable folder holds none."""
        found = (path for root in self.roots for path in _within(real_path(root)))
        return list(dict.fromkeys(found))


def overrides_for(folders: Sequence[Path]) -> tuple[str, ...]:
    """`KEY=VALUE` texts that make these folders the only ones, the first as DATA_ROOT.

    Raises `SettingError` for one that cannot be served.
    """
    paths = [_readable(folder) for folder in folders]
    for path in paths[1:]:
        if SEPARATOR in str(path):
            raise SettingError(f"{path} has a {SEPARATOR!r} in its name, so it can only be named first; name it first.")
    # Never empty: that would leave the RUN_ROOTS of a settings file in force.
    roots = SEPARATOR + SEPARATOR.join(map(str, paths[1:]))
    return (f"DATA_ROOT={paths[0]}", f"RUN_ROOTS={roots}")


def is_run_directory(folder: Path) -> bool:
    """Whether a run lives here, or has begun to."""
    directory = RunDirectory(folder)
    return os.path.isfile(directory.store) or os.path.isfile(directory.identity)


def holds_run_directories(folder: Path) -> bool:
    """Whether runs live directly below."""
    return any(map(is_run_directory, _folders(folder)))


def real_path(folder: Path) -> Path:
    """The folder without links in its path, so that each has one name."""
    return Path(os.path.realpath(folder))


def _within(root: Path) -> Iterator[Path]:
    """The root itself, if it is a run directory, else those directly below; each followed by its archived runs."""
    for folder in [root] if is_run_directory(root) else [root, *_folders(root)]:
        if is_run_directory(folder):
            yield folder
        yield from filter(is_run_directory, _folders(folder / ARCHIVE))


def _folders(parent: Path) -> list[Path]:
    """The folders in a folder by name, those behind links after all others."""
    try:
        with os.scandir(parent) as entries:
            found = sorted((entry.is_symlink(), entry.name) for entry in entries if entry.is_dir())
    except OSError:
        return []
    return [real_path(parent / name) if is_link else parent / name for is_link, name in found]


def _readable(folder: Path) -> Path:
    """The folder's whole path; raises `SettingError` when it is none."""
    if not os.path.isdir(folder):
        what = "is no folder" if os.path.lexists(folder) else "does not exist"
    elif not os.access(folder, os.R_OK | os.X_OK):
        what = "cannot be read by this user"
    else:
        return Path(os.path.abspath(folder))
    raise SettingError(f"{folder} {what}; name run directories, or a folder that holds some.")
