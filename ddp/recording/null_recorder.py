"""No-op recorder for ranks other than 0."""

from typing import TYPE_CHECKING, Any, TypeAlias

from service.run.state import RunState

if TYPE_CHECKING:
    from ddp.recording.recorder import Recorder


class NullRecorder:
    """Recorder with the interface of rank 0's that writes nothing; it keeps the training loop equal on all ranks."""

    def close(self, state: RunState, reason: str | None = None) -> None:
        """Do nothing: there is nothing to write."""

    def close_for_restart(self) -> None:
        """Do nothing: there is nothing to write."""

    def mark_progress(self) -> None:
        """Do nothing: only rank 0 reports progress."""

    def mark_step(self, step: int) -> None:
        """Do nothing: only rank 0 reports steps."""

    def publish_snapshot(self, snapshot: Any) -> None:
        """Do nothing: rank 0 publishes."""

    def set_state(self, state: RunState, reason: str | None = None) -> None:
        """Do nothing: rank 0 publishes."""

    def log_point(self, *_: Any) -> None:
        """Do nothing: rank 0 writes the series."""

    def record(self, *_: Any) -> None:
        """Do nothing: rank 0 writes the records."""

    def unsaved_records(self) -> list[Any]:
        """Return an empty list: rank 0 holds the unsaved records."""
        return []

    def adopt_records(self, records: Any) -> None:
        """Do nothing: rank 0 saves them."""

    def publish_settings(self, live: Any) -> None:
        """Do nothing: rank 0 publishes."""

    def branch_off(self, step: int, last_recorded_step: int, archive: Any) -> None:
        """Do nothing: rank 0 archives."""

    def checkpoint_saved(self, step: int, name: str) -> None:
        """Do nothing: rank 0 saves them."""

    def begin_command(self, command: Any) -> None:
        """Do nothing: rank 0 adds commands."""

    def finish(self, *_: Any, **__: Any) -> None:
        """Do nothing: rank 0 finishes commands."""

    def event(self, kind: str, details: Any) -> None:
        """Do nothing: rank 0 writes the event log."""


RunRecorder: TypeAlias = "Recorder | NullRecorder"
"""Recorder of any rank. A forward reference, since ranks other than 0 never import rank 0's recorder."""
