"""Scalars and images for TensorBoard, written by a separate thread, so that a slow or full disk blocks nothing.

Events that cannot be written stay in a bounded queue and are retried; the failure is logged once. When a run continues
at an earlier step, after a resume or a rollback, the file gets a session start and the last values up to that step, so
that both loaders of TensorBoard hide later steps.
"""

import io
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from tensorboardX.proto.event_pb2 import Event, SessionLog  # type: ignore[import-untyped]
from tensorboardX.proto.summary_pb2 import Summary  # type: ignore[import-untyped]
from torch import Tensor

from ddp.recording.trackers.base import Tracker
from ddp.recording.trackers.event_file import EventFile, framed
from ddp.recording.trackers.kept_values import kept_values
from ddp.validation.result import Preview
from service.background_thread import BackgroundThread, ErrorBoundary, OngoingProblem, retry_while
from service.errors import reason_and_remedy
from service.run.records.tables.tags import Scalar, training_scalars, validation_scalars

POLL_SECONDS = 0.5
RETRY_SECONDS = 2.0
LAST_CHANCE_SECONDS = 5.0
MAX_EVENTS = 1_000
MAX_IMAGES = 16
"""Maximum number of queued images, which are large."""
MAX_BATCH_EVENTS = 20
JPEG_QUALITY = 95

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _PendingEvent:
    build: Callable[[], Iterable[Event]]
    is_image: bool = False
    reads_files: bool = False
    """Whether everything before must be in the files when it is built."""


class TensorBoard(Tracker):
    """Tracker that writes the events of one run for TensorBoard."""

    def __init__(self, folder: Path, *, has_scalars: bool, has_images: bool) -> None:
        """Write scalars, preview images or both into `folder`, which the first event creates."""
        self.dropped = 0
        self._has_scalars = has_scalars
        self._has_images = has_images
        self._queue: deque[_PendingEvent] = deque()  # without a lock: one thread appends, another removes
        self._images_added = 0
        self._images_removed = 0
        # Used by the tracker's thread only
        self._folder = folder
        self._file = EventFile(folder)
        self._batch: tuple[list[_PendingEvent], bytes] | None = None
        self._failure = OngoingProblem()
        self._retry_at = 0.0
        self._boundary = ErrorBoundary(logger)
        self._thread = BackgroundThread(
            "tensorboard",
            self._write_waiting,
            interval_seconds=POLL_SECONDS,
            boundary=self._boundary,
            error_message="TensorBoard's thread met an unexpected error; it goes on.",
            at_end=self._write_remaining,
        )

    @property
    def waiting(self) -> int:
        """Events that are queued: they are not in the file yet."""
        return len(self._queue)

    def start(self, step: int) -> None:
        """Start the thread, for a run that starts or continues at `step`."""
        self.resume_from(step)
        self._thread.start()

    def close(self) -> None:
        """Write everything queued; give up after LAST_CHANCE_SECONDS."""
        self._thread.close(LAST_CHANCE_SECONDS + RETRY_SECONDS)

    def log_point(self, step: int, at: float, snapshot: Mapping[str, Any]) -> None:
        """Queue the training values of a step; `at` is Unix seconds."""
        if self._has_scalars:
            self._add(lambda: [_scalars(step, at, training_scalars(snapshot))])

    def validation(self, step: int, at: float, record: Mapping[str, Any], previews: Sequence[Preview]) -> None:
        """Queue the values and images of a validation."""
        if self._has_scalars:
            self._add(lambda: [_scalars(step, at, validation_scalars(record))])
        for name, preview in previews if self._has_images else ():
            self._add_image(step, at, name, preview)

    def resume_from(self, step: int) -> None:
        """Queue what hides events of steps after `step`: the last values before, and a session start."""
        at = time.time()
        session_start = SessionLog(status=SessionLog.START)
        # Never dropped
        self._queue.append(_PendingEvent(lambda: kept_values(self._folder, step), reads_files=True))
        self._queue.append(_PendingEvent(lambda: [Event(step=step + 1, wall_time=at, session_log=session_start)]))

    def _add(self, build: Callable[[], Iterable[Event]]) -> None:
        if len(self._queue) >= MAX_EVENTS:
            self.dropped += 1
        else:
            self._queue.append(_PendingEvent(build))

    def _add_image(self, step: int, at: float, name: str, preview: Tensor) -> None:
        if self._images_added - self._images_removed >= MAX_IMAGES:
            self.dropped += 1
            return
        self._images_added += 1
        self._queue.append(_PendingEvent(lambda: [_image_event(step, at, name, preview)], is_image=True))

    # On the tracker's thread

    def _write_remaining(self) -> None:
        retry_while(
            self._retry,
            is_wanted=lambda: bool(self._queue),
            seconds=LAST_CHANCE_SECONDS,
            pause_seconds=POLL_SECONDS,
        )
        if self._queue:
            logger.error(
                "%d events for TensorBoard are lost: its file could not be written. The store has the same curves "
                "(`leitstand series`); mend what keeps it from being written before the next start.",
                len(self._queue),
            )
        self._file.close()

    def _retry(self) -> None:
        """Write now, without the delay after a failure."""
        self._retry_at = 0.0
        self._write_waiting()

    def _write_waiting(self) -> None:
        """Write everything queued, unless the last failure was less than RETRY_SECONDS ago."""
        now = time.monotonic()
        if now < self._retry_at:
            return
        try:
            while self._queue:
                self._batch = self._batch or self._next_batch()  # a batch that could not be written is not rebuilt
                self._file.append(self._batch[1])
                self._remove(self._batch[0])
                self._batch = None
        except OSError as error:
            self._retry_at = now + RETRY_SECONDS
            if self._failure.begin():
                logger.warning(
                    "TensorBoard's events cannot be written (%s); training goes on, and it is retried.",
                    reason_and_remedy(error),
                )
        else:
            self._failure.end()

    def _next_batch(self) -> tuple[list[_PendingEvent], bytes]:
        items = [self._queue[index] for index in range(min(len(self._queue), MAX_BATCH_EVENTS))]
        reading = next((index for index, item in enumerate(items) if index and item.reads_files), len(items))
        items = items[:reading]
        return items, framed(event for item in items for event in self._built(item))

    def _built(self, item: _PendingEvent) -> Iterable[Event]:
        """Build the events; returns none if that fails, so that one defective event does not block the others."""
        with self._boundary.guard("An event for TensorBoard could not be made and is left out."):
            return item.build()
        return ()

    def _remove(self, written: Sequence[_PendingEvent]) -> None:
        for item in written:
            self._queue.popleft()
            self._images_removed += item.is_image


def _scalars(step: int, at: float, scalars: Iterable[Scalar]) -> Event:
    values = [Summary.Value(tag=tag, simple_value=value) for tag, value in scalars]
    return Event(step=step, wall_time=at, summary=Summary(value=values))


def _image_event(step: int, at: float, name: str, preview: Tensor) -> Event:
    """Build the event of a preview LR | KI | GT, (3, H, W) uint8, as JPEG: lossless images are many times larger."""
    _, height, width = preview.shape
    buffer = io.BytesIO()
    Image.fromarray(preview.permute(1, 2, 0).numpy()).save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=buffer.getvalue())
    tag = f"preview/{Path(name).stem}"
    return Event(step=step, wall_time=at, summary=Summary(value=[Summary.Value(tag=tag, image=image)]))
