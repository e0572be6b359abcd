"""Does a training survive `kill -9`? Tiny trainings, killed at random moments again and again, with commands under way.

    python -m bench.kills.campaign [--kills 100] [--ranks 3] [--seed 0] [--num-workers 0] [--with-api] [--folder DIR]

Victims, by chance: one rank, all ranks, or the launcher with everything below it. With --with-api the launcher is
`leitstand up`, and victims are also it alone, torchrun below it, and the API. Before each kill a validation or a
checkpoint is asked for through the store; at the end each of them must have ended somehow. torchrun starts the ranks
anew after a kill; when it has given up or was killed itself, it is started again with --resume, as a service manager
would. After every kill, while nothing runs, and at the end of every training: all records whole and valid, none lost,
no more steps lost than a checkpoint interval and the writing of one. Every training ends with the weights, moments and
records of one that was never killed and never commanded. Exit code 1 when anything of it does not hold; the run
directories are kept then.
"""

import argparse
import itertools
import random
import shutil
import statistics
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import psutil

from bench.kills.comparison import final_complaints
from bench.kills.killed_training import (
    CHECKPOINT_EVERY,
    MAX_STEPS,
    PATIENCE_SECONDS,
    Options,
    Tally,
    Training,
    await_,
    children_of,
)
from service.commands import Kind
from tests.ddp.harness.launching import write_pair

ALL_RANKS, LAUNCHER = "all ranks", "launcher and all"
API = "API"
PARTS = {"up alone": "leitstand", "torchrun alone": "torchrun", API: "gunicorn"}
"""Victims below or beside the ranks, and the last word of the module that they run."""
DURING_START, LONGEST_START_SECONDS = 0.15, 6.0
"""Share of the kills that fall on any moment of the first seconds of the ranks; the others fall on the steps."""
MAX_STEPS_OF_START = 100
"""A kill during the steps falls on one of this many after the start."""


class Campaign:
    """Kills until there were enough."""

    def __init__(self, folder: Path, kills: int, seed: int, options: Options) -> None:
        self._folder, self._kills, self._options = folder, kills, options
        self._victims = (*(f"rank {number}" for number in range(options.ranks)), ALL_RANKS, LAUNCHER)
        if options.with_api:
            self._victims = (*self._victims, *PARTS)
        self._chance = random.Random(seed)
        self._dataset = write_dataset(folder / "patches")
        self.tally = Tally()
        self._trainings: list[Training] = []

    def run(self) -> None:
        """The training that is never killed, then others until there were enough kills; leaves no process behind."""
        try:
            self._run()
        finally:
            for training in self._trainings:
                training.end()

    def _run(self) -> None:
        reference = self._training("reference")
        reference.finish()
        for number in itertools.count(1):
            training = self._training(f"training-{number}")
            while self.tally.kills.total() < self._kills and self._kill(training):
                pass
            training.finish()
            self.tally.trainings += 1
            self._compare(training, reference)
            if self.tally.kills.total() >= self._kills:
                return

    def _training(self, name: str) -> Training:
        self._trainings.append(Training(self._folder / name, self._dataset, self._options, self.tally))
        return self._trainings[-1]

    def _kill(self, training: Training) -> bool:
        """One kill and what it left behind; False when the training was finished before."""
        ranks = self._await_moment(training)
        if ranks is None:
            return False
        victim = self._chance.choice(self._victims)
        training.submit(self._chance.choice((Kind.VALIDATE, Kind.CHECKPOINT)))
        time.sleep(self._chance.choice((0.0, self._chance.uniform(0, 0.3))))
        processes = chosen(victim, training, ranks)
        below = [child for rank in ranks.values() for child in children_of(rank)]
        done = training.begun.of(0) - 1  # -1 where this start has not begun a step
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.tally.kills[victim] += 1
        if victim == API:
            self._await_api(training, processes)
            return True
        psutil.wait_procs([*ranks.values(), *(below if victim == LAUNCHER else [])], timeout=PATIENCE_SECONDS)
        self._look_at(training, victim, done)
        return True

    def _await_moment(self, training: Training) -> dict[int, psutil.Process] | None:
        """The ranks at a random moment of their lives, or None when the training is finished."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while len(ranks := training.ranks()) < self._options.ranks:
            if not training.keep_alive():
                return None
            if time.monotonic() > deadline:
                raise TimeoutError("the ranks did not appear")
            time.sleep(0.01)
        if self._chance.random() < DURING_START:
            wait_seconds = self._chance.uniform(0, LONGEST_START_SECONDS)
        else:
            await_(lambda: training.begun.of(0) or not ranks[0].is_running(), "a step")
            until = training.begun.of(0) + self._chance.randrange(MAX_STEPS_OF_START)
            await_(lambda: training.begun.of(0) >= until or not ranks[0].is_running(), f"step {until}")
            wait_seconds = self._chance.uniform(0, 0.05)
        time.sleep(wait_seconds)
        return ranks if training.launcher.poll() is None and all(rank.is_running() for rank in ranks.values()) else None

    def _await_api(self, training: Training, killed: list[psutil.Process]) -> None:
        """Wait until another API has taken the place of the one that was killed, or the training is finished."""
        say(f"{self.tally.kills.total():4}  {training.folder.name}: {API} killed")

        def is_back() -> bool:
            found = training.part(PARTS[API])
            return training.launcher.poll() is not None or (found is not None and found not in killed)

        await_(is_back, "another API")

    def _look_at(self, training: Training, victim: str, done: int) -> None:
        """While the new ranks are still loading torch, nobody writes."""
        newest = training.inspector.newest_step() if training.root.is_dir() else 0
        if victim not in {LAUNCHER, *PARTS}:
            newest = max(newest, training.inspector.newest_left() if training.root.is_dir() else 0)
            training.restarts_left -= 1
        if done >= 0:
            self.tally.lost_steps.append(max(0, done - newest))
            if victim.startswith("rank ") and training.restarts_left >= 0:
                self.tally.survived[done <= newest] += 1
        found = training.inspector.complaints() if training.root.is_dir() else []
        where = f"kill {self.tally.kills.total()} ({victim} at step {done})"
        self._complain(training, [f"{where}: {complaint}" for complaint in found])
        moment = "during the start" if done < 0 else f"at step {done}, newest state {newest}"
        say(f"{self.tally.kills.total():4}  {training.folder.name}: {victim} killed {moment}")
        training.begun.note(0, 0)

    def _compare(self, training: Training, reference: Training) -> None:
        """At its end a training is the one that was never killed."""
        found = final_complaints(training, reference)
        self.tally.commands.update(f"{command.state}" for command in training.commands())
        self._complain(training, found)
        say(f"      {training.folder.name} is finished: {'equal to the reference' if not found else 'NOT EQUAL'}")

    def _complain(self, training: Training, found: list[str]) -> None:
        for complaint in found:
            say(f"      !! {training.folder.name}: {complaint}")
        self.tally.complaints += found


def chosen(victim: str, training: Training, ranks: dict[int, psutil.Process]) -> list[psutil.Process]:
    """The processes that this victim means, the launcher first."""
    if victim == LAUNCHER:
        return [training.launcher, *children_of(training.launcher)]
    if victim in PARTS:
        return [part] if (part := training.part(PARTS[victim])) is not None else []
    return [rank for number, rank in ranks.items() if victim in (f"rank {number}", ALL_RANKS)]


def write_dataset(root: Path) -> Path:
    """11 training pairs and 3 validation pairs."""
    for index in range(11):
        write_pair(root / "Patches", f"train_{index:02d}", 36, 36, seed=index)
    for index, (height, width) in enumerate([(36, 48), (48, 36), (60, 60)]):
        write_pair(root / "Val", f"val_{index}", height, width, seed=100 + index)
    return root


def summary(tally: Tally, seconds: float) -> str:
    """The figures as lines of text."""
    lost = sorted(tally.lost_steps)
    within = sum(steps <= CHECKPOINT_EVERY for steps in lost)
    kinds = ", ".join(f"{victim} {count}" for victim, count in sorted(tally.kills.items()))
    return (
        f"{tally.kills.total()} kills ({kinds}) in {tally.trainings} trainings of {MAX_STEPS} steps, {seconds:.0f} s; "
        f"{tally.launches} launches, {tally.refused_starts} of them refused\n"
        f"steps lost: median {statistics.median(lost)}, max {lost[-1]}, at most {CHECKPOINT_EVERY} in {within}\n"
        f"one rank killed while torchrun goes on: no step lost in {tally.survived[True]} of {tally.survived.total()}\n"
        f"commands: {', '.join(f'{state} {count}' for state, count in sorted(tally.commands.items()))}\n"
        f"complaints: {len(tally.complaints)}"
    )


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--ranks", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--num-workers", type=int, default=0)
    parser.add_argument("--with-api", action="store_true", help="train under `leitstand up`")
    parser.add_argument("--folder", type=Path, help="where the trainings live; kept")
    given = parser.parse_args()
    folder = given.folder or Path(tempfile.mkdtemp(prefix="kills-"))
    folder.mkdir(parents=True, exist_ok=True)
    options = Options(given.ranks, given.num_workers, given.with_api)
    campaign, began = Campaign(folder, given.kills, given.seed, options), time.monotonic()
    campaign.run()
    say(summary(campaign.tally, time.monotonic() - began))
    if campaign.tally.complaints:
        say(f"The evidence is in {folder}")
        return 1
    if given.folder is None:
        shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
