"""Finds the run directories on this machine: DATA_ROOT, RUN_ROOTS, the folders directly in these, their archives."""

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
    """The root folders to search, in the order of the settings."""

    roots: tuple[Path, ...]

    @classmethod
    def of(cls, config: RunConfig) -> "RunFolders":
        """Return the root folders of these settings: DATA_ROOT, then RUN_ROOTS."""
        others = [Path(text).expanduser() for text in config.run_roots.split(SEPARATOR) if text.strip()]
        return cls((config.data_root, *others))

    def real_roots(self) -> tuple[Path, ...]:
        """Return where the root folders are now: a symbolic link may lead elsewhere than before."""
        return tuple(map(real_path, self.roots))

    def all(self) -> list[Path]:
        """Return the real path of every run directory that exists now, each once; unreadable folders are skipped."""
        paths = (path for root in self.real_roots() for path in _run_directories_in(root))
        return list(dict.fromkeys(paths))


def overrides_for(folders: Sequence[Path]) -> tuple[str, ...]:
    """Return `KEY=VALUE` texts that select only these folders, the first one as DATA_ROOT.

    Raises `SettingError` for a folder that cannot be served.
    """
    paths = [_readable(folder) for folder in folders]
    for path in paths[1:]:
        if SEPARATOR in str(path):
            raise SettingError(f"{path} has a {SEPARATOR!r} in its name, so it can only be named first; name it first.")
    # Never empty, because an empty value would not override the RUN_ROOTS of a settings file.
    roots = SEPARATOR + SEPARATOR.join(map(str, paths[1:]))
    return (f"DATA_ROOT={paths[0]}", f"RUN_ROOTS={roots}")


def is_run_directory(folder: Path) -> bool:
    """Return True if the folder has a store or a `run.json`."""
    directory = RunDirectory(folder)
    return os.path.isfile(directory.store) or os.path.isfile(directory.identity)


def holds_run_directories(folder: Path) -> bool:
    """Return True if there are run directories directly in the folder."""
    return any(map(is_run_directory, _folders(folder)))


def real_path(folder: Path) -> Path:
    """Return the path without symbolic links, so that every folder has exactly one path."""
    return Path(os.path.realpath(folder))


def _run_directories_in(root: Path) -> Iterator[Path]:
    """Yield the root if it is a run directory, else those directly in it; each followed by its archived runs."""
    for folder in [root] if is_run_directory(root) else [root, *_folders(root)]:
        if is_run_directory(folder):
            yield folder
        yield from filter(is_run_directory, _folders(folder / ARCHIVE))


def _folders(parent: Path) -> list[Path]:
    """Return the folders in a folder sorted by name, symbolic links last."""
    try:
        with os.scandir(parent) as entries:
            folders = sorted((entry.is_symlink(), entry.name) for entry in entries if entry.is_dir())
    except OSError:
        return []
    return [real_path(parent / name) if is_link else parent / name for is_link, name in folders]


def _readable(folder: Path) -> Path:
    """Return the folder's absolute path; raises `SettingError` if it is not a readable folder."""
    if not os.path.isdir(folder):
        problem = "is no folder" if os.path.lexists(folder) else "does not exist"
    elif not os.access(folder, os.R_OK | os.X_OK):
        problem = "cannot be read by this user"
    else:
        return Path(os.path.abspath(folder))
    raise SettingError(f"{folder} {problem}; name run directories, or a folder that holds some.")
