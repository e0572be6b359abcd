"""The recorder of every rank but rank 0: it takes the same calls and writes nothing."""

from typing import TYPE_CHECKING, Any, TypeAlias

from service.run.state import RunState

if TYPE_CHECKING:
    from ddp.recording.recorder import Recorder


class NullRecorder:
    """No-op recorder, so that the training loop is the same on all ranks."""

    def close(self, state: RunState, reason: str | None = None) -> None:
        """Nothing to write."""

    def close_for_restart(self) -> None:
        """Nothing to write."""

    def mark_progress(self) -> None:
        """Nobody reads this rank's progress."""

    def mark_step(self, step: int) -> None:
        """Nobody reads this rank's steps."""

    def publish_snapshot(self, snapshot: Any) -> None:
        """Rank 0 publishes."""

    def set_state(self, state: RunState, reason: str | None = None) -> None:
        """Rank 0 publishes."""

    def log_point(self, *_: Any) -> None:
        """Rank 0 writes the series."""

    def record(self, *_: Any) -> None:
        """Rank 0 writes the records."""

    def unsaved_records(self) -> list[Any]:
        """Rank 0 has them."""
        return []

    def adopt_records(self, records: Any) -> None:
        """Rank 0 saves them."""

    def show_settings(self, live: Any) -> None:
        """Rank 0 publishes."""

    def branch_off(self, step: int, last_recorded_step: int, archive: Any) -> None:
        """Rank 0 archives."""

    def finish(self, *_: Any, **__: Any) -> None:
        """Rank 0 answers for all."""

    def event(self, kind: str, details: Any) -> None:
        """Rank 0 writes the history."""


RunRecorder: TypeAlias = "Recorder | NullRecorder"
"""The recorder of any rank. A name in quotes, since ranks other than 0 never import what rank 0's recorder needs."""
