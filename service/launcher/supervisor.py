"""`leitstand up`: runs a trainer, an API and the keyboard on one machine, and ends all processes when it ends.

    preparation (once) → API, trainer ──┬─ key pressed      → a command in the store
                                        ├─ API died         → restarted, the training is not affected
                                        ├─ trainer ended    → reported; then the API keeps serving, or all ends
                                        └─ q, Ctrl-C, …     → SIGTERM to the trainer, then to the API; SIGKILL at last

One thread with one loop. It does not read the output of its children, and controls the training only to end it.
"""

import signal
import time
from collections.abc import Callable
from contextlib import closing, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

from service.alerts.failure_notice import FailureNotice
from service.errors import LAST_STATE_UNSAVED, UserError
from service.launcher.processes import ApiRestarter, ChildProcess, OrphanProcesses, Timing, adopting_orphans
from service.launcher.programs import Program
from service.launcher.signals import SignalQueue
from service.launcher.terminal.key_commands import LEGEND, KeyCommands
from service.launcher.terminal.keyboard import Keyboard
from service.launcher.terminal.status_line import StatusLine
from service.launcher.termination import KILLED, TERMINATION, how_it_ended
from service.run.state import RunState
from service.store.store import RunRow

TERMINATED = 128 + signal.SIGTERM
"""The trainer's exit code after a termination signal: it has saved a checkpoint and can be resumed."""
UNSAVED = (
    "The training has ended, but its last state is not on disk; the lines above say what to mend, then the same "
    "command continues it."
)


@dataclass(frozen=True)
class LaunchPlan:
    """The programs to run.

    With `serve_on`, the API continues after a successful training until the user ends it. With `has_status_line`, the
    last row of the terminal shows the state of the run. `store` is the path of the run's store, or the URL of a server
    with many runs, of which `run_id` returns the one to use. `receivers` are the ids of those that get alerts.
    """

    trainer: Program
    api: Program
    preparation: Program | None
    store: Path | str
    log: Path
    url: str
    actor: str
    serve_on: bool
    has_status_line: bool = False
    run_id: Callable[[], str | None] | None = None
    receivers: tuple[str, ...] = ()


class Supervisor:
    """The process of `leitstand up`, which starts and ends all others. Run it on the main thread."""

    def __init__(
        self,
        plan: LaunchPlan,
        echo: Callable[[str], None],
        *,
        keyboard: int = 0,
        screen: int = 1,
        timing: Timing | None = None,
    ) -> None:
        """Use `echo` to print lines, and the file descriptor `keyboard` to read keys, if it is a terminal.

        A status line appears on the terminal at the file descriptor `screen`.
        """
        # Configuration
        self._plan = plan
        self._echo = echo
        self._timing = timing or Timing()
        # Parts
        self._keyboard = Keyboard(keyboard)
        self._keyboard_descriptor = keyboard
        self._signal_queue = SignalQueue()
        self._key_commands = KeyCommands(plan.store, self._print, plan.actor, plan.run_id)
        self._api = ApiRestarter(self._start_api, self._print, self._timing)
        self._status_line = StatusLine(screen, self._run, self._key_commands.now) if plan.has_status_line else None
        self._orphans: OrphanProcesses | None = None
        self._children: list[ChildProcess] = []
        # State
        self._requested_code: int | None = None
        self._requested_at = 0.0
        self._trainer_started_at = 0.0
        self._was_forced = False

    def run(self) -> int:
        """Make the patch set, train and serve, end all processes; returns the exit code."""
        with adopting_orphans() as self._orphans, self._signal_queue:
            try:
                code = self._prepare() or self._operate()
            finally:
                self._end_all()
                self._key_commands.close()
        return code

    def _prepare(self) -> int:
        """Make the patch set if needed; returns the exit code, 0 for success."""
        if self._plan.preparation is None:
            return 0
        child = self._start(self._plan.preparation)
        while (code := child.exit_code()) is None:
            self._signal_queue.sleep(self._timing.tick_seconds)
            self._handle_signals()
            if self._requested_code is not None:
                self._end(child, self._timing.api_grace_seconds)
                return self._requested_code
        if code != 0:
            self._print("The patch set could not be prepared; the lines above say why.")
        return code if code in {0, UserError.exit_code} else 1

    def _operate(self) -> int:
        """Train and serve; returns the exit code."""
        with self._keyboard:
            self._print(f"Dashboard: {self._plan.url}")
            if self._keyboard.is_listening:
                self._print(LEGEND)
            self._trainer_started_at = time.time()
            with self._status_line or nullcontext():
                return self._train()

    def _train(self) -> int:
        self._api.check()
        trainer = self._start(self._plan.trainer)
        self._loop_until(lambda: trainer.exit_code() is not None)
        code = self._report_exit(trainer) if self._requested_code is None else self._end_trainer(trainer)
        if self._requested_code is None and code not in {0, TERMINATED}:
            self._deliver_failure(trainer)
        if code == 0 and self._requested_code is None and self._plan.serve_on:
            self._print(f"Still serving {self._plan.url}; q or Ctrl-C ends it.")
            self._loop_until(lambda: False)
        return code

    def _loop_until(self, is_over: Callable[[], bool]) -> None:
        """Handle keys, signals, commands and the API until `is_over` returns True or the user requests the end."""
        while self._requested_code is None and not is_over():
            self._keyboard.start_listening()  # no signal says that a shell's `fg` has taken a running job to the front
            descriptor = self._keyboard_descriptor if self._keyboard.is_listening else None
            if self._signal_queue.sleep(self._timing.tick_seconds, descriptor):
                self._on_keys(self._keyboard.read())
            self._handle_signals()
            self._key_commands.report()
            self._api.check()

    def _on_keys(self, keys: str) -> None:
        for key in keys:
            if key == "q":
                self._request_exit(0)
            else:
                self._key_commands.press(key)

    def _handle_signals(self) -> None:
        """Handle the received signals; a second Ctrl-C kills all processes."""
        for number in self._signal_queue.drain():
            if number == signal.SIGTSTP:
                with nullcontext() if self._status_line is None else self._status_line.suspended():
                    self._keyboard.pause_process()
            elif number == signal.SIGCONT:
                self._keyboard.start_listening()
            elif number in TERMINATION:
                # One Ctrl-C is often delivered twice, by the terminal and by a launcher of this process.
                is_second = time.monotonic() - self._requested_at > self._timing.duplicate_signal_seconds
                self._was_forced |= self._requested_code is not None and number == signal.SIGINT and is_second
                self._request_exit(128 + number)

    def _request_exit(self, code: int) -> None:
        if self._requested_code is None:
            self._requested_code, self._requested_at = code, time.monotonic()

    def _report_exit(self, trainer: ChildProcess) -> int:
        """Print how the trainer ended by itself; returns the exit code."""
        code = trainer.exit_code()
        self._key_commands.report()
        if code == 0:
            self._print_end()
        elif code == TERMINATED:
            self._print("The trainer was asked to leave by a signal from elsewhere; the same command continues it.")
        elif code == LAST_STATE_UNSAVED:
            self._print(UNSAVED)
        elif code != UserError.exit_code:  # rank 0 has already printed the reason
            self._print(self._failure_sentence(int(code or 1)))
        return code if code in {0, UserError.exit_code, LAST_STATE_UNSAVED, TERMINATED} else 1

    def _deliver_failure(self, trainer: ChildProcess) -> None:
        """Let the API, which ends next, tell the receivers of alerts that the training has failed; waits for that."""
        run, receivers = self._run(), self._plan.receivers
        if run is None or not receivers:
            return
        self._end(trainer, self._timing.trainer_grace_seconds)  # its ranks, which may write how the run has ended
        deadline = time.monotonic() + self._timing.delivery_seconds
        with closing(FailureNotice(self._plan.store, run, receivers)) as notice:
            if notice.mark_failed(f"the trainer {how_it_ended(trainer.exit_code() or 1)}"):
                self._loop_until(lambda: notice.is_delivered() or time.monotonic() > deadline)

    def _failure_sentence(self, code: int) -> str:
        """Return what to say of a trainer that failed; where a signal killed a rank, no log says why."""
        how = f"its launcher {how_it_ended(code)}" if code < 0 else f"exit code {code}"
        log = f" and in {self._plan.log}" if 0 < code <= 128 else ""
        return f"The training failed ({how}): the reason is above{log}; the same command continues it."

    def _end_trainer(self, trainer: ChildProcess) -> int:
        """End the trainer because it was requested; returns the exit code, `KILLED` if it had not saved its state."""
        assert self._requested_code is not None
        if trainer.exit_code() is None:
            self._print("Leaving: the trainer finishes its step and saves; Ctrl-C again ends it at once.")
        ended_in_time = self._end(trainer, self._timing.trainer_grace_seconds)
        code = trainer.exit_code()
        if not ended_in_time or code == KILLED:
            self._print("The trainer was ended before it had saved; `leitstand up` continues from its last checkpoint.")
            return KILLED
        if code == 0:
            self._print_end()
        elif code == LAST_STATE_UNSAVED:
            self._print(UNSAVED)
            return code
        elif code not in {TERMINATED, -signal.SIGTERM} or self._has_failed():
            self._print(f"The trainer failed while leaving: the reason is above and in {self._plan.log}.")
            return 1
        else:
            self._print("The trainer has left; the same command continues it.")
        return self._requested_code

    def _print_end(self) -> None:
        run = self._run()
        ending = "" if run is None else f" ({run.state} at step {run.step})"
        self._print(f"The training has ended{ending}.")

    def _has_failed(self) -> bool:
        """Return True if the trainer wrote the state `failed`; torchrun's exit code after a signal does not show it."""
        run = self._run()
        return run is not None and run.state is RunState.FAILED

    def _run(self) -> RunRow | None:
        """Return the run of this start; None if it has not begun, or if the store cannot be read."""
        return self._key_commands.run_since(self._trainer_started_at)

    def _start_api(self) -> ChildProcess:
        if self._orphans is not None:
            self._orphans.remaining()  # reaps the workers of an API that was killed before
        return self._start(self._plan.api)

    def _start(self, program: Program) -> ChildProcess:
        child = ChildProcess(program)
        self._children.append(child)
        if self._orphans is not None:
            self._orphans.exclude(child)
        return child

    def _end(self, child: ChildProcess, grace_seconds: float) -> bool:
        """Send SIGTERM to a child, and SIGKILL to it and its orphans after `grace_seconds`.

        Returns True if all ended before that.
        """
        assert self._orphans is not None
        deadline = time.monotonic() + grace_seconds
        child.signal_group(signal.SIGTERM)
        while child.exit_code() is None or self._orphans.remaining():
            if self._was_forced or time.monotonic() > deadline:
                child.kill()
                self._orphans.kill()
                return False
            self._signal_queue.sleep(min(self._timing.tick_seconds, 0.05))
            self._handle_signals()
        return True

    def _end_all(self) -> None:
        """End the trainer, which has usually ended already, and then the API."""
        api = [] if self._api.child is None else [self._api.child]
        for child in [child for child in self._children if child not in api]:
            self._end(child, self._timing.trainer_grace_seconds)
        for child in api:
            self._end(child, self._timing.api_grace_seconds)

    def _print(self, text: str) -> None:
        with suppress(OSError):  # a closed terminal must not end the training
            self._echo(f"» {text}")
