"""The PNG files of one side of a patch set by kind and name, whatever they lie in. Never writes.

SIDE/GT/*.png, SIDE/LR/*.png     folders
SIDE/GT.lmdb,  SIDE/LR.lmdb      LMDB, as BasicSR and its relatives make them: key = name without .png
SIDE/*.tar                       shards, as WebDataset reads them: NAME.gt.png and NAME.lr.png
"""

import io
import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Literal, Protocol

from PIL import Image

from ddp.vsr.unreadable import Skipped, UnreadableFileError, opened_content, opened_picture
from service.atomic_files import open_ordinary

Kind = Literal["GT", "LR"]
HEAD_BYTES = 4096
"""In which a PNG file says its size, unless much text comes first."""


class PictureStore(Protocol):
    """PNG files by kind and name; used by any process, after a fork too."""

    @property
    def skipped(self) -> Sequence[Skipped]:
        """What lies there and cannot be read."""

    def names(self, kind: Kind) -> set[str]:
        """Return the names of all files of a kind, with `.png`. Raises `OSError`, with the path."""

    def opened(self, kind: Kind, name: str) -> AbstractContextManager[Image.Image]:
        """Open a picture; every error within the block is an `UnreadableFileError`."""

    def opened_head(self, kind: Kind, name: str) -> AbstractContextManager[Image.Image]:
        """Open a picture of which only size and mode are asked."""

    def size_in_bytes(self, kind: Kind, name: str) -> int:
        """Return the size of a file; -1 if it has vanished."""

    def last_bytes(self, kind: Kind, name: str, count: int) -> bytes:
        """Return the last bytes of a file, b"" if it has vanished."""

    def content(self, kind: Kind, name: str) -> bytes:
        """Return a file. Raises `UnreadableFileError`."""


class FolderStore:
    """Files in the folders GT and LR."""

    skipped: Sequence[Skipped] = ()

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def names(self, kind: Kind) -> set[str]:
        """Return the names of all PNG files except hidden ones, by a directory scan only. Raises `OSError`."""
        with os.scandir(self._folder / kind) as entries:
            return {entry.name for entry in entries if entry.name.lower().endswith(".png") and entry.name[0] != "."}

    def opened(self, kind: Kind, name: str) -> AbstractContextManager[Image.Image]:
        """Open a picture."""
        return opened_picture(self._folder / kind / name, ["PNG"])

    opened_head = opened

    def size_in_bytes(self, kind: Kind, name: str) -> int:
        """Return the size of a file; -1 if it has vanished."""
        try:
            return (self._folder / kind / name).stat().st_size
        except OSError:
            return -1

    def last_bytes(self, kind: Kind, name: str, count: int) -> bytes:
        """Return the last bytes of a file, b"" if it has vanished."""
        try:
            with open_ordinary(self._folder / kind / name) as file:
                file.seek(-count, os.SEEK_END)
                return file.read(count)
        except OSError:
            return b""

    def content(self, kind: Kind, name: str) -> bytes:
        """Return a file. Raises `UnreadableFileError`."""
        with opened_picture(self._folder / kind / name, ["PNG"]):
            return (self._folder / kind / name).read_bytes()


class ContentStore:
    """What is common to containers that hold many files in one."""

    def part(self, kind: Kind, name: str, first: int, count: int | None) -> bytes:
        """Return bytes of a file from number `first` on, all for None. Raises `UnreadableFileError`."""
        raise NotImplementedError

    def size_in_bytes(self, kind: Kind, name: str) -> int:
        """Return the size of a file; -1 if it has vanished."""
        raise NotImplementedError

    @contextmanager
    def opened(self, kind: Kind, name: str) -> Iterator[Image.Image]:
        """Open a picture; every error within the block is an `UnreadableFileError`."""
        with opened_content(self.content(kind, name), ["PNG"]) as image:
            yield image

    @contextmanager
    def opened_head(self, kind: Kind, name: str) -> Iterator[Image.Image]:
        """Open a picture of which only size and mode are asked, which the first page says nearly always."""
        head = self.part(kind, name, 0, HEAD_BYTES)
        try:
            Image.open(io.BytesIO(head), formats=["PNG"]).close()
        except Exception:  # noqa: BLE001  whatever is wrong is found again in the whole file
            head = self.content(kind, name)
        with opened_content(head, ["PNG"]) as image:
            yield image

    def last_bytes(self, kind: Kind, name: str, count: int) -> bytes:
        """Return the last bytes of a file, b"" if it has vanished."""
        try:
            return self.part(kind, name, max(0, self.size_in_bytes(kind, name) - count), count)
        except UnreadableFileError:
            return b""

    def content(self, kind: Kind, name: str) -> bytes:
        """Return a file. Raises `UnreadableFileError`."""
        return self.part(kind, name, 0, None)
