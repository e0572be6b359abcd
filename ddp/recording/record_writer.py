"""Writes records as files: in order, whole, tried again until it works. Used by the recorder's thread.

A record that cannot be written is kept, said once, and never skipped: those behind it wait, so that files appear in the
order of their steps.
"""

import io
import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor

from ddp.validation.result import Preview
from service.atomic_files import write_atomically
from service.commands import Command
from service.run.directory import RunDirectory
from service.run.record import Record, encode_record, record_name

RETRY_SECONDS = 2.0

logger = logging.getLogger(__name__)

Waiting = Sequence[tuple[Command, Mapping[str, Any]]]


@dataclass
class UnsavedRecord:
    """A record on its way to its file, with the commands that wait for it and what to answer them."""

    record: Record
    previews: Sequence[Preview] = ()
    waiting: Waiting = ()
    has_failed: bool = False
    folder: Path | None = None
    """Where it belongs, if no longer into the run directory."""

    @property
    def step(self) -> int:
        """The record's step."""
        step: int = self.record["step_current"]
        return step

    @property
    def name(self) -> str:
        """The file's name."""
        return record_name(self.step)


class RecordWriter:
    """The queue of records. `add` and `unsaved` may be called from any thread, `write_waiting` from one."""

    def __init__(
        self,
        directory: RunDirectory,
        on_saved: Callable[[UnsavedRecord, str], None],
        on_failed: Callable[[UnsavedRecord, OSError], None],
    ) -> None:
        """`on_saved` gets the sha256; `on_failed` is called at every failure, and may take the waiting commands off."""
        self._directory = directory
        self._on_saved = on_saved
        self._on_failed = on_failed
        self._lock = threading.Lock()
        self._records: deque[UnsavedRecord] = deque()
        self._retry_at = 0.0

    def add(self, unsaved: UnsavedRecord) -> None:
        """Queue a record."""
        with self._lock:
            self._records.append(unsaved)

    def unsaved(self) -> list[UnsavedRecord]:
        """What is not on disk yet, oldest first."""
        with self._lock:
            return list(self._records)

    def write_waiting(self, now: float) -> None:
        """Write what waits, unless a failure is less than RETRY_SECONDS of the monotonic clock ago."""
        while now >= self._retry_at and (waiting := self.unsaved()):
            unsaved = waiting[0]
            try:
                sha256 = self._write(unsaved)
            except OSError as error:
                if not unsaved.has_failed:
                    logger.warning("⚠️  Failed to save statistics JSON: %s", error)
                unsaved.has_failed = True
                self._retry_at = now + RETRY_SECONDS
                self._on_failed(unsaved, error)
                return
            with self._lock:
                self._records.popleft()
            self._on_saved(unsaved, sha256)

    def redirect_after(self, step: int, folder: Path) -> None:
        """Let what waits for a later step be written into `folder`: it belongs to a branch that was left."""
        for unsaved in self.unsaved():
            if unsaved.step > step:
                unsaved.folder = folder

    def retry_now(self) -> None:
        """Try again at the next call, whatever failed before."""
        self._retry_at = 0.0

    def _write(self, unsaved: UnsavedRecord) -> str:
        folder = unsaved.folder or self._directory.root
        if unsaved.folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        sha256 = write_atomically(folder / unsaved.name, encode_record(unsaved.record))
        logger.info("📊 Statistics saved: %s", unsaved.name)
        try:
            write_previews(folder / self._directory.previews.name, unsaved.step, unsaved.previews)
        except OSError as error:
            logger.warning("The previews of step %d could not be written: %s", unsaved.step, error)
        return sha256


def write_previews(folder: Path, step: int, previews: Sequence[tuple[str, Tensor]]) -> None:
    """Write each picture, (3, H, W) uint8, whole. Raises `OSError`."""
    if not previews:
        return
    target = folder / f"step_{step}"
    target.mkdir(parents=True, exist_ok=True)
    for name, picture in previews:
        write_atomically(target / f"{Path(name).stem}.webp", _encode(picture))


def _encode(picture: Tensor) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture.permute(1, 2, 0).numpy()).save(buffer, "WEBP", quality=90)
    return buffer.getvalue()
