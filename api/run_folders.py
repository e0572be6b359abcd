"""Where runs lie on this machine: DATA_ROOT, the folders of RUN_ROOTS or one level below, and their archives."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from service.run_directory import RunDirectory
from service.settings import RunConfig

SEPARATOR = ":"


@dataclass(frozen=True)
class RunFolders:
    """The roots to look in, in the order of their names in the settings."""

    roots: tuple[Path, ...]

    @classmethod
    def of(cls, config: RunConfig) -> "RunFolders":
        """DATA_ROOT first, then RUN_ROOTS."""
        others = [Path(text).expanduser() for text in config.run_roots.split(SEPARATOR) if text.strip()]
        return cls(tuple(dict.fromkeys([config.data_root, *others])))

    def all(self) -> list[Path]:
        """Every run directory there is now; a folder that cannot be read holds none."""
        return list(dict.fromkeys(path for root in self.roots for path in _within(root)))


def _within(root: Path) -> Iterator[Path]:
    """The root itself, if it is a run directory, else those directly below; each followed by its archived runs."""
    for folder in [root] if is_run_directory(root) else _folders(root):
        if is_run_directory(folder):
            yield folder
            yield from (archived for archived in _folders(folder / "archive") if is_run_directory(archived))


def is_run_directory(folder: Path) -> bool:
    """Whether a run lives here, or has begun to."""
    directory = RunDirectory(folder)
    return directory.store.is_file() or directory.identity.is_file()


def _folders(parent: Path) -> list[Path]:
    try:
        return sorted(path for path in parent.iterdir() if path.is_dir() and not path.is_symlink())
    except OSError:
        return []
