"""Executes the agreed commands at a step boundary, the same on all ranks, and reports each outcome.

A rollback is executed alone; otherwise the order within one boundary is set, resume, pause, validate, preview,
checkpoint, stop.
Rank 0 broadcasts the arguments of a command only if all ranks need them (rollback, set). Each rank reports its outcome.
"""

import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from ddp.checkpoint.folder import Reason, checkpoint_name
from ddp.control.agreement import AgreedCommands, RankAgreement
from ddp.distributed.world import World
from ddp.metrics.window import MetricsWindow
from ddp.recording.null_recorder import RunRecorder
from ddp.training.boundary import StepBoundary
from ddp.training.checkpoints import Checkpoints
from ddp.training.passes.preview_pass import PreviewPass
from ddp.training.recovery.rollback import Rollback
from ddp.training.run_status import RunStatus
from ddp.training.settings_change import SettingsChange
from ddp.validation import record_values
from ddp.watchdog.stages import Stage, StageMarker
from service.commands import Command, CommandBits, CommandState, Kind
from service.errors import UserError
from service.run.ledger.time_spent import Activity
from service.run.record import record_name
from service.run.records.provenance.replay.file import Intervention
from service.run.records.provenance.replay.lineage import REPLAY


class CommandExchange:
    """Broadcasts command arguments from rank 0 to all ranks, and collects the outcomes of all ranks on rank 0."""

    def __init__(self, world: World, run_id: str, run_status: RunStatus, recorder: RunRecorder) -> None:
        self._world = world
        self._run_id = run_id
        self._run_status = run_status
        self._recorder = recorder
        self._began_at = 0.0

    def begin(self) -> None:
        """Store the time at which this rank begins to execute the commands of a boundary."""
        self._began_at = time.time()

    def begin_replayed(self, item: Intervention) -> tuple[Command, ...]:
        """Record that an intervention of another run begins here as a command; return it on rank 0, nothing on others.

        It has the actor and the reason of the original.
        """
        if not self._world.is_main:
            return ()
        now, why = time.time(), item.why
        command = Command(
            uuid.uuid4().hex, self._run_id, item.kind, CommandState.RUNNING, item.actor, REPLAY, now, item.arguments,
            started_at=now, why=why,
        )  # fmt: skip
        self._recorder.begin_command(command)
        return (command,)

    def arguments_of(self, commands: tuple[Command, ...]) -> list[Mapping[str, Any]]:
        """Return the arguments of rank 0's commands, on every rank. One collective."""
        return self._world.from_main([command.arguments for command in commands])

    def finish(
        self, commands: tuple[Command, ...], problem: str | None, result: Mapping[str, Any] | None = None
    ) -> None:
        """Finish commands with the outcome of every rank; this rank contributes `problem`. One collective."""
        outcomes = self._outcomes(problem)
        state = CommandState.DONE if problem is None else CommandState.FAILED
        for command in commands:
            self._finish_one(command, state, result={**(result or {}), "ranks": outcomes}, reason=problem)

    def finish_when_written(self, commands: tuple[Command, ...]) -> Callable[[int, str | None], None]:
        """Return a callback that finishes commands once the state of this or a newer step is durable. One collective.

        Rank 0's writer thread calls it with the step that was written and the error message or None.
        """
        step, outcomes = self._run_status.progress.step, self._outcomes(None)

        def written(written_step: int, problem: str | None) -> None:
            state = CommandState.DONE if problem is None else CommandState.FAILED
            result = {"checkpoint": checkpoint_name(written_step), "ranks": outcomes}
            for command in commands:
                self._recorder.finish(command, state, step=step, result=result, reason=problem)

        return written

    def reject(self, commands: tuple[Command, ...], reason: str) -> None:
        """Finish commands as rejected; changes nothing else."""
        for command in commands:
            self._finish_one(command, CommandState.REJECTED, reason=reason)

    def reject_missed(self, commands: tuple[Command, ...]) -> None:
        """Reject commands whose `apply_at_step` has passed."""
        step = self._run_status.progress.step
        for command in commands:
            reason = f"step {command.apply_at_step} was over, at step {step}, when the command could be carried out"
            self._finish_one(command, CommandState.REJECTED, reason=reason)

    def _outcomes(self, problem: str | None) -> list[dict[str, Any]]:
        return record_values.outcomes_of(self._world.gather((problem, self._began_at)))

    def _finish_one(self, command: Command, state: CommandState, **details: Any) -> None:
        self._recorder.finish(command, state, step=self._run_status.progress.step, **details)


class CommandExecutor:
    """Executes the commands of one boundary, on one rank."""

    def __init__(
        self,
        exchange: CommandExchange,
        boundary: StepBoundary,
        checkpoints: Checkpoints,
        settings: SettingsChange,
        rollback: Rollback,
        previews: PreviewPass,
        run_status: RunStatus,
        marker: StageMarker,
    ) -> None:
        self._exchange = exchange
        self._boundary = boundary
        self._checkpoints = checkpoints
        self._settings = settings
        self._rollback = rollback
        self._previews = previews
        self._run_status = run_status
        self._marker = marker

    def execute(self, agreed: AgreedCommands) -> None:
        """Execute the agreed commands in the order of their kinds, and report the outcomes."""
        wanted = agreed.operations
        self._exchange.begin()
        self._exchange.reject_missed(agreed.missed)
        if not wanted:
            return
        self._marker.enter(Stage.COMMAND)
        if CommandBits.ROLLBACK in wanted:
            self._each(agreed.of(Kind.ROLLBACK), self._roll_back)
        if CommandBits.SET in wanted:
            self._each(agreed.of(Kind.SET), self._change_settings)
        if wanted & (CommandBits.PAUSE | CommandBits.RESUME):
            self._boundary.pause(CommandBits.PAUSE in wanted)
            self._exchange.finish(agreed.of(Kind.PAUSE) + agreed.of(Kind.RESUME), None)
        if CommandBits.VALIDATE in wanted:
            self._validate(agreed.of(Kind.VALIDATE))
        if CommandBits.PREVIEW in wanted:
            self._previews.run(agreed.of(Kind.PREVIEW))
        if CommandBits.CHECKPOINT in wanted:
            self._checkpoints.save(Reason.COMMAND, self._exchange.finish_when_written(agreed.of(Kind.CHECKPOINT)))
        if wanted & (CommandBits.STOP | CommandBits.LEAVE) and self._run_status.ending is None:
            self._leave(agreed)

    def wait_for_files(self) -> None:
        """Wait for the files that commands have asked for, before the run ends."""
        self._previews.wait()

    def execute_replayed(self) -> None:
        """Execute the interventions of another run that are due here, one by one in its order."""
        progress = self._run_status.progress
        while self._run_status.ending is None:
            item = self._run_status.replay.take(progress.branch, progress.step)
            if item is None:
                return
            self.execute(AgreedCommands(CommandBits.of(item.kind), self._exchange.begin_replayed(item)))

    def _each(self, commands: tuple[Command, ...], act: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> None:
        """Execute commands one by one on every rank; reject one that raises `UserError`, on all ranks."""
        for index, arguments in enumerate(self._exchange.arguments_of(commands)):
            command = commands[index : index + 1]
            try:
                result = act(arguments)
            except UserError as error:
                self._exchange.reject(command, str(error))
            else:
                self._exchange.finish(command, None, result)

    def _roll_back(self, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        found = self._checkpoints.named(arguments["checkpoint"])
        from_step = self._run_status.progress.step
        self._previews.wait()
        self._rollback.run(found, "a person asked for it")
        branch = self._run_status.progress.branch
        return {"checkpoint": found.saved.folder.name, "from_step": from_step, "branch_id": branch}

    def _change_settings(self, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        self._settings.change(arguments)
        return dict(arguments)

    def _validate(self, commands: tuple[Command, ...]) -> None:
        progress = self._run_status.progress
        if progress.validated_step == progress.step:
            self._exchange.finish(commands, None, {"shared": True, "record": record_name(progress.step)})
        elif not self._boundary.validate_then_save("manual", commands):
            self._exchange.reject(commands, "the run was asked to leave by a signal before the validation was through")

    def _leave(self, agreed: AgreedCommands) -> None:
        problem = self._boundary.leave(is_asked_by_signal=CommandBits.LEAVE in agreed.operations)
        result = {"checkpoint": checkpoint_name(self._run_status.progress.step)}
        self._exchange.finish(agreed.of(Kind.STOP), problem, result)


class CommandLoop:
    """Executes the agreed commands of every boundary, and waits at the boundary while the run is paused."""

    def __init__(
        self,
        agreement: RankAgreement,
        executor: CommandExecutor,
        run_status: RunStatus,
        recorder: RunRecorder,
        window: MetricsWindow,
        marker: StageMarker,
    ) -> None:
        self._agreement = agreement
        self._executor = executor
        self._run_status = run_status
        self._recorder = recorder
        self._window = window
        self._marker = marker

    def run_replayed(self) -> None:
        """Execute what a replay is to do at the position of this start, which its checkpoint may be older than."""
        with self._window.excluded():
            self._executor.execute_replayed()

    def finish(self) -> None:
        """Wait for what commands have begun, at the end of the run."""
        self._executor.wait_for_files()

    def run_agreed(self) -> None:
        """Execute the commands agreed for this boundary; return once the run is not paused, or ends."""
        if self._agreement.is_pending:
            self._marker.enter(Stage.ALL_REDUCE)  # the control word is a sum over the ranks as well
        self._executor.execute(self._agreement.receive())
        self._executor.execute_replayed()
        if self._is_waiting:
            with self._window.excluded(Activity.PAUSED):
                self._wait_while_paused()

    def _wait_while_paused(self) -> None:
        while self._is_waiting:
            self._marker.enter(Stage.PAUSED)
            self._executor.execute(self._agreement.wait(self._run_status.progress.step))
            self._recorder.mark_progress()

    @property
    def _is_waiting(self) -> bool:
        return self._run_status.is_paused and self._run_status.ending is None
