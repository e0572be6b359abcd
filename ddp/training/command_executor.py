"""Executes the agreed commands at a step boundary, the same on all ranks, and reports each outcome.

A rollback comes alone; the order within one boundary is otherwise set, resume, pause, validate, checkpoint, stop. The
arguments of a command travel from rank 0 only where they matter to all ranks (rollback, set); each rank reports its
outcome.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

from ddp.checkpoint.folder import Reason, checkpoint_name
from ddp.control.agreement import AgreedCommands, RankAgreement
from ddp.distributed.world import World
from ddp.metrics.window import MetricsWindow
from ddp.recording.null_recorder import RunRecorder
from ddp.training import record_values
from ddp.training.boundary import StepBoundary
from ddp.training.checkpoints import Checkpoints
from ddp.training.rollback import Rollback
from ddp.training.run_status import RunStatus
from ddp.training.settings_change import SettingsChange
from ddp.watchdog.stages import Stage, StageMarker
from service.commands import Command, CommandBits, CommandState, Kind
from service.errors import UserError
from service.run.record import record_name


class CommandExchange:
    """Moves what a command says from rank 0 to all ranks, and the outcome of every rank into rank 0's store."""

    def __init__(self, world: World, run_status: RunStatus, recorder: RunRecorder) -> None:
        self._world = world
        self._run_status = run_status
        self._recorder = recorder
        self._began_at = 0.0

    def begin(self) -> None:
        """Note the time at which this rank begins with the commands of a boundary."""
        self._began_at = time.time()

    def arguments_of(self, commands: tuple[Command, ...]) -> list[Mapping[str, Any]]:
        """Return the arguments of rank 0's commands, on every rank. One collective."""
        return self._world.from_main([command.arguments for command in commands])

    def answer(
        self, commands: tuple[Command, ...], problem: str | None, result: Mapping[str, Any] | None = None
    ) -> None:
        """Finish commands with the outcome of every rank, of this one `problem`. One collective."""
        outcomes = self._outcomes(problem)
        state = CommandState.DONE if problem is None else CommandState.FAILED
        for command in commands:
            self._finish(command, state, result={**(result or {}), "ranks": outcomes}, reason=problem)

    def answer_when_written(self, commands: tuple[Command, ...]) -> Callable[[int, str | None], None]:
        """Return what finishes commands once the state of this step, or a newer one, is durable. One collective.

        It is to be called on rank 0's writer thread with the step that was written and the problem or None.
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
            self._finish(command, CommandState.REJECTED, reason=reason)

    def reject_missed(self, commands: tuple[Command, ...]) -> None:
        """Reject commands whose own step is over."""
        step = self._run_status.progress.step
        for command in commands:
            reason = f"step {command.apply_at_step} was over, at step {step}, when the command could be carried out"
            self._finish(command, CommandState.REJECTED, reason=reason)

    def _outcomes(self, problem: str | None) -> list[dict[str, Any]]:
        return record_values.outcomes_of(self._world.gather((problem, self._began_at)))

    def _finish(self, command: Command, state: CommandState, **details: Any) -> None:
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
        run_status: RunStatus,
        marker: StageMarker,
    ) -> None:
        self._exchange = exchange
        self._boundary = boundary
        self._checkpoints = checkpoints
        self._settings = settings
        self._rollback = rollback
        self._run_status = run_status
        self._marker = marker

    def execute(self, agreed: AgreedCommands) -> None:
        """Execute what the ranks agreed on, in the order of kinds, and report the outcomes."""
        wanted = agreed.operations
        self._exchange.begin()
        self._exchange.reject_missed(agreed.missed)
        if not wanted:
            return
        self._marker.enter(Stage.COMMAND)
        if CommandBits.ROLLBACK in wanted:
            self._each(agreed.of(Kind.ROLLBACK), self._roll_back)
        if CommandBits.SET in wanted:
            self._each(agreed.of(Kind.SET), self._change)
        if wanted & (CommandBits.PAUSE | CommandBits.RESUME):
            self._boundary.pause(CommandBits.PAUSE in wanted)
            self._exchange.answer(agreed.of(Kind.PAUSE) + agreed.of(Kind.RESUME), None)
        if CommandBits.VALIDATE in wanted:
            self._validate(agreed.of(Kind.VALIDATE))
        if CommandBits.CHECKPOINT in wanted:
            self._checkpoints.save(Reason.COMMAND, self._exchange.answer_when_written(agreed.of(Kind.CHECKPOINT)))
        if wanted & (CommandBits.STOP | CommandBits.LEAVE) and self._run_status.ending is None:
            self._leave(agreed)

    def _each(self, commands: tuple[Command, ...], act: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> None:
        """Execute commands one after the other on every rank; one that is not possible is rejected on all alike."""
        for place, arguments in enumerate(self._exchange.arguments_of(commands)):
            own = commands[place : place + 1]
            try:
                result = act(arguments)
            except UserError as error:
                self._exchange.reject(own, str(error))
            else:
                self._exchange.answer(own, None, result)

    def _roll_back(self, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        found = self._checkpoints.named(arguments["checkpoint"])
        from_step = self._run_status.progress.step
        self._rollback.run(found, "a person asked for it")
        branch = self._run_status.progress.branch
        return {"checkpoint": found.saved.folder.name, "from_step": from_step, "branch_id": branch}

    def _change(self, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        self._settings.change(arguments)
        return dict(arguments)

    def _validate(self, commands: tuple[Command, ...]) -> None:
        progress = self._run_status.progress
        if progress.validated_step == progress.step:
            self._exchange.answer(commands, None, {"shared": True, "record": record_name(progress.step)})
        elif not self._boundary.validate_then_save("manual", commands):
            self._exchange.reject(commands, "the run was asked to leave by a signal before the validation was through")

    def _leave(self, agreed: AgreedCommands) -> None:
        problem = self._boundary.leave(is_asked_by_signal=CommandBits.LEAVE in agreed.operations)
        result = {"checkpoint": checkpoint_name(self._run_status.progress.step)}
        self._exchange.answer(agreed.of(Kind.STOP), problem, result)


class CommandLoop:
    """Has the agreed commands of every boundary executed, and waits at the boundary while the run is paused."""

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

    def run_agreed(self) -> None:
        """Execute what was agreed for this boundary; returns once the run is not paused, or ends."""
        self._executor.execute(self._agreement.receive())
        if self._waits:
            with self._window.excluded():
                self._wait_while_paused()

    def _wait_while_paused(self) -> None:
        while self._waits:
            self._marker.enter(Stage.PAUSED)
            self._executor.execute(self._agreement.wait(self._run_status.progress.step))
            self._recorder.mark_progress()

    @property
    def _waits(self) -> bool:
        return self._run_status.is_paused and self._run_status.ending is None
