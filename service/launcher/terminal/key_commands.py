"""Commands from the launcher's keyboard; they are written directly to the store, so they work while the API is down."""

from collections.abc import Callable
from pathlib import Path

from service.commands import KEYS, Command, CommandState, Kind, outcome_sentence, pause_or_resume
from service.errors import RunDirectoryError
from service.run.state import RunState
from service.store.store import RunRow, Store, StoreUnavailableError

LEGEND = "Keys: v validate · p pause or resume · c checkpoint · q leave (Ctrl-C too)"
BUSY_SECONDS = 1.0
"""How long a key waits for a locked store; the launcher's loop is blocked meanwhile."""


class KeyCommands:
    """Submits the command of a key and prints its outcome in one line."""

    def __init__(
        self,
        store: Path | str,
        print_line: Callable[[str], None],
        actor: str,
        run_id: Callable[[], str | None] | None = None,
        busy_seconds: float = BUSY_SECONDS,
    ) -> None:
        """Use the store at a path or URL; `run_id` returns the run in a store of many runs, None means the only run."""
        self._store = Store(store, busy_seconds=busy_seconds)
        self._run_id = run_id
        self._print = print_line
        self._actor = actor
        self._pending: list[Command] = []

    def press(self, key: str) -> None:
        """Submit the command of a key and print a confirmation, or the reason if that is impossible."""
        if key != "p" and key not in KEYS:
            self._print(LEGEND)
            return
        try:
            run = self._run()
            if run is None or not run.reported_state(self._store.runs.now(run)).has_trainer:
                self._print("No training is under way yet that could take a command.")
                return
            kind = KEYS.get(key) or self._pause_or_resume(run)
            command = self._store.commands.submit(run.id, kind, {}, actor=self._actor, source="keyboard")
        except StoreUnavailableError as error:
            self._print(f"The command was not accepted: {error}.")
            return
        self._pending.append(command)
        self._print(f"{kind} asked for")

    def report(self) -> None:
        """Print the outcomes of commands that have ended; if the store is busy, the next call tries again."""
        try:
            for command in list(self._pending):
                current = self._store.commands.get(command.id)
                if current is None:
                    self._pending.remove(command)  # a fresh start has archived it
                elif current.state.is_final:
                    self._pending.remove(command)
                    outcome = outcome_sentence(
                        current.kind, current.state, current.step, current.result, current.reason, current.why
                    )
                    self._print(outcome)
        except StoreUnavailableError:
            return

    @property
    def is_waiting(self) -> bool:
        """True if a submitted command has not ended yet."""
        return bool(self._pending)

    def run_since(self, unix_seconds: float) -> RunRow | None:
        """Return the run if it was started since this time; None if it was not, or if the store cannot be read."""
        try:
            run = self._run()
        except StoreUnavailableError:
            return None
        return run if run is not None and run.started_at >= unix_seconds else None

    def now(self, run: RunRow) -> float:
        """Return the present time on the clock of the run's trainer (Unix seconds)."""
        return self._store.runs.now(run)

    def close(self) -> None:
        """Close all connections to the store; the next key opens a new one."""
        self._store.close()

    def _run(self) -> RunRow | None:
        """Return the run of this launcher, never another run in the store."""
        if self._run_id is None:
            return self._store.runs.latest()
        try:
            run_id = self._run_id()
        except (OSError, RunDirectoryError):  # reported by the trainer
            return None
        return None if run_id is None else self._store.runs.get(run_id)

    def _pause_or_resume(self, run: RunRow) -> Kind:
        queued = reversed(self._store.commands.find(run.id, CommandState.QUEUED))
        return pause_or_resume(
            [(command.kind, command.apply_at_step) for command in queued], run.state is RunState.PAUSED
        )
