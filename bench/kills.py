"""Does a training survive `kill -9`? Tiny trainings on two ranks, killed at random moments again and again.

    python -m bench.kills [--kills 100] [--seed 0] [--num-workers 0] [--folder DIR]

Victims, by chance: rank 0, rank 1, both ranks, or the launcher with everything below it. torchrun starts the ranks anew
after a kill; when it has given up or was killed itself, it is started again with --resume, as a service manager would.
After every kill, while nothing runs, and at the end of every training: all records whole and valid, none lost, no more
steps lost than a checkpoint interval and the writing of one. Every training ends with the weights, moments and records
of one that was never killed. Exit code 1 when anything of it does not hold; the run directories are kept then.
"""

import argparse
import itertools
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from bench.counted import StepsBegun
from bench.inspection import RunInspector, differences, record_differences
from tests.ddp.harness.launching import settings, write_pair

RANKS, RESTARTS = 2, 3
MAX_STEPS, VAL_STEP_EVERY, CHECKPOINT_EVERY = 600, 20, 50
VICTIMS = ("rank 0", "rank 1", "both ranks", "launcher and all")
PATIENCE_SECONDS = 60.0
DURING_START, LONGEST_START_SECONDS = 0.15, 6.0
"""Share of the kills that fall on any moment of the first seconds of the ranks; the others fall on the steps."""
MOST_STEPS = 100
"""Most steps that a start makes before it is killed."""
SAME = ("progress", "stepper", "controller", "ledger", "bad_steps", "window")
"""Parts of a state that must be those of a training that was never killed."""


@dataclass
class Tally:
    """What the campaign has seen."""

    kills: Counter[str] = field(default_factory=Counter)
    lost_steps: list[int] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    launches: int = 0
    refused_starts: int = 0
    trainings: int = 0


class Training:
    """One training in its own run directory, started as often as it takes."""

    def __init__(self, folder: Path, dataset: Path, num_workers: int, tally: Tally) -> None:
        folder.mkdir()
        self.folder, self.root = folder, folder / "run"
        self.begun = StepsBegun(folder / "steps")
        self.inspector = RunInspector(self.root, VAL_STEP_EVERY)
        self._tally = tally
        self._command = [
            sys.executable, "-m", "service.launcher.torchrun", "--standalone", f"--nproc-per-node={RANKS}",
            f"--max-restarts={RESTARTS}", "-m", "ddp", "--resume",
            *settings(
                DATASET_ROOT=dataset, DATA_ROOT=self.root, WORKLOAD="bench.counted", PATCH_SIZE=8, LOG_EVERY=10,
                NUM_WORKERS=num_workers, MAX_STEPS=MAX_STEPS, VAL_STEP_EVERY=VAL_STEP_EVERY, EMA_DECAY=0.99,
                CHECKPOINT_EVERY=CHECKPOINT_EVERY, KEEP_CHECKPOINTS=3, ADAPTIVE_WARMUP_STEPS=100, SETTLING_STEPS=20,
            ),
        ]  # fmt: skip
        self._environment = {**os.environ, "OMP_NUM_THREADS": "1", "BENCH_STEPS": str(folder / "steps")}
        self.launcher = self._launch()

    def _launch(self) -> psutil.Popen:
        self._tally.launches += 1
        with (self.folder / "output.txt").open("a") as output:
            return psutil.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=self._environment
            )

    def keep_alive(self) -> bool:
        """Start the launcher again where it has ended; False once the training is finished."""
        code = self.launcher.poll()
        if code is None:
            return True
        if code == 0:
            return False
        if code == 2:
            self._tally.refused_starts += 1
        self.launcher = self._launch()
        return True

    def ranks(self) -> dict[int, psutil.Process]:
        """The ranks that live now."""
        found = {}
        with suppress(psutil.Error):
            for child in self.launcher.children():
                with suppress(psutil.Error, KeyError):
                    found[int(child.environ()["RANK"])] = child
        return found

    def finish(self) -> None:
        """Let the training come to its end."""
        await_(lambda: not self.keep_alive(), "the end of the training", seconds=5 * PATIENCE_SECONDS)

    def end(self) -> None:
        """Kill whatever still runs."""
        for process in [self.launcher, *children_of(self.launcher)]:
            with suppress(psutil.NoSuchProcess):
                process.kill()


def await_(condition: Callable[[], object], what: str, seconds: float = PATIENCE_SECONDS) -> None:
    """Wait until a condition holds. Raises `TimeoutError`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not come within {seconds:.0f} s")
        time.sleep(0.01)


class Campaign:
    """Kills until there were enough."""

    def __init__(self, folder: Path, kills: int, seed: int, num_workers: int) -> None:
        self._folder, self._kills, self._num_workers = folder, kills, num_workers
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
        self._trainings.append(Training(self._folder / name, self._dataset, self._num_workers, self.tally))
        return self._trainings[-1]

    def _kill(self, training: Training) -> bool:
        """One kill and what it left behind; False when the training was finished before."""
        ranks = self._await_moment(training)
        if ranks is None:
            return False
        victim = self._chance.choice(VICTIMS)
        processes = chosen(victim, training, ranks)
        below = [child for rank in ranks.values() for child in children_of(rank)]
        done = training.begun.of(0) - 1  # -1 where this start has not begun a step
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.tally.kills[victim] += 1
        psutil.wait_procs([*ranks.values(), *(below if victim == VICTIMS[-1] else [])], timeout=PATIENCE_SECONDS)
        self._look_at(training, victim, done)
        return True

    def _await_moment(self, training: Training) -> dict[int, psutil.Process] | None:
        """The ranks at a random moment of their lives, or None when the training is finished."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while len(ranks := training.ranks()) < RANKS:
            if not training.keep_alive():
                return None
            if time.monotonic() > deadline:
                raise TimeoutError("the ranks did not appear")
            time.sleep(0.01)
        if self._chance.random() < DURING_START:
            wait_seconds = self._chance.uniform(0, LONGEST_START_SECONDS)
        else:
            await_(lambda: training.begun.of(0) or not ranks[0].is_running(), "a step")
            until = training.begun.of(0) + self._chance.randrange(MOST_STEPS)
            await_(lambda: training.begun.of(0) >= until or not ranks[0].is_running(), f"step {until}")
            wait_seconds = self._chance.uniform(0, 0.05)
        time.sleep(wait_seconds)
        return ranks if training.launcher.poll() is None and all(rank.is_running() for rank in ranks.values()) else None

    def _look_at(self, training: Training, victim: str, done: int) -> None:
        """While the new ranks are still loading torch, nobody writes."""
        newest = training.inspector.newest_step() if training.root.is_dir() else 0
        if done >= 0:
            self.tally.lost_steps.append(max(0, done - newest))
        found = training.inspector.complaints() if training.root.is_dir() else []
        where = f"kill {self.tally.kills.total()} ({victim} at step {done})"
        self._complain(training, [f"{where}: {complaint}" for complaint in found])
        moment = "during the start" if done < 0 else f"at step {done}, newest state {newest}"
        say(f"{self.tally.kills.total():4}  {training.folder.name}: {victim} killed {moment}")
        training.begun.note(0, 0)

    def _compare(self, training: Training, reference: Training) -> None:
        """At its end a training is the one that was never killed."""
        state, expected = (run.inspector.state(MAX_STEPS) for run in (training, reference))
        mine, theirs = ({name: which[name] for name in SAME} for which in (state, expected))
        found = [f"the last state differs in {place}" for place in differences(mine, theirs)]
        found += training.inspector.complaints() + training.inspector.store_complaints()
        found += record_differences(training.inspector.records(), reference.inspector.records())
        scheduled = set(range(VAL_STEP_EVERY, MAX_STEPS + 1, VAL_STEP_EVERY))
        found += [f"step {step} has no record" for step in sorted(scheduled - training.inspector.records().keys())]
        self._complain(training, found)
        say(f"      {training.folder.name} is finished: {'equal to the reference' if not found else 'NOT EQUAL'}")

    def _complain(self, training: Training, found: list[str]) -> None:
        for complaint in found:
            say(f"      !! {training.folder.name}: {complaint}")
        self.tally.complaints += found


def chosen(victim: str, training: Training, ranks: dict[int, psutil.Process]) -> list[psutil.Process]:
    """The processes that this victim means, the launcher first."""
    if victim == VICTIMS[-1]:
        return [training.launcher, *children_of(training.launcher)]
    return [rank for number, rank in ranks.items() if victim in (f"rank {number}", "both ranks")]


def children_of(process: psutil.Process) -> list[psutil.Process]:
    """Everything below a process."""
    with suppress(psutil.NoSuchProcess):
        children: list[psutil.Process] = process.children(recursive=True)
        return children
    return []


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
        f"complaints: {len(tally.complaints)}"
    )


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--num-workers", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="where the trainings live; kept")
    given = parser.parse_args()
    folder = given.folder or Path(tempfile.mkdtemp(prefix="kills-"))
    folder.mkdir(parents=True, exist_ok=True)
    campaign, began = Campaign(folder, given.kills, given.seed, given.num_workers), time.monotonic()
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
