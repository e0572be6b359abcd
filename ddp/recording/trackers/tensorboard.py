"""Scalars and pictures for TensorBoard, written by a thread of their own: a disk that is slow or full stops nothing.

What cannot be written waits, within bounds, and is tried again; that is said once. A run that goes on at an earlier
step, after a resume or a rollback, says so in the file, and TensorBoard hides what it had of later steps.
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
from ddp.recording.trackers.tensorboard_tags import Scalar, training_scalars, validation_scalars
from ddp.validation.result import Preview
from service.background_thread import BackgroundThread, ErrorBoundary, OngoingProblem, retry_while

POLL_SECONDS = 0.5
RETRY_SECONDS = 2.0
LAST_CHANCE_SECONDS = 5.0
EVENTS_KEPT = 1_000
PICTURES_KEPT = 16
"""Of pictures, which are large, so many wait at most."""
EVENTS_TOGETHER = 20
JPEG_QUALITY = 95

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Waiting:
    build: Callable[[], Event]
    is_picture: bool = False


class TensorBoard(Tracker):
    """The events of one run."""

    def __init__(self, folder: Path, *, has_scalars: bool, has_pictures: bool) -> None:
        """Write into `folder`, made with the first event: scalars, preview pictures, or both."""
        self.dropped = 0
        self._has_scalars = has_scalars
        self._has_pictures = has_pictures
        self._waiting: deque[_Waiting] = deque()  # without a lock: one thread appends, one takes out
        self._pictures_in = 0
        self._pictures_out = 0
        # Of the thread
        self._file = EventFile(folder)
        self._batch: tuple[list[_Waiting], bytes] | None = None
        self._failure = OngoingProblem()
        self._retry_at = 0.0
        self._boundary = ErrorBoundary(logger)
        self._thread = BackgroundThread(
            "tensorboard",
            self._write_waiting,
            interval_seconds=POLL_SECONDS,
            boundary=self._boundary,
            error_message="TensorBoard's thread met an unexpected error; it goes on.",
            at_end=self._write_the_rest,
        )

    def start(self, step: int) -> None:
        """Begin to write for a run that goes on at `step`."""
        self.resume_from(step)
        self._thread.start()

    def close(self) -> None:
        """Write what waits, and give up after a while."""
        self._thread.close(LAST_CHANCE_SECONDS + RETRY_SECONDS)

    def log_point(self, step: int, at: float, snapshot: Mapping[str, Any]) -> None:
        """Show the training's values at a step; `at` is Unix seconds."""
        if self._has_scalars:
            self._add(lambda: _scalars(step, at, training_scalars(snapshot)))

    def validation(self, step: int, at: float, record: Mapping[str, Any], previews: Sequence[Preview]) -> None:
        """Show the values and the pictures of a validation."""
        if self._has_scalars:
            self._add(lambda: _scalars(step, at, validation_scalars(record)))
        for name, picture in previews if self._has_pictures else ():
            self._add_picture(step, at, name, picture)

    def resume_from(self, step: int) -> None:
        """Hide what was written of later steps: the run goes on from here."""
        at = time.time()
        beginning = SessionLog(status=SessionLog.START)
        # Never dropped
        self._waiting.append(_Waiting(lambda: Event(step=step + 1, wall_time=at, session_log=beginning)))

    def _add(self, build: Callable[[], Event]) -> None:
        if len(self._waiting) >= EVENTS_KEPT:
            self.dropped += 1
        else:
            self._waiting.append(_Waiting(build))

    def _add_picture(self, step: int, at: float, name: str, picture: Tensor) -> None:
        if self._pictures_in - self._pictures_out >= PICTURES_KEPT:
            self.dropped += 1
            return
        self._pictures_in += 1
        self._waiting.append(_Waiting(lambda: _picture(step, at, name, picture), is_picture=True))

    # The thread

    def _write_the_rest(self) -> None:
        retry_while(
            self._retry,
            is_wanted=lambda: bool(self._waiting),
            seconds=LAST_CHANCE_SECONDS,
            pause_seconds=POLL_SECONDS,
        )
        if self._waiting:
            logger.error("%d events for TensorBoard are lost: its file could not be written.", len(self._waiting))
        self._file.close()

    def _retry(self) -> None:
        """Write now, whatever failed before."""
        self._retry_at = 0.0
        self._write_waiting()

    def _write_waiting(self) -> None:
        """Write what waits, unless a failure is less than RETRY_SECONDS ago."""
        now = time.monotonic()
        if now < self._retry_at:
            return
        try:
            while self._waiting:
                self._batch = self._batch or self._next_batch()  # one that could not be written is not made again
                self._file.append(self._batch[1])
                self._forget(self._batch[0])
                self._batch = None
        except OSError as error:
            self._retry_at = now + RETRY_SECONDS
            if self._failure.begin():
                reason = error.strerror or error
                logger.warning(
                    "TensorBoard's events cannot be written (%s); training goes on, and it is retried.", reason
                )
        else:
            self._failure.end()

    def _next_batch(self) -> tuple[list[_Waiting], bytes]:
        together = [self._waiting[place] for place in range(min(len(self._waiting), EVENTS_TOGETHER))]
        return together, framed(event for item in together if (event := self._built(item)) is not None)

    def _built(self, item: _Waiting) -> Event | None:
        """Build the event; None where that fails: a defect in one must not keep back the others."""
        with self._boundary.guard("An event for TensorBoard could not be made and is left out."):
            return item.build()
        return None

    def _forget(self, written: Sequence[_Waiting]) -> None:
        for item in written:
            self._waiting.popleft()
            self._pictures_out += item.is_picture


def _scalars(step: int, at: float, scalars: Iterable[Scalar]) -> Event:
    values = [Summary.Value(tag=tag, simple_value=value) for tag, value in scalars]
    return Event(step=step, wall_time=at, summary=Summary(value=values))


def _picture(step: int, at: float, name: str, picture: Tensor) -> Event:
    """LR | KI | GT, (3, H, W) uint8, as JPEG: a lossless picture costs many times the room and the checksums."""
    _, height, width = picture.shape
    buffer = io.BytesIO()
    Image.fromarray(picture.permute(1, 2, 0).numpy()).save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=buffer.getvalue())
    tag = f"preview/{Path(name).stem}"
    return Event(step=step, wall_time=at, summary=Summary(value=[Summary.Value(tag=tag, image=image)]))
