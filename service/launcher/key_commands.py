"""Commands from the keyboard of the launcher: straight into the store, so that they work while the API is down."""

import time
from collections.abc import Callable
from pathlib import Path

from service.commands import Command, CommandState, Kind, outcome_sentence
from service.errors import RunDirectoryError
from service.run.state import RunState
from service.store.store import RunRow, Store, StoreUnavailableError

LEGEND = "Keys: v validate · p pause or resume · c checkpoint · q leave (Ctrl-C too)"
BUSY_SECONDS = 1.0
"""How long a key may wait for a locked store; the loop stands still meanwhile."""

_KINDS = {"v": Kind.VALIDATE, "c": Kind.CHECKPOINT}


class KeyCommands:
    """Submits what a key means, and says in one line how it ended."""

    def __init__(
        self, store: Path | str, say: Callable[[str], None], actor: str, run_id: Callable[[], str | None] | None = None
    ) -> None:
        """`run_id` tells which run of a store of many is meant; without it there is one."""
        self._store = Store(store, busy_seconds=BUSY_SECONDS)
        self._run_id = run_id
        self._say = say
        self._actor = actor
        self._awaited: list[Command] = []

    def press(self, key: str) -> None:
        """Submit the command of a key; says so, or why it cannot be."""
        if key != "p" and key not in _KINDS:
            self._say(LEGEND)
            return
        try:
            run = self._run()
            if run is None or not run.reported_state(time.time()).has_trainer:
                self._say("No training is under way yet that could take a command.")
                return
            kind = _KINDS.get(key) or self._pause_or_resume(run)
            command = self._store.commands.submit(run.id, kind, {}, actor=self._actor, source="keyboard")
        except StoreUnavailableError as error:
            self._say(f"The command was not accepted: {error}.")
            return
        self._awaited.append(command)
        self._say(f"{kind} asked for")

    def report(self) -> None:
        """Say how awaited commands ended; a store that is busy is asked again next time."""
        try:
            for command in list(self._awaited):
                now = self._store.commands.get(command.id)
                if now is None:
                    self._awaited.remove(command)  # a fresh start put it into the archive
                elif now.state.is_final:
                    self._awaited.remove(command)
                    self._say(outcome_sentence(now.kind, now.state, now.step, now.result, now.reason))
        except StoreUnavailableError:
            return

    @property
    def is_waiting(self) -> bool:
        """Whether a command of ours has not ended."""
        return bool(self._awaited)

    def run_since(self, unix_seconds: float) -> RunRow | None:
        """The run that a trainer opened since then; None when there is none, or the store cannot be read."""
        try:
            run = self._run()
        except StoreUnavailableError:
            return None
        return run if run is not None and run.started_at >= unix_seconds else None

    def _run(self) -> RunRow | None:
        """The run that this launcher keeps, never another one of the store."""
        if self._run_id is None:
            return self._store.runs.latest()
        try:
            run_id = self._run_id()
        except (OSError, RunDirectoryError):  # its trainer says so
            return None
        return None if run_id is None else self._store.runs.get(run_id)

    def _pause_or_resume(self, run: RunRow) -> Kind:
        """The opposite of what is in force, or of what was asked for last, for now, and is not carried out yet."""
        for command in reversed(self._store.commands.find(run.id, CommandState.QUEUED)):
            if command.kind in {Kind.PAUSE, Kind.RESUME} and command.apply_at_step is None:
                return Kind.RESUME if command.kind is Kind.PAUSE else Kind.PAUSE
        return Kind.RESUME if run.state is RunState.PAUSED else Kind.PAUSE
