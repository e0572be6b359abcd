"""A training to which faults happen, one after the other, and what is seen of it after each.

It makes no more steps than it may (`bench/kills/counted.py`), so that every fault meets the steps that it should on a
machine of any speed, and so that nobody writes while the run is looked at.
"""

import random
import time
from collections.abc import Callable, Iterable
from contextlib import closing, suppress
from pathlib import Path

import psutil

from bench.kills.killed_training import VAL_STEP_EVERY, Options, Tally, Training, children_of
from service.commands import Kind
from service.run.record import list_records
from service.run.state import RunState
from service.store.store import Store, StoreUnavailableError
from tests.faults.injection import FaultPage
from tests.postgres import PostgresService

WAITING_STEPS = 80
"""A call that is not made within so many steps is not waited for."""
STRIDE = 4
"""Steps that a training may make at a time."""
PATIENCE_SECONDS = 120.0
"""A start of torchrun takes seconds, on a busy machine ten times as many."""
POLL_SECONDS = 0.005
ASKED_FOR = (Kind.VALIDATE, Kind.CHECKPOINT)


class Ordeal:
    """One training, the page of its file calls, and the steps that it may make."""

    server: PostgresService | None = None
    """Of the store, where it is no file."""

    def __init__(self, folder: Path, dataset: Path, options: Options, page: FaultPage, chance: random.Random) -> None:
        """Start a training in a folder that does not exist yet; what the page is armed for happens to this start."""
        self.page, self.chance = page, chance
        self.is_over = False
        self.found: list[str] = []
        """What should not be, each a sentence; more is added by faults that look for themselves."""
        self._limit = STRIDE
        self.training = Training(folder, dataset, options, Tally())
        self.training.begun.limit(self._limit)

    @property
    def root(self) -> Path:
        """The run directory."""
        return self.training.root

    @property
    def options(self) -> Options:
        """How the training was started."""
        return self.training.options

    def ranks(self) -> dict[int, psutil.Process]:
        """The ranks, if all of them live."""
        ranks = self.training.ranks()
        is_whole = len(ranks) == self.options.ranks and all(map(lives, ranks.values()))
        return ranks if is_whole else {}

    def await_ranks(self) -> dict[int, psutil.Process]:
        """Wait until all ranks live, started again where the launcher has ended."""
        found: dict[int, psutil.Process] = {}

        def live() -> bool:
            found.update(self.ranks())
            return bool(found) or self.is_over

        self.wait(live, "the ranks")
        return found

    def wait(self, condition: Callable[[], object], what: str, seconds: float = PATIENCE_SECONDS) -> None:
        """Wait, without further steps, until a condition holds. Raises `TimeoutError`."""
        deadline = time.monotonic() + seconds
        while not condition():
            self._keep_alive()
            if time.monotonic() > deadline:
                raise TimeoutError(f"{what} did not come within {seconds:.0f} s; {self._position()}")
            time.sleep(POLL_SECONDS)

    def advance(self, condition: Callable[[], object], what: str, steps: int = 10**9) -> bool:
        """Let the training go on until a condition holds; False where it has made so many steps, or all, before.

        Raises `TimeoutError` where it neither does nor gets anywhere.
        """
        last, deadline = self._limit + steps, time.monotonic() + PATIENCE_SECONDS
        while not condition():
            self._keep_alive()
            if self.is_over or (self._limit >= last and self.is_held()):
                return False
            if self.is_held() and not self.allow_more():
                return False
            if time.monotonic() > deadline:
                raise TimeoutError(f"{what} did not come within {PATIENCE_SECONDS:.0f} s; {self._position()}")
            time.sleep(POLL_SECONDS)
        return True

    def advance_for(self, seconds: float, steps: int) -> None:
        """Let the training make some steps within some seconds."""
        until = time.monotonic() + seconds
        self.advance(lambda: time.monotonic() >= until, "the time", steps)
        self.wait(lambda: time.monotonic() >= until, "the time")

    def is_held(self) -> bool:
        """Whether all ranks live and have begun the last step that they may."""
        ranks = range(self.options.ranks)
        return bool(self.ranks()) and all(self.training.begun.of(rank) == self._limit for rank in ranks)

    def await_end_of(self, processes: Iterable[psutil.Process]) -> None:
        """Wait until processes have ended. A rank that waits for more steps would not notice that another is gone."""
        self.allow_more()
        self.wait(lambda: not any(map(lives, processes)), "the end of the ranks")

    def has_room(self, steps: int = WAITING_STEPS) -> bool:
        """Whether so many steps may still be made before the last."""
        return not self.is_over and self._limit + steps + STRIDE < self.options.max_steps

    def allow_more(self) -> bool:
        """Allow some more steps; False where the training would end with them."""
        if self._limit + STRIDE >= self.options.max_steps:
            return False
        self._limit += STRIDE
        self.training.begun.limit(self._limit)
        return True

    def ask(self) -> None:
        """Ask for something, as a person may at any time."""
        if self.chance.random() < 0.7:
            self.training.submit(self.chance.choice(ASKED_FOR))

    def ask_for_files(self) -> None:
        """Ask for a record and a state, so that the calls on their files are made soon."""
        for kind in ASKED_FOR:
            self.training.submit(kind)

    def settle(self) -> list[str]:
        """Let the run come to rest after a fault; return what should not be."""
        self.page.disarm()
        self.allow_more()
        self.advance(self.is_held, "the ranks at their steps")
        self.advance(self._commands_have_ended, "the end of the commands")
        if not self.is_over:
            self.wait(self._all_is_written, "the writing of all that was made")
            self.found += self.training.inspector.complaints()
        found, self.found = self.found, []
        return found

    def finish(self) -> None:
        """Let the training make all its steps."""
        self.page.disarm()
        self.training.begun.limit(0)
        self.wait(lambda: self.is_over, "the end of the training")

    def end(self) -> None:
        """Kill whatever still runs."""
        for process in (self.training.launcher, *children_of(self.training.launcher)):
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.training.launcher.wait()

    def _keep_alive(self) -> None:
        self.is_over = not self.training.keep_alive()

    def _commands_have_ended(self) -> bool:
        try:
            return all(command.state.is_final for command in self.training.commands())
        except StoreUnavailableError:
            return False

    def _all_is_written(self) -> bool:
        """Whether the records of all scheduled steps are on disk and in the store, and the run's row says that it runs.

        The last step that may be made is made when it was begun, but its record may be on the way.
        """
        due = set(range(VAL_STEP_EVERY, self._limit + 1, VAL_STEP_EVERY))
        on_disk = {step for step, _ in list_records(self.root)}
        return on_disk >= due and self._stored(due)

    def _stored(self, due: set[int]) -> bool:
        with suppress(StoreUnavailableError), closing(self.training.store()) as store:
            run = store.runs.latest()
            return run is not None and run.state is RunState.RUNNING and _steps_stored(store, run.id) >= due
        return False

    def _position(self) -> str:
        steps = [self.training.begun.of(rank) for rank in range(self.options.ranks)]
        output = (self.training.folder / "output.txt").read_text(errors="replace")
        return f"the ranks are at {steps} of {self._limit}; they said:\n{output[-3000:]}"


def _steps_stored(store: Store, run_id: str) -> set[int]:
    return {row.step for row in store.records.find(run_id, limit=1_000_000)}


def lives(process: psutil.Process) -> bool:
    """Whether a process has not ended, also where nobody has asked for its exit code yet."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
