"""A replay in progress: which intervention of another run is due at a position of this one. The same on every rank.

All ranks know the file, so that they agree on what is due without asking each other. What is due is executed as a
command would be. A rollback that the file does not know ends the replay: later positions would mean other states.
"""

import logging
from collections.abc import Mapping
from typing import Any

from service.commands import Kind
from service.errors import SettingError
from service.run.records.provenance.replay.file import Intervention, Position, ReplayFile

logger = logging.getLogger(__name__)


class Replay:
    """The interventions of a file that are still to come. Without a file there are none."""

    def __init__(self, file: ReplayFile | None = None, differences: tuple[str, ...] = ()) -> None:
        """`differences` are sentences about what is not here as it was for the original run."""
        self._file = file
        self._differences = differences
        self._items = () if file is None else tuple(item for item in file.interventions if not item.is_automatic)
        self._rollbacks = {item.at: item for item in file.interventions if item.kind is Kind.ROLLBACK} if file else {}
        self._done = 0
        self._ended: str | None = None
        self._is_executing = False

    def begin(self, at: Position, saved: Mapping[str, Any] | None, checkpoint_steps: frozenset[int]) -> None:
        """Begin at the position of a start; `saved` is what `state` returned when its checkpoint was saved.

        `checkpoint_steps` are those of the checkpoints that exist now. Raises `SettingError` if something cannot be
        repeated from here.
        """
        if self._file is None:
            return
        if saved is not None and saved.get("sha256") == self._file.sha256:
            self._done, self._ended = int(saved["done"]), saved["ended"]
        else:
            self._require_reached(at)
            self._done = sum(item.at < at for item in self._items)
        if self._ended is None:
            self._require_checkpoints(at, set(checkpoint_steps))

    def _require_reached(self, at: Position) -> None:
        assert self._file is not None
        begin = self._file.begin
        if at < begin:
            raise SettingError(
                f"REPLAY_FILE begins at {begin} of run {self._file.run_id}, but this run stands at {at}: "
                f"`leitstand fork RUN NEW_FOLDER --checkpoint {begin.step}` makes one that begins there."
            )

    def _require_checkpoints(self, at: Position, existing: set[int]) -> None:
        """Raise `SettingError` if a rollback to come returns to a state that neither exists nor will be saved."""
        assert self._file is not None
        for item in self._file.interventions:
            if item.at < at:
                continue
            if item.kind is Kind.CHECKPOINT:
                existing.add(item.at.step)
            if item.kind is Kind.ROLLBACK and item.rollback_step not in existing:
                raise SettingError(
                    f"REPLAY_FILE cannot be repeated from {at}: the rollback at {item.at} returns to step "
                    f"{item.rollback_step}, of which there is no checkpoint. Begin at that step or before it."
                )

    def take(self, branch: int, step: int) -> Intervention | None:
        """Return the next intervention that is due at this position, or None; it counts as done.

        It is being executed until the next call.
        """
        self._is_executing = False
        if self._ended is not None:
            return None
        while self._done < len(self._items) and (item := self._items[self._done]).at <= (branch, step):
            self._done += 1
            if item.at == (branch, step):
                self._is_executing = True
                return item
        return None

    def note_rollback(self, branch: int, from_step: int, to_step: int) -> None:
        """End the replay if the run was rolled back from this position otherwise than the original."""
        if self._file is None or self._ended is not None:
            return
        expected = self._rollbacks.get(Position(branch, from_step))
        if expected is None or expected.rollback_step != to_step:
            place = Position(branch, from_step)
            self._ended = f"the run was rolled back at {place} to step {to_step}, which the original was not"
            logger.warning("The replay ends, because %s: %d interventions are left.", self._ended, self.remaining)

    @property
    def remaining(self) -> int:
        """How many interventions are still to come."""
        return len(self._items) - self._done

    def state(self) -> dict[str, Any] | None:
        """Return plain values for a checkpoint; None without a file."""
        if self._file is None:
            return None
        return {"sha256": self._file.sha256, "done": self._done, "ended": self._ended}

    def state_before_current(self) -> dict[str, Any] | None:
        """Return `state`, but with an intervention that is being executed still to come."""
        state = self.state()
        if state is not None and self._is_executing:
            state["done"] -= 1
        return state

    def begin_details(self) -> dict[str, Any] | None:
        """Return what the event log says of it; None without a file."""
        if self._file is None:
            return None
        differences = [*self._differences, *self._file.remarks]
        apart = f"; it may differ: {' '.join(differences)}" if differences else ""
        reason = f"{self.remaining} interventions in run {self._file.run_id} are to be repeated{apart}"
        return {
            "replayed_run": self._file.run_id,
            "sha256": self._file.sha256,
            "remaining": self.remaining,
            "differences": differences,
            "reason": f"nothing is repeated, because {self._ended}" if self._ended else reason,
        }
