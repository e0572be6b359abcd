"""Recorder of ranks other than 0, which write nothing to the store or the run directory."""

import logging
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from service.run.record import LogPoint, Record
from service.run.state import RunState

if TYPE_CHECKING:
    from ddp.recording.recorder import Recorder
    from ddp.watchdog.stall_detection import Stall


MAX_KEPT = 64
"""Most records, and most log points, that are kept for the case that rank 0 is killed before it has written them."""

logger = logging.getLogger(__name__)


class NullRecorder:
    """Recorder with the interface of rank 0's that writes nothing; it keeps the training loop equal on all ranks.

    It keeps the last records and log points: if rank 0 is killed before it has written them, they are not lost.
    """

    def __init__(self) -> None:
        self._records: deque[Record] = deque(maxlen=MAX_KEPT)
        self._points: deque[LogPoint] = deque(maxlen=MAX_KEPT)

    def close(self, state: RunState, reason: str | None = None) -> None:
        """Do nothing: there is nothing to write."""

    def close_for_restart(self) -> None:
        """Do nothing: there is nothing to write."""

    def mark_progress(self) -> None:
        """Do nothing: only rank 0 reports progress."""

    def record_stall(self, stall: "Stall") -> None:
        """Log that rank 0 stalls, which it cannot record itself. Called on the watchdog's thread."""
        (logger.info if stall.is_resolved else logger.warning)("%s", stall.message)

    def mark_step(self, step: int) -> None:
        """Do nothing: only rank 0 reports steps."""

    def publish_snapshot(self, snapshot: Any) -> None:
        """Do nothing: rank 0 publishes."""

    def previews_folder(self) -> Path:
        """Return no place: rank 0 writes them."""
        return Path()

    def set_state(self, state: RunState, reason: str | None = None) -> None:
        """Do nothing: rank 0 publishes."""

    def log_point(self, step: int, values: Mapping[str, Any], _: Any) -> None:
        """Keep a log point, which rank 0 writes."""
        self._points.append((step, time.time(), values))

    def record(self, record: Record, series: Mapping[str, Any], *_: Any) -> None:
        """Keep a record and its series values, which rank 0 writes."""
        self._records.append(record)
        self._points.append((record["step_current"], time.time(), series))

    def unsaved_records(self) -> list[Record]:
        """Return the last records: which of them are on disk, only rank 0 knows."""
        return list(self._records)

    def unsaved_points(self) -> list[LogPoint]:
        """Return the last log points, oldest first: which of them are in the store, only rank 0 knows."""
        return list(self._points)

    def adopt_records(self, records: Any, points: Any = ()) -> None:
        """Do nothing: rank 0 saves them."""

    def publish_settings(self, live: Any) -> None:
        """Do nothing: rank 0 publishes."""

    def branch_off(self, step: int, last_recorded_step: int, archive: Any) -> None:  # noqa: ARG002 - as rank 0's
        """Forget what belongs to the abandoned branch, which rank 0 archives."""
        records = [record for record in self._records if record["step_current"] <= last_recorded_step]
        points = [point for point in self._points if point[0] <= step]
        self._records, self._points = deque(records, maxlen=MAX_KEPT), deque(points, maxlen=MAX_KEPT)

    def checkpoint_saved(self, step: int, name: str, more: Any) -> None:
        """Do nothing: rank 0 saves them."""

    def begin_command(self, command: Any) -> None:
        """Do nothing: rank 0 adds commands."""

    def finish(self, *_: Any, **__: Any) -> None:
        """Do nothing: rank 0 finishes commands."""

    def event(self, kind: str, details: Any) -> None:
        """Do nothing: rank 0 writes the event log."""


RunRecorder: TypeAlias = "Recorder | NullRecorder"
"""Recorder of any rank. A forward reference, since ranks other than 0 never import rank 0's recorder."""
