"""The preview pictures of a run, `previews/step_<step>/<name>.webp`: listed and read, never written.

A folder is opened by a step that was listed, a picture by a name found in its folder; links are never followed.
"""

import os
import re
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePath

from api.artifacts.directory_cache import DirectoryCache
from api.artifacts.safe_read import SafeFile, UnsafeFileError, read_safely

MEDIA_TYPES = {".webp": "image/webp", ".png": "image/png"}
MOST_BYTES = 64 * 1024 * 1024
"""No preview is larger."""

_FOLDERS = re.compile(r"/step_(0|[1-9][0-9]{0,17})(?=/)")


@dataclass(frozen=True)
class Picture:
    """One listed picture."""

    step: int
    name: str
    size_bytes: int


class PreviewFiles:
    """The pictures in one run's folder of previews; safe to use from several threads."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._steps: DirectoryCache[Sequence[int]] = DirectoryCache(folder, _read_steps, ())

    def pictures(self, after: tuple[int, str] | None = None, step: int | None = None) -> Iterator[Picture]:
        """Those after a position, the newest step first, then by name; with `step` only its own. Raises `OSError`."""
        steps = self._steps_down(after) if step is None else self._only(step)
        found = (picture for number in steps for picture in self._of_step(number))
        return found if after is None else (item for item in found if (-item.step, item.name) > (-after[0], after[1]))

    def find(self, step: int, name: str) -> SafeFile | None:
        """One picture; None when there is none. Raises `OSError`."""
        try:
            for listed in self._only(step):
                with self._opened(listed) as folder:
                    for entry in os.listdir(folder):
                        if entry == name and media_type(name):
                            return read_safely(entry, MOST_BYTES, folder=folder)
        except (FileNotFoundError, NotADirectoryError, UnsafeFileError):
            pass
        return None

    def _steps_down(self, after: tuple[int, str] | None) -> Iterable[int]:
        steps = self._steps.current()
        stop = len(steps) if after is None else bisect_right(steps, after[0])
        return (steps[index] for index in range(stop - 1, -1, -1))

    def _only(self, step: int) -> Sequence[int]:
        """The step, if there is a folder of it."""
        steps = self._steps.current()
        place = bisect_left(steps, step)
        return steps[place : place + 1] if place < len(steps) and steps[place] == step else ()

    def _of_step(self, step: int) -> list[Picture]:
        """By name; none in a folder that cannot be read or was archived meanwhile."""
        try:
            with self._opened(step) as folder, os.scandir(folder) as entries:
                files = [entry for entry in entries if media_type(entry.name) and entry.is_file(follow_symlinks=False)]
                found = [Picture(step, entry.name, entry.stat(follow_symlinks=False).st_size) for entry in files]
        except OSError:
            return []
        return sorted(found, key=lambda picture: picture.name)

    @contextmanager
    def _opened(self, step: int) -> Iterator[int]:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(self._folder / f"step_{step}", flags)
        try:
            yield descriptor
        finally:
            os.close(descriptor)


def media_type(name: str) -> str | None:
    """The media type of a picture's name; None of any other name."""
    return MEDIA_TYPES.get(PurePath(name).suffix) if name.isprintable() and not name.startswith(".") else None


def _read_steps(folder: Path) -> Sequence[int]:
    return array("q", sorted(map(int, _FOLDERS.findall(f"/{'/'.join(os.listdir(folder))}/"))))
