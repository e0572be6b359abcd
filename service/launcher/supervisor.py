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
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from service.launcher.key_commands import LEGEND, KeyCommands
from service.launcher.keyboard import Keyboard
from service.launcher.processes import ChildProcess, OrphanProcesses, adopting_orphans
from service.launcher.programs import Program
from service.launcher.signals import TERMINATION, SignalQueue
from service.run.state import RunState

TERMINATED = 128 + signal.SIGTERM
"""The trainer's exit code after a termination signal: it has saved a checkpoint and can be resumed."""
BAD_INPUT = 2


@dataclass(frozen=True)
class Timing:
    """Timeouts and intervals of the launcher, in seconds."""

    trainer_grace_seconds: float = 60.0
    api_grace_seconds: float = 10.0
    first_pause_seconds: float = 1.0
    max_pause_seconds: float = 30.0
    healthy_seconds: float = 60.0
    tick_seconds: float = 0.25
    duplicate_signal_seconds: float = 0.3


@dataclass(frozen=True)
class LaunchPlan:
    """The programs to run.

    With `serve_on`, the API continues after a successful training until the user ends it. `store` is the path of the
    run's store, or the URL of a server with many runs, of which `run_id` returns the one to use.
    """

    trainer: Program
    api: Program
    preparation: Program | None
    store: Path | str
    log: Path
    url: str
    actor: str
    serve_on: bool
    run_id: Callable[[], str | None] | None = None


class ApiRestarter:
    """Starts the API, and restarts it with growing pauses when it has died."""

    def __init__(self, start: Callable[[], ChildProcess], print_line: Callable[[str], None], timing: Timing) -> None:
        self.child: ChildProcess | None = None
        self._start = start
        self._print = print_line
        self._timing = timing
        self._pause_seconds = timing.first_pause_seconds
        self._started_at = 0.0
        self._next_start = 0.0

    def check(self) -> None:
        """Detect the end of the API and schedule a restart, or start it if a start is due."""
        now = time.monotonic()
        if self.child is None and now >= self._next_start:
            self._try_to_start(now)
        elif self.child is not None and (code := self.child.exit_code()) is not None:
            self.child = None
            self._schedule_restart(now, f"exit code {code}")

    def _try_to_start(self, now: float) -> None:
        self._started_at = now
        try:
            self.child = self._start()
        except OSError as error:  # no memory, or too many processes
            self._schedule_restart(now, str(error.strerror))

    def _schedule_restart(self, now: float, reason: str) -> None:
        if now - self._started_at > self._timing.healthy_seconds:
            self._pause_seconds = self._timing.first_pause_seconds
        self._print(f"The API ended ({reason}); the training goes on. Starting it again in {self._pause_seconds:g} s.")
        self._next_start = now + self._pause_seconds
        self._pause_seconds = min(2 * self._pause_seconds, self._timing.max_pause_seconds)


class Supervisor:
    """The process of `leitstand up`, which starts and ends all others. Run it on the main thread."""

    def __init__(
        self, plan: LaunchPlan, echo: Callable[[str], None], *, keyboard: int = 0, timing: Timing | None = None
    ) -> None:
        """Use `echo` to print lines, and the file descriptor `keyboard` to read keys, if it is a terminal."""
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
        return code if code in {0, BAD_INPUT} else 1

    def _operate(self) -> int:
        """Train and serve; returns the exit code."""
        with self._keyboard:
            self._print(f"Dashboard: {self._plan.url}")
            if self._keyboard.is_listening:
                self._print(LEGEND)
            self._api.check()
            self._trainer_started_at = time.time()
            trainer = self._start(self._plan.trainer)
            self._loop_until(lambda: trainer.exit_code() is not None)
            code = self._report_exit(trainer) if self._requested_code is None else self._end_trainer(trainer)
            if code == 0 and self._requested_code is None and self._plan.serve_on:
                self._print(f"Still serving {self._plan.url}; q or Ctrl-C ends it.")
                self._loop_until(lambda: False)
            return code

    def _loop_until(self, is_over: Callable[[], bool]) -> None:
        """Handle keys, signals, commands and the API until `is_over` returns True or the user requests the end."""
        while self._requested_code is None and not is_over():
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
            self._print("The trainer was asked to leave by a signal from elsewhere; `leitstand up` continues it.")
        elif code != BAD_INPUT:  # rank 0 has already printed the reason
            self._print(f"The training failed (exit code {code}): the reason is above and in {self._plan.log}.")
        return code if code in {0, BAD_INPUT, TERMINATED} else 1

    def _end_trainer(self, trainer: ChildProcess) -> int:
        """End the trainer because the user requested it; returns the exit code."""
        assert self._requested_code is not None
        if trainer.exit_code() is None:
            self._print("Leaving: the trainer finishes its step and saves; Ctrl-C again ends it at once.")
        ended_in_time = self._end(trainer, self._timing.trainer_grace_seconds)
        code = trainer.exit_code()
        if not ended_in_time:
            self._print("The trainer was ended before it had saved; `leitstand up` continues from its last checkpoint.")
        elif code == 0:
            self._print_end()
        elif code not in {TERMINATED, -signal.SIGTERM} or self._has_failed():
            self._print(f"The trainer failed while leaving: the reason is above and in {self._plan.log}.")
            return 1
        else:
            self._print("The trainer has left; `leitstand up` continues it.")
        return self._requested_code

    def _print_end(self) -> None:
        run = self._key_commands.run_since(self._trainer_started_at)
        ending = "" if run is None else f" ({run.state} at step {run.step})"
        self._print(f"The training has ended{ending}.")

    def _has_failed(self) -> bool:
        """Return True if the trainer wrote the state `failed`; torchrun's exit code after a signal does not show it."""
        run = self._key_commands.run_since(self._trainer_started_at)
        return run is not None and run.state is RunState.FAILED

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
