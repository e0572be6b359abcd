"""What is wrong with a file of pictures or video: one list of causes for every reader, and opening without waiting.

A name that is shown or stored has to be UTF-8. Folders, pipes, sockets and devices are never opened: reading from them
could wait for ever. Never writes, and imports no video library: training reads pictures only.
"""

import io
import os
import stat
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from PIL import Image, UnidentifiedImageError

from service.errors import plain_reason

UNREADABLE: tuple[type[Exception], ...] = (
    OSError,
    EOFError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    NotImplementedError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
"""Errors of Pillow and PyAV for a file that is missing, truncated, damaged, too large or in an unknown format.

Found by reading 150,000 pictures with random damage in the formats that are read.
"""

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFBLK: "a device",
    stat.S_IFCHR: "a device",
}


class UnreadableFileError(Exception):
    """A file cannot be read; the message is the reason, without the file's name."""


@dataclass(frozen=True)
class Skipped:
    """A file that is left out, and the reason."""

    name: str
    reason: str


def printable_name(name: str) -> str:
    r"""Return a name from the file system with `\xe9` for each byte that is not UTF-8, so that it can be encoded."""
    return os.fsencode(name).decode(errors="backslashreplace")


def require_file(path: Path) -> None:
    """Raise `UnreadableFileError` for what is no regular file, or has a name that is not UTF-8."""
    if printable_name(path.name) != path.name:
        raise UnreadableFileError("its name is not UTF-8: rename it")
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise UnreadableFileError(reason_of(error)) from error
    if not stat.S_ISREG(mode):
        raise UnreadableFileError(f"it is {_KINDS.get(stat.S_IFMT(mode), 'no file')}")


def require_content(path: Path) -> None:
    """Raise `UnreadableFileError` for what is no regular file with at least one byte; opens nothing."""
    require_file(path)
    if path.stat().st_size == 0:
        raise UnreadableFileError("it is empty")


@contextmanager
def opened_picture(path: Path, formats: list[str] | None = None) -> Iterator[Image.Image]:
    """Open a picture of any format, or of these; every error of reading it within the block is an unreadable file.

    Raises `UnreadableFileError`.
    """
    with _errors_named(formats):
        require_content(path)
        with _open(path) as file, Image.open(file, formats=formats) as image:
            yield image


@contextmanager
def opened_content(content: bytes, formats: list[str] | None = None) -> Iterator[Image.Image]:
    """Open a picture whose file is in memory, as `opened_picture` does. Raises `UnreadableFileError`."""
    with _errors_named(formats):
        if not content:
            raise UnreadableFileError("it is empty")
        with Image.open(io.BytesIO(content), formats=formats) as image:
            yield image


@contextmanager
def _errors_named(formats: list[str] | None) -> Iterator[None]:
    try:
        yield
    except UnidentifiedImageError as error:
        raise UnreadableFileError(f"it is not a {' or '.join(formats or ['known'])} image") from error
    except UNREADABLE as error:
        raise UnreadableFileError(reason_of(error)) from error


def is_deep_colour(image: Image.Image) -> bool:
    """Return whether a picture that is not loaded yet has 16 bits per colour, of which Pillow reads the upper 8."""
    return image.mode in {"RGB", "RGBA"} and any(";16" in str(part.args) for part in getattr(image, "tile", ()))


def reason_of(error: Exception) -> str:
    """Return the cause of an error of `UNREADABLE`, without the path, which the caller adds."""
    if isinstance(error, Image.DecompressionBombError):
        return f"it has more pixels than the {2 * (Image.MAX_IMAGE_PIXELS or 0):,} that one image may have"
    if isinstance(error, FileNotFoundError):
        return "it does not exist, or is a link that leads nowhere"
    return plain_reason(error)


def ignore_size_warnings() -> None:
    """Silence Pillow's warning about pictures of half the size that it refuses to open."""
    warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


def _open(path: Path) -> BinaryIO:
    """Open without waiting, if the file has become a pipe in the meantime."""
    return os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
