"""Preview images of a run, `previews/step_<step>/<name>.webp`: listed and read, never written.

Only listed steps and names found in their folder are opened; links are never followed.
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
MAX_IMAGE_BYTES = 64 * 1024 * 1024
"""Upper limit for the size of a preview image."""

_FOLDERS = re.compile(r"/step_(0|[1-9][0-9]{0,17})(?=/)")


@dataclass(frozen=True)
class PreviewImage:
    """List entry of one preview image."""

    step: int
    name: str
    size_bytes: int


class PreviewFiles:
    """Preview images of one run; thread-safe."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._steps: DirectoryCache[Sequence[int]] = DirectoryCache(folder, _read_steps, ())

    def images(self, after: tuple[int, str] | None = None, step: int | None = None) -> Iterator[PreviewImage]:
        """Yield the images after a position, newest step first, then by name; raises `OSError`.

        With `step`, only the images of that step are yielded.
        """
        steps = self._steps_down(after) if step is None else self._listed(step)
        images = (image for number in steps for image in self._images_of_step(number))
        return images if after is None else (item for item in images if (-item.step, item.name) > (-after[0], after[1]))

    def find(self, step: int, name: str) -> SafeFile | None:
        """Return one image; None if there is none. Raises `OSError`."""
        try:
            for listed in self._listed(step):
                with self._open_folder(listed) as folder:
                    for entry in os.listdir(folder):
                        if entry == name and media_type(name):
                            return read_safely(entry, MAX_IMAGE_BYTES, folder=folder)
        except (FileNotFoundError, NotADirectoryError, UnsafeFileError):
            pass
        return None

    def _steps_down(self, after: tuple[int, str] | None) -> Iterable[int]:
        steps = self._steps.current()
        stop = len(steps) if after is None else bisect_right(steps, after[0])
        return (steps[index] for index in range(stop - 1, -1, -1))

    def _listed(self, step: int) -> Sequence[int]:
        """Return the step in a sequence if there is a folder for it, otherwise an empty sequence."""
        steps = self._steps.current()
        index = bisect_left(steps, step)
        return steps[index : index + 1] if index < len(steps) and steps[index] == step else ()

    def _images_of_step(self, step: int) -> list[PreviewImage]:
        """Return the images of a step by name; none if its folder cannot be read or was archived meanwhile."""
        try:
            with self._open_folder(step) as folder, os.scandir(folder) as entries:
                files = [entry for entry in entries if media_type(entry.name) and entry.is_file(follow_symlinks=False)]
                images = [PreviewImage(step, entry.name, entry.stat(follow_symlinks=False).st_size) for entry in files]
        except OSError:
            return []
        return sorted(images, key=lambda image: image.name)

    @contextmanager
    def _open_folder(self, step: int) -> Iterator[int]:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(self._folder / f"step_{step}", flags)
        try:
            yield descriptor
        finally:
            os.close(descriptor)


def media_type(name: str) -> str | None:
    """Return the media type for an image's name; None for any other name."""
    return MEDIA_TYPES.get(PurePath(name).suffix) if name.isprintable() and not name.startswith(".") else None


def _read_steps(folder: Path) -> Sequence[int]:
    return array("q", sorted(map(int, _FOLDERS.findall(f"/{'/'.join(os.listdir(folder))}/"))))
