"""Event files in TensorBoard's format: framed records, append-only, each batch written completely or not at all."""

import os
import re
import socket
import struct
import time
from collections.abc import Iterable
from io import FileIO
from pathlib import Path

from tensorboardX.proto.event_pb2 import Event  # type: ignore[import-untyped]
from tensorboardX.record_writer import masked_crc32c  # type: ignore[import-untyped]

FORMAT = "brain.Event:2"
"""The first version for which TensorBoard honours session restarts at an earlier step."""

_NAME = re.compile(r"events\.out\.tfevents\.([0-9]{10,12})\..*")


class EventFile:
    """Appends to its own file in a folder. TensorBoard reads the files of a folder in the order of their names."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: FileIO | None = None
        self._size = 0

    def append(self, content: bytes) -> None:
        """Append framed events. Raises `OSError` and then appends none of them."""
        if self._file is None or os.fstat(self._file.fileno()).st_nlink == 0:
            self.close()
            self._file = self._open()
            self._size = 0
        if self._size == 0:
            content = framed([Event(wall_time=time.time(), file_version=FORMAT)]) + content
        try:
            _write_all(self._file, content)
        except OSError:
            self._truncate_partial_write(self._file)
            raise
        self._size += len(content)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _open(self) -> FileIO:
        """Create a file whose name sorts after all others, even if the clock was set back."""
        self._folder.mkdir(parents=True, exist_ok=True)
        matches = (_NAME.fullmatch(path.name) for path in event_files(self._folder))
        latest = max((int(match[1]) for match in matches if match), default=0)
        number = max(int(time.time()), latest + 1)
        name = f"events.out.tfevents.{number:010d}.{socket.gethostname()}.{os.getpid()}"
        return FileIO(self._folder / name, "xb")

    def _truncate_partial_write(self, file: FileIO) -> None:
        """Truncate a partial record, which would hide everything after it; start a new file if that fails."""
        try:
            file.truncate(self._size)
            file.seek(self._size)
        except OSError:
            self.close()


def event_files(folder: Path) -> list[Path]:
    """Return the event files of a folder in the order in which TensorBoard reads them; raises `OSError`."""
    return sorted(path for path in folder.iterdir() if _NAME.fullmatch(path.name)) if folder.is_dir() else []


def framed(events: Iterable[Event]) -> bytes:
    """Encode events as TFRecords: length, its checksum, content, its checksum."""
    pieces = []
    for event in events:
        content = event.SerializeToString()
        length = struct.pack("<Q", len(content))
        pieces += [length, _checksum(length), content, _checksum(content)]
    return b"".join(pieces)


def _checksum(content: bytes) -> bytes:
    return struct.pack("<I", masked_crc32c(content))


def _write_all(file: FileIO, content: bytes) -> None:
    remaining = memoryview(content)
    while remaining:
        remaining = remaining[file.write(remaining) or 0 :]
