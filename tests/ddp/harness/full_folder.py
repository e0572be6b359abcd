"""A folder without room, as on a full disk, and room made in it while a training runs."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class FullFolder:
    """A folder in which nothing of more than 4 KiB can be saved, until `make_room`.

    Where this user may mount, it is a disk of 4 KiB; elsewhere a file has the folder's name.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True)
        self._is_mounted = os.getuid() == 0 and _mount("-t", "tmpfs", "-o", "size=4k", "none", str(path))
        if not self._is_mounted:
            path.rmdir()
            path.touch()

    def make_room(self) -> None:
        """Enlarge the disk, or remove the file."""
        if self._is_mounted:
            assert _mount("-o", "remount,size=64m", str(self.path))
        else:
            self.path.unlink(missing_ok=True)

    def unmount(self) -> None:
        if self._is_mounted:
            subprocess.run(["umount", "--lazy", str(self.path)], check=True)


@contextmanager
def full_folder(path: Path) -> Iterator[FullFolder]:
    """Make a full folder for the time of a `with`."""
    folder = FullFolder(path)
    try:
        yield folder
    finally:
        folder.unmount()


def _mount(*arguments: str) -> bool:
    return subprocess.run(["mount", *arguments], capture_output=True, check=False).returncode == 0
