"""What people asked for, carried out at a step boundary and answered: the same on all ranks.

A rollback comes alone; the order within one boundary is otherwise set, resume, pause, validate, checkpoint, stop. The
words of a command travel from rank 0 only where they matter to all ranks (rollback, set); each rank reports its
outcome.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

from ddp.checkpoint.folder import Reason, checkpoint_name
from ddp.control.agreement import AgreedCommands
from ddp.training import record_values
from ddp.training.boundary import StepBoundary
from ddp.training.components import TrainerComponents
from ddp.watchdog.stages import Stage
from service.commands import Command, CommandBits, CommandState, Kind
from service.errors import UserError


class CommandExecutor:
    """Carries out turns, on one rank."""

    def __init__(self, parts: TrainerComponents, boundary: StepBoundary) -> None:
        self._parts = parts
        self._boundary = boundary
        self._run_status = parts.run_status
        self._began_at = 0.0

    def run_agreed(self) -> None:
        """Carry out what was agreed for this boundary; while paused, wait here for what comes next."""
        self._carry_out(self._parts.control.receive())
        while self._run_status.is_paused and self._run_status.ending is None:
            self._parts.marker.enter(Stage.PAUSED)
            self._carry_out(self._parts.control.wait(self._run_status.progress.step))
            self._parts.recorder.mark_progress()
            self._parts.window.clock.restart()

    def _carry_out(self, agreed: AgreedCommands) -> None:
        wanted = agreed.operations
        self._began_at = time.time()
        for command in agreed.missed:
            self._refuse_missed(command)
        if not wanted:
            return
        self._parts.marker.enter(Stage.COMMAND)
        if CommandBits.ROLLBACK in wanted:
            self._each(agreed.of(Kind.ROLLBACK), self._roll_back)
        if CommandBits.SET in wanted:
            self._each(agreed.of(Kind.SET), self._change)
        if wanted & (CommandBits.PAUSE | CommandBits.RESUME):
            self._boundary.pause(CommandBits.PAUSE in wanted)
            self._answer(agreed.of(Kind.PAUSE) + agreed.of(Kind.RESUME), None)
        if CommandBits.VALIDATE in wanted:
            self._validate(agreed.of(Kind.VALIDATE))
        if CommandBits.CHECKPOINT in wanted:
            self._save(agreed.of(Kind.CHECKPOINT))
        if wanted & (CommandBits.STOP | CommandBits.LEAVE) and self._run_status.ending is None:
            self._leave(agreed)

    def _refuse_missed(self, command: Command) -> None:
        """Rank 0 only, and nothing but an answer."""
        step = self._run_status.progress.step
        reason = f"step {command.apply_at_step} was over, at step {step}, when the command could be carried out"
        self._parts.recorder.finish(command, CommandState.REJECTED, step=step, reason=reason)

    # Rollback and set: their words go to every rank

    def _each(self, commands: tuple[Command, ...], act: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> None:
        """Carry out commands one after the other on every rank; one that cannot be is rejected on all alike."""
        for place, arguments in enumerate(self._parts.world.from_main([command.arguments for command in commands])):
            own = commands[place : place + 1]
            try:
                result = act(arguments)
            except UserError as error:
                self._reject(own, str(error))
            else:
                self._answer(own, None, result)

    def _roll_back(self, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        self._parts.checkpointer.drain()
        found = self._parts.checkpointer.named(arguments["checkpoint"])
        from_step = self._run_status.progress.step
        self._boundary.roll_back(found, "a person asked for it")
        branch = self._run_status.progress.branch
        return {"checkpoint": found.saved.folder.name, "from_step": from_step, "branch_id": branch}

    def _change(self, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        run_status = self._run_status
        live = run_status.live.changed(
            arguments, step=run_status.progress.step, has_perceptual=self._parts.workload.has_perceptual
        )
        self._boundary.change(live, arguments)
        return dict(arguments)

    # The others

    def _validate(self, commands: tuple[Command, ...]) -> None:
        progress = self._run_status.progress
        if progress.validated_step == progress.step:
            self._answer(commands, None, self._boundary.shared_record())
            return
        if not self._boundary.validate("manual", commands):
            self._boundary.leave(is_asked_by_signal=True)
            self._reject(commands, "the run was asked to leave by a signal before the validation was through")
        else:
            self._boundary.save_if_best()

    def _save(self, commands: tuple[Command, ...]) -> None:
        """The answer comes from rank 0's writer thread, once the state is durable and verified."""
        step, outcomes = self._run_status.progress.step, self._outcomes(None)
        recorder = self._parts.recorder

        def answer(written_step: int, problem: str | None) -> None:
            state = CommandState.DONE if problem is None else CommandState.FAILED
            result = {"checkpoint": checkpoint_name(written_step), "ranks": outcomes}
            for command in commands:
                recorder.finish(command, state, step=step, result=result, reason=problem)

        self._boundary.save(Reason.COMMAND, answer)

    def _leave(self, agreed: AgreedCommands) -> None:
        problem = self._boundary.leave(is_asked_by_signal=CommandBits.LEAVE in agreed.operations)
        self._answer(agreed.of(Kind.STOP), problem, {"checkpoint": checkpoint_name(self._run_status.progress.step)})

    # Answers

    def _answer(
        self, commands: tuple[Command, ...], problem: str | None, result: Mapping[str, Any] | None = None
    ) -> None:
        """Finish commands with every rank's own outcome. All ranks call it alike: one collective."""
        outcomes = self._outcomes(problem)
        state = CommandState.DONE if problem is None else CommandState.FAILED
        step = self._run_status.progress.step
        for command in commands:
            self._parts.recorder.finish(
                command, state, step=step, result={**(result or {}), "ranks": outcomes}, reason=problem
            )

    def _outcomes(self, problem: str | None) -> list[dict[str, Any]]:
        return record_values.outcomes_of(self._parts.world.gather((problem, self._began_at)))

    def _reject(self, commands: tuple[Command, ...], reason: str) -> None:
        for command in commands:
            self._parts.recorder.finish(
                command, CommandState.REJECTED, step=self._run_status.progress.step, reason=reason
            )
