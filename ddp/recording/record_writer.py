"""Writes records as files: in order, atomically, with retries. Used by the recorder's thread.

A record that cannot be written is kept, logged once, and never skipped: later records wait, so that files appear in the
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

from ddp.recording.record_files import RecordFiles
from ddp.validation.result import Preview
from service.atomic_files import write_atomically
from service.commands import Command
from service.errors import reason_and_remedy
from service.run.directory import PREVIEWS
from service.run.record import Record, encode_record, record_name

RETRY_SECONDS = 2.0
MAX_WEBP_SIDE = 16383  # pixels, by the format

logger = logging.getLogger(__name__)

Waiting = Sequence[tuple[Command, Mapping[str, Any]]]


@dataclass
class UnsavedRecord:
    """A record that is not on disk yet, with the commands that wait for it and their results."""

    record: Record
    previews: Sequence[Preview] = ()
    waiting: Waiting = ()
    problem: str = ""
    """Why it could not be written, and what to do; empty before the first failure."""
    folder: Path | None = None
    """Target folder, if it is not the run directory."""

    @property
    def step(self) -> int:
        """Step of the record."""
        step: int = self.record["step_current"]
        return step

    @property
    def name(self) -> str:
        """Name of the record's file."""
        return record_name(self.step)


class RecordWriter:
    """Queue of records. `add` and `unsaved` are thread-safe; a single thread calls `write_waiting`."""

    def __init__(
        self,
        files: RecordFiles,
        on_saved: Callable[[UnsavedRecord, str], None],
        on_failed: Callable[[UnsavedRecord, OSError], None],
    ) -> None:
        """`on_saved` receives the file's SHA-256; `on_failed` is called at every failure, and may clear `waiting`."""
        self._files = files
        self._on_saved = on_saved
        self._on_failed = on_failed
        self._lock = threading.Lock()
        self._records: deque[UnsavedRecord] = deque()
        self._retry_at = 0.0

    def add(self, unsaved: UnsavedRecord) -> None:
        """Append a record to the queue."""
        with self._lock:
            self._records.append(unsaved)

    def unsaved(self) -> list[UnsavedRecord]:
        """Return the records that are not on disk yet, oldest first."""
        with self._lock:
            return list(self._records)

    def log_losses(self) -> None:
        """Log the records that are not on disk at the end; a checkpoint saved since holds them."""
        for unsaved in self.unsaved():
            logger.error(
                "%s could not be written%s; the last checkpoint holds it, if it was saved: resume once that is mended.",
                unsaved.name,
                unsaved.problem and f" ({unsaved.problem})",
            )

    def write_waiting(self, now: float) -> None:
        """Write all queued records, unless a write failed within RETRY_SECONDS before the monotonic time `now`."""
        while now >= self._retry_at and (waiting := self.unsaved()):
            unsaved = waiting[0]
            try:
                sha256 = self._write(unsaved)
            except OSError as error:
                if not unsaved.problem:
                    logger.warning(
                        "⚠️  Failed to save statistics JSON: %s (%s); it is kept and tried again every %g s.",
                        unsaved.name,
                        reason_and_remedy(error),
                        RETRY_SECONDS,
                    )
                unsaved.problem = reason_and_remedy(error)
                self._retry_at = now + RETRY_SECONDS
                self._on_failed(unsaved, error)
                return
            with self._lock:
                self._records.popleft()
            self._on_saved(unsaved, sha256)

    def redirect_after(self, step: int, folder: Path) -> None:
        """Write queued records of steps after `step` into `folder`: they belong to an abandoned branch."""
        for unsaved in self.unsaved():
            if unsaved.step > step:
                unsaved.folder = folder

    def retry_now(self) -> None:
        """Cancel the delay after a failure: the next `write_waiting` writes."""
        self._retry_at = 0.0

    def _write(self, unsaved: UnsavedRecord) -> str:
        if unsaved.folder is None and self._files.is_guest:
            unsaved.folder = self._files.guest_folder(unsaved.name)
        folder, sha256 = self._files.write(unsaved.name, encode_record(unsaved.record), unsaved.folder)
        logger.info("📊 Statistics saved: %s", unsaved.name)
        try:
            write_previews(folder / PREVIEWS, unsaved.step, unsaved.previews)
        except OSError as error:
            logger.warning("The previews of step %d could not be written: %s", unsaved.step, error)
        return sha256


def write_previews(folder: Path, step: int, previews: Sequence[tuple[str, Tensor]]) -> None:
    """Write each image, (3, H, W) uint8, atomically as WebP. Raises `OSError`."""
    if not previews:
        return
    target = folder / f"step_{step}"
    target.mkdir(parents=True, exist_ok=True)
    for name, image in previews:
        write_atomically(target / f"{Path(name).stem}.webp", _encode(image))


def _encode(image: Tensor) -> bytes:
    """Encode (3, H, W) uint8 as WebP, reduced by a whole factor if a side is longer than the format allows."""
    buffer = io.BytesIO()
    factor = -(-max(image.shape[1:]) // MAX_WEBP_SIDE)
    Image.fromarray(image.permute(1, 2, 0).numpy()).reduce(factor).save(buffer, "WEBP", quality=90)
    return buffer.getvalue()
