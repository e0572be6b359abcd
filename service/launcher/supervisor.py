"""`leitstand up`: keeps a trainer, an API and a keyboard together on one machine, and leaves nothing behind.

    preparation (once) → API, trainer ──┬─ a key            → a command in the store
                                        ├─ the API died     → started again, the training untouched
                                        ├─ the trainer ended→ said; serve on, or leave
                                        └─ q, Ctrl-C, …     → SIGTERM to the trainer, then to the API; SIGKILL at last

One thread, one loop. It never reads what its children print, and never touches the training but to end it.
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
from service.launcher.signals import LEAVE, SignalQueue
from service.run.state import RunState

ASKED_TO_LEAVE = 128 + signal.SIGTERM
"""The trainer's exit code when a signal asked it to leave: saved, and to be continued."""
BAD_INPUT = 2


@dataclass(frozen=True)
class Timing:
    """How long things may take, in seconds."""

    trainer_grace_seconds: float = 60.0
    api_grace_seconds: float = 10.0
    first_pause_seconds: float = 1.0
    longest_pause_seconds: float = 30.0
    healthy_seconds: float = 60.0
    tick_seconds: float = 0.25
    same_wish_seconds: float = 0.3


@dataclass(frozen=True)
class Plan:
    """What to keep together. `serve_on`: after a training that ended well, serve until somebody leaves.

    `store` is where the training reports: its own file, or a server of many runs, of which `run_id` tells the one.
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


class ApiKeeper:
    """Starts the API, and starts it again when it died, at growing intervals."""

    def __init__(self, start: Callable[[], ChildProcess], say: Callable[[str], None], timing: Timing) -> None:
        self.child: ChildProcess | None = None
        self._start = start
        self._say = say
        self._timing = timing
        self._pause_seconds = timing.first_pause_seconds
        self._started_at = 0.0
        self._next_start = 0.0

    def keep(self) -> None:
        """One look: notice an end, or start when it is time to."""
        now = time.monotonic()
        if self.child is None and now >= self._next_start:
            self._try_to_start(now)
        elif self.child is not None and (code := self.child.exit_code()) is not None:
            self.child = None
            self._plan_restart(now, f"exit code {code}")

    def _try_to_start(self, now: float) -> None:
        self._started_at = now
        try:
            self.child = self._start()
        except OSError as error:  # no memory, no process to be had
            self._plan_restart(now, str(error.strerror))

    def _plan_restart(self, now: float, why: str) -> None:
        if now - self._started_at > self._timing.healthy_seconds:
            self._pause_seconds = self._timing.first_pause_seconds
        self._say(f"The API ended ({why}); the training goes on. Starting it again in {self._pause_seconds:g} s.")
        self._next_start = now + self._pause_seconds
        self._pause_seconds = min(2 * self._pause_seconds, self._timing.longest_pause_seconds)


class Supervisor:
    """One `leitstand up`, from its first process to its last. Run it on the main thread."""

    def __init__(
        self, plan: Plan, echo: Callable[[str], None], *, keyboard: int = 0, timing: Timing | None = None
    ) -> None:
        """`echo` prints a line; `keyboard` is the descriptor that keys are read from, when it is a terminal."""
        # Configuration
        self._plan = plan
        self._echo = echo
        self._timing = timing or Timing()
        # Parts
        self._keyboard = Keyboard(keyboard)
        self._keyboard_descriptor = keyboard
        self._signal_queue = SignalQueue()
        self._key_commands = KeyCommands(plan.store, self._say, plan.actor, plan.run_id)
        self._api = ApiKeeper(self._start_api, self._say, self._timing)
        self._orphans: OrphanProcesses | None = None
        self._children: list[ChildProcess] = []
        # State
        self._wish_code: int | None = None
        self._wished_at = 0.0
        self._trainer_started_at = 0.0
        self._was_forced = False

    def run(self) -> int:
        """Prepare, operate, end everything; returns the exit code."""
        with adopting_orphans() as self._orphans, self._signal_queue:
            try:
                code = self._prepare() or self._operate()
            finally:
                self._end_everything()
        return code

    def _prepare(self) -> int:
        """Make the patch set; 0 when that is done or not needed."""
        if self._plan.preparation is None:
            return 0
        child = self._started(self._plan.preparation)
        while (code := child.exit_code()) is None:
            self._signal_queue.sleep(self._timing.tick_seconds)
            self._note_wishes()
            if self._wish_code is not None:
                self._end(child, self._timing.api_grace_seconds)
                return self._wish_code
        if code != 0:
            self._say("The patch set could not be prepared; the lines above say why.")
        return code if code in {0, BAD_INPUT} else 1

    def _operate(self) -> int:
        """Train and serve; returns the exit code once nothing more is to be done."""
        with self._keyboard:
            self._say(f"Dashboard: {self._plan.url}")
            if self._keyboard.is_listening:
                self._say(LEGEND)
            self._api.keep()
            self._trainer_started_at = time.time()
            trainer = self._started(self._plan.trainer)
            self._watch(lambda: trainer.exit_code() is not None)
            code = self._ended_by_itself(trainer) if self._wish_code is None else self._asked_to_leave(trainer)
            if code == 0 and self._wish_code is None and self._plan.serve_on:
                self._say(f"Still serving {self._plan.url}; q or Ctrl-C ends it.")
                self._watch(lambda: False)
            return code

    def _watch(self, is_over: Callable[[], bool]) -> None:
        """Look after keys, commands and the API until it is over or somebody wishes to leave."""
        while self._wish_code is None and not is_over():
            listening = self._keyboard_descriptor if self._keyboard.is_listening else None
            if self._signal_queue.sleep(self._timing.tick_seconds, listening):
                self._on_keys(self._keyboard.read())
            self._note_wishes()
            self._key_commands.report()
            self._api.keep()

    def _on_keys(self, keys: str) -> None:
        for key in keys:
            if key == "q":
                self._wish(0)
            else:
                self._key_commands.press(key)

    def _note_wishes(self) -> None:
        """Act on the signals that came; a second Ctrl-C ends everything at once."""
        for number in self._signal_queue.take():
            if number == signal.SIGTSTP:
                self._keyboard.pause_process()
            elif number == signal.SIGCONT:
                self._keyboard.take()
            elif number in LEAVE:
                # Launchers often deliver one Ctrl-C twice.
                is_second = time.monotonic() - self._wished_at > self._timing.same_wish_seconds
                self._was_forced |= self._wish_code is not None and number == signal.SIGINT and is_second
                self._wish(128 + number)

    def _wish(self, code: int) -> None:
        if self._wish_code is None:
            self._wish_code, self._wished_at = code, time.monotonic()

    def _ended_by_itself(self, trainer: ChildProcess) -> int:
        """Say how the training ended; returns the exit code."""
        code = trainer.exit_code()
        self._key_commands.report()
        if code == 0:
            self._say_ended()
        elif code == ASKED_TO_LEAVE:
            self._say("The trainer was asked to leave by a signal from elsewhere; `leitstand up` continues it.")
        elif code != BAD_INPUT:  # whose sentence rank 0 has printed
            self._say(f"The training failed (exit code {code}): the reason is above and in {self._plan.log}.")
        return code if code in {0, BAD_INPUT, ASKED_TO_LEAVE} else 1

    def _asked_to_leave(self, trainer: ChildProcess) -> int:
        """End the trainer as somebody wished; returns the exit code."""
        assert self._wish_code is not None
        if trainer.exit_code() is None:
            self._say("Leaving: the trainer finishes its step and saves; Ctrl-C again ends it at once.")
        ended_in_time = self._end(trainer, self._timing.trainer_grace_seconds)
        code = trainer.exit_code()
        if not ended_in_time:
            self._say("The trainer was ended before it had saved; `leitstand up` continues from its last checkpoint.")
        elif code == 0:
            self._say_ended()
        elif code not in {ASKED_TO_LEAVE, -signal.SIGTERM} or self._has_failed():
            self._say(f"The trainer failed while leaving: the reason is above and in {self._plan.log}.")
            return 1
        else:
            self._say("The trainer has left; `leitstand up` continues it.")
        return self._wish_code

    def _say_ended(self) -> None:
        run = self._key_commands.run_since(self._trainer_started_at)
        ending = "" if run is None else f" ({run.state} at step {run.step})"
        self._say(f"The training has ended{ending}.")

    def _has_failed(self) -> bool:
        """What the trainer wrote last: a launcher that was asked to leave does not say how its ranks ended."""
        run = self._key_commands.run_since(self._trainer_started_at)
        return run is not None and run.state is RunState.FAILED

    def _start_api(self) -> ChildProcess:
        if self._orphans is not None:
            self._orphans.remaining()  # lays to rest the workers of an API that was killed before
        return self._started(self._plan.api)

    def _started(self, program: Program) -> ChildProcess:
        child = ChildProcess(program)
        self._children.append(child)
        if self._orphans is not None:
            self._orphans.own(child)
        return child

    def _end(self, child: ChildProcess, grace_seconds: float) -> bool:
        """Ask a child and what it left behind to end, and end them when time is up; whether they did so in time."""
        assert self._orphans is not None
        deadline = time.monotonic() + grace_seconds
        child.signal_group(signal.SIGTERM)
        while child.exit_code() is None or self._orphans.remaining():
            if self._was_forced or time.monotonic() > deadline:
                child.kill()
                self._orphans.kill()
                return False
            self._signal_queue.sleep(min(self._timing.tick_seconds, 0.05))
            self._note_wishes()
        return True

    def _end_everything(self) -> None:
        """Trainer first, then the API; in the ordinary case the trainer has ended before."""
        serving = [] if self._api.child is None else [self._api.child]
        for child in [child for child in self._children if child not in serving]:
            self._end(child, self._timing.trainer_grace_seconds)
        for child in serving:
            self._end(child, self._timing.api_grace_seconds)

    def _say(self, text: str) -> None:
        with suppress(OSError):  # the terminal is gone; the training is not
            self._echo(f"» {text}")
