"""TensorBoard: scalars in an event file, written by tensorboardX."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from service.cli.stats.exchange.event_scalars import EventScalars, event_files, read_scalars
from service.cli.stats.tables import explained_write_errors
from service.errors import UserError
from service.run.records.tables.tags import TRAINING_TAGS
from service.run.records.trackers.tracked_run import TrackedPoint, TrackedRun, library

DEFAULT_FOLDER = "tensorboard"
BRANCH = TRAINING_TAGS["branch_id"]


class TensorBoardTracker:
    """`Tracker` that writes event files below `where`, a folder for each run."""

    def __init__(self, where: str | None, experiment: str) -> None:  # noqa: ARG002 - TensorBoard has no experiments
        """Use tensorboardX; raises `UserError` if it is not installed."""
        self._writers = library("tensorboardX", "TensorBoard", "tensorboardX")
        self._messages = library("tensorboardX.proto.event_pb2", "TensorBoard", "tensorboardX")
        self._home = Path(where or DEFAULT_FOLDER)

    def begin(self, run: TrackedRun) -> int:
        """Open a new event file; settings, note and rollbacks are texts in the first one.

        Raises `UserError` if it cannot be made.
        """
        folder = self._home / run.run_id
        files: list[Path] = []
        with explained_write_errors(folder), suppress(FileNotFoundError):
            files = event_files(folder)
        before = read_scalars(folder) if files else EventScalars()
        newest = max(before.times, default=-1)
        if before.values.get(BRANCH, {}).get(newest, run.branch) != run.branch:
            raise UserError(f"{folder} has another branch of this run; choose another folder with --where.")
        self._folder = folder
        with explained_write_errors(folder):
            # Without a name of its own it would replace a file that was begun in the same second.
            self._writer = self._writers.SummaryWriter(str(folder), filename_suffix=f".{len(files):06d}")
        texts = {
            "settings": "\n".join(f"{name} = {value}" for name, value in run.settings.items()),
            "note": run.note, "rollbacks": "\n\n".join(run.rollbacks),
        }  # fmt: skip
        for name, text in texts.items() if newest < 0 else ():
            if text:
                self._writer.add_text(f"leitstand/{name}", text, 0)
        return newest

    def add(self, points: Sequence[TrackedPoint]) -> None:
        """Write the numbers of records."""
        events = self._writer.file_writer.event_writer
        for point in points:  # not by add_scalar, which changes the names of layers
            event = self._messages.Event(step=point.step, wall_time=point.at or 0.0)
            for tag, value in point.scalars.items():
                event.summary.value.add(tag=tag, simple_value=value)
            events.add_event(event)

    def end(self, state: str) -> str:  # noqa: ARG002 - event files have no state
        """Write what is still in memory."""
        self._writer.close()
        return str(self._folder)
