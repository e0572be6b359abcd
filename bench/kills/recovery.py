"""How long does a killed rank hold up a training, and how many steps does it cost? Two working trees, in turn.

    python -m bench.kills.recovery [--kills 25] [--ranks 2] [--before TREE] [--no-fork-server] [--num-workers 0]

A tiny training under our launcher; one rank, by chance, is killed at a random moment of its steps, again and again.
Seconds from the kill until every rank has made its first new step, and the steps that are made twice. TREE is a working
tree of another commit, measured in turn with this one, a few kills each.
"""

import argparse
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from bench.kills.campaign import say, write_dataset
from bench.kills.counted import StepsBegun
from bench.kills.killed_training import PATIENCE_SECONDS, await_, children_of
from bench.starts.room import free_port
from bench.steps.blocks import load_text
from tests.ddp.harness.launching import settings

KILLS_IN_TURN = 5
CHECKPOINT_EVERY = 50
MIN_STEPS, MAX_STEPS_OF_START = 10, 150
"""A kill falls on a step between these after the start."""
THIS_TREE = Path(__file__).parents[2]


@dataclass
class Recoveries:
    """What the kills of one tree have cost."""

    seconds: list[float] = field(default_factory=list)
    lost_steps: list[int] = field(default_factory=list)

    def text(self) -> str:
        """Return the figures."""
        seconds, lost = sorted(self.seconds), sorted(self.lost_steps)
        p95 = seconds[min(len(seconds) - 1, round(0.95 * len(seconds)))]
        return (
            f"{len(seconds)} kills: first new step after {statistics.median(seconds):.2f} s (p95 {p95:.2f}, "
            f"{seconds[0]:.2f} to {seconds[-1]:.2f}); steps made again: median {statistics.median(lost):g}, "
            f"most {lost[-1]}, none in {sum(not steps for steps in lost)}"
        )


class KilledRun:
    """One launcher, whose ranks are killed."""

    def __init__(self, tree: Path, folder: Path, dataset: Path, ranks: int, *, forks: bool, num_workers: int) -> None:
        folder.mkdir()
        self._ranks = ranks
        self._begun = StepsBegun(folder / "steps")
        launcher = ["service.launcher.torchrun", "--standalone", f"--nproc-per-node={ranks}", "--max-restarts=1000"]
        values = settings(
            DATASET_ROOT=dataset, DATA_ROOT=folder / "run", WORKLOAD="bench.kills.counted", PATCH_SIZE=8, LOG_EVERY=10,
            NUM_WORKERS=num_workers, MAX_STEPS=10**7, VAL_STEP_EVERY=10**6, EMA_DECAY=0.99,
            CHECKPOINT_EVERY=CHECKPOINT_EVERY, API_PORT=free_port(),
        )  # fmt: skip
        environment = {
            **os.environ, "OMP_NUM_THREADS": "1", "BENCH_STEPS": str(folder / "steps"), "PYTHONPATH": str(tree),
            "TORCHRUN_FORK_SERVER": "1" if forks else "",
        }  # fmt: skip
        with (folder / "output.txt").open("w") as output:
            self.launcher = psutil.Popen(
                [sys.executable, "-m", *launcher, "-m", "ddp", *values],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment, cwd=tree,
            )  # fmt: skip

    def kill_one(self, chance: random.Random) -> tuple[float, int]:
        """Kill a rank at a random moment; return the seconds to the first new step, and how many are made again."""
        await_(lambda: min(self._steps()) > 0, "the first step", 2 * PATIENCE_SECONDS)
        until = min(self._steps()) + chance.randrange(MIN_STEPS, MAX_STEPS_OF_START)
        await_(lambda: min(self._steps()) >= until, f"step {until}")
        time.sleep(chance.uniform(0, 0.02))
        victim = chance.choice(self._processes())
        done = max(self._steps()) - 1
        victim.kill()
        killed_at = time.monotonic()
        self._await_all_gone()
        for rank in range(self._ranks):
            self._begun.note(rank, 0)
        first: dict[int, int] = {}

        def has_stepped() -> bool:
            for rank, step in enumerate(self._steps()):
                if step:
                    first.setdefault(rank, step)
            return len(first) == self._ranks and all(self._begun.of(rank) > first[rank] for rank in first)

        await_(has_stepped, "the first new step", 2 * PATIENCE_SECONDS)
        return time.monotonic() - killed_at, max(0, done - (min(first.values()) - 1))

    def _await_all_gone(self) -> None:
        """The ranks of before: none of them notes a step any more."""
        before = {process.pid for process in self._known}
        await_(lambda: not before & {child.pid for child in children_of(self.launcher) if _lives(child)}, "their end")

    def _processes(self) -> list[psutil.Process]:
        """Return the ranks: what leads a session below the launcher and is not its fork server."""
        self._known = [child for child in children_of(self.launcher) if is_rank(child)]
        return self._known

    def _steps(self) -> list[int]:
        return [self._begun.of(rank) for rank in range(self._ranks)]

    def end(self) -> None:
        """Kill everything."""
        processes = [self.launcher, *children_of(self.launcher)]
        for process in processes:
            if process.is_running():
                process.kill()
        psutil.wait_procs(processes)


def _lives(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def is_rank(process: psutil.Process) -> bool:
    """Whether it leads a session, and has a rank's variable or, as a fork, a rank's name."""
    try:
        leads = os.getsid(process.pid) == process.pid
        return leads and (process.name().startswith("rank ") or "RANK" in process.environ())
    except (ProcessLookupError, psutil.Error):
        return False


def turns(kills: int) -> Iterator[int]:
    """Return how many kills each turn has."""
    while kills > 0:
        yield min(kills, KILLS_IN_TURN)
        kills -= KILLS_IN_TURN


def main() -> None:
    """Measure both trees, in turn."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=25)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--before", type=Path)
    parser.add_argument("--no-fork-server", action="store_true")
    parser.add_argument("--num-workers", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    trees = {"before": given.before, "now": THIS_TREE} if given.before else {"now": THIS_TREE}
    found = {name: Recoveries() for name in trees}
    chance = random.Random(given.seed)
    with tempfile.TemporaryDirectory(prefix="recovery-") as name:
        dataset = write_dataset(Path(name) / "patches")
        for number, count in enumerate(turns(given.kills)):
            for tree in trees:
                folder, forks = Path(name) / f"{tree}-{number}", not given.no_fork_server
                run = KilledRun(
                    trees[tree].resolve(), folder, dataset, given.ranks, forks=forks, num_workers=given.num_workers
                )
                try:
                    for _ in range(count):
                        seconds, lost = run.kill_one(chance)
                        found[tree].seconds.append(seconds)
                        found[tree].lost_steps.append(lost)
                        say(f"{tree}: {seconds:.2f} s, {lost} steps")
                finally:
                    run.end()
    for tree, recoveries in found.items():
        say(f"{tree}: {recoveries.text()}")
    if given.before:
        ratio = statistics.median(found["now"].seconds) / statistics.median(found["before"].seconds)
        say(f"now / before: {ratio:.2f}; {load_text()}")


if __name__ == "__main__":
    main()
