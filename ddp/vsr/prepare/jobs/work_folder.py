"""The hidden folder beside a patch set in which it is made, and which keeps finished parts after an interruption.

    .tmp-preparing-<name of the set>/   the set as far as it is made; .lock: who works here
        .parts/<key>.json               content of a finished part; `files`: sha256 of those that it wrote into the set

A key is the digest of all that a part depends on. What no part names is removed, so that nothing half-written passes
for whole. Never reads a video.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import PIL

from service import __version__
from service.atomic_files import TEMPORARY_PREFIX, read_small_file, sha256_of, write_atomically
from service.run.lock import RunLock, holder_of, take_lock

LOCK_FILE, PARTS = ".lock", ".parts"
WAIT_SECONDS = 0.2
FILES = "files"

VERSIONS = {
    "leitstand": __version__,
    "av": av.__version__,
    "ffmpeg": str(av.library_versions),
    "numpy": np.__version__,
    "pillow": PIL.__version__,
}
"""Parts made with others would not be those of an uninterrupted preparation."""


def part_key(**content: Any) -> str:
    """Return the key of a part that depends on `content`, which has to be plain JSON."""
    text = json.dumps({**content, "versions": VERSIONS}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


@dataclass(frozen=True)
class WorkFolder:
    """A folder in which a set is made, used by one preparation and its worker processes."""

    path: Path

    def read(self, key: str) -> Mapping[str, Any] | None:
        """Return the content of a finished part, None if there is none; does not look at the files that it wrote."""
        with suppress(OSError, ValueError, RecursionError, TypeError):
            content = dict(json.loads(read_small_file(self._part(key))))
            return content if isinstance(content.get(FILES, {}), dict) else None
        return None

    def read_whole(self, key: str) -> Mapping[str, Any] | None:
        """Return the content of a finished part; None also if a file that it wrote is not as it was written."""
        content = self.read(key)
        with suppress(OSError):
            if content and all(sha256_of(self.path / name) == sum for name, sum in content.get(FILES, {}).items()):
                return content
        return None

    def write(self, key: str, content: Mapping[str, Any]) -> None:
        """Keep a finished part. Raises `OSError`."""
        (self.path / PARTS).mkdir(exist_ok=True)
        write_atomically(self._part(key), json.dumps(content).encode())

    def has_parts(self) -> bool:
        """Return whether a preparation would find something to go on with."""
        return any((self.path / PARTS).glob("*.json"))

    def keep_only(self, keys: Iterable[str]) -> None:
        """Remove all parts but these, and every file of the set that none of these names. Raises `OSError`."""
        kept, names = set(keys), set[str]()
        for path in list((self.path / PARTS).glob("*")):
            content = self.read(path.stem) if path.stem in kept else None
            if content is None:
                path.unlink()
            else:
                names.update(content.get(FILES, {}))
        for path in list(self.path.rglob("*")):
            name = path.relative_to(self.path).as_posix()
            if path.is_file() and path.parent.name != PARTS and name != LOCK_FILE and name not in names:
                path.unlink()

    def remove(self) -> None:
        """Remove the folder with all that is in it."""
        shutil.rmtree(self.path, ignore_errors=True)

    def finish(self, target: Path) -> None:
        """Rename the finished folder to the set; replaces an empty folder only. Raises `OSError`."""
        shutil.rmtree(self.path / PARTS, ignore_errors=True)
        self.path.replace(target)
        (target / LOCK_FILE).unlink()  # it stays locked until then, so that nobody makes the set a second time

    def _part(self, key: str) -> Path:
        return self.path / PARTS / f"{key}.json"


def work_path(target: Path) -> Path:
    """Return the path of the folder in which a set is made."""
    return target.parent / f"{TEMPORARY_PREFIX}preparing-{target.name}"


@contextmanager
def work_folder(target: Path, on_wait: Callable[[str], object]) -> Iterator[WorkFolder]:
    """Yield the folder to make `target` in; wait while another process works there, which `on_wait` is told.

    The folder stays as the block leaves it, if it holds finished parts. Raises `OSError`.
    """
    path = work_path(target)
    lock = _locked(path, on_wait)
    folder = WorkFolder(path)
    try:
        yield folder
    finally:
        if path.exists() and not folder.has_parts():
            shutil.rmtree(path, ignore_errors=True)
        lock.close()


def _locked(path: Path, on_wait: Callable[[str], object]) -> RunLock:
    """Make and lock the folder; again, if the process that worked there has finished it meanwhile."""
    is_told = False
    while True:
        path.mkdir(exist_ok=True)
        with suppress(FileNotFoundError):
            lock = take_lock(path / LOCK_FILE, 0.0)
            if lock is not None:
                if lock.is_at_path():
                    return lock
                lock.close()
            elif not is_told:
                is_told = True
                on_wait(holder_of(path / LOCK_FILE) or "another process")
        time.sleep(WAIT_SECONDS)
