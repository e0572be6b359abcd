"""How soon is a rank named that hangs, and is one named that does not? Two working trees, in turn.

    python -m bench.kills.hangs [--stops 20] [--ranks 2] [--before TREE] [--stops-before 4] [--minutes 2] [--hogs 4]

A tiny training under our launcher. One rank, by chance, stops itself (SIGSTOP) as it enters a stage, each stage in
turn; seconds until a line of the console names it. Then it is continued. TREE is a working tree of another commit, with
its default STALL_SECONDS; there a stop that is not named within 75 s counts as never named.

Afterwards a training with its API runs for --minutes, with validations and checkpoints, while other processes keep all
cores and the disk busy; the API is stopped for most of the time, and now and then all ranks together. Whatever is named
then is a false name.
"""

import argparse
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from bench.kills import stopping
from bench.kills.campaign import say, write_dataset
from bench.kills.killed_training import await_, children_of, up_command
from bench.kills.recovery import THIS_TREE, is_rank
from bench.kills.stopping import STAGES, StopPage
from bench.starts.room import free_port
from bench.steps.blocks import load_text
from service.commands import Kind
from service.store.store import Store
from tests.ddp.harness.launching import settings

NEVER_SECONDS = 75.0
SETTLING_SECONDS, SETTLING_FORWARDS = 15.0, 60
"""A new training runs so long, and so many steps, before the first stop: nothing is learnt before."""
PAUSE_SECONDS = 2.0
FREEZE_SECONDS = 6.0
_NAME = re.compile(r"Rank (\d+) (?:\([^)]*\) )?has been (?:silent|in stage)|All ranks have waited")
HOG = "while True: pass"
WRITER = """
import os, sys, time
while True:
    with open(sys.argv[1], "wb") as file:
        for _ in range(16):
            file.write(os.urandom(1 << 20))
            file.flush()
            os.fsync(file.fileno())
    time.sleep(0.05)
"""


class HungRun:
    """One launcher, whose ranks stop."""

    def __init__(self, tree: Path, folder: Path, dataset: Path, ranks: int, *, has_api: bool = False) -> None:
        folder.mkdir()
        self.ranks = ranks
        self.root, self._output = folder / "run", folder / "output.txt"
        self.page = StopPage(folder / "stops")
        shutil.copy(stopping.__file__, folder / "stopping_workload.py")
        launcher = ["service.launcher.torchrun", "--standalone", f"--nproc-per-node={ranks}", "-m", "ddp"]
        values = settings(
            DATASET_ROOT=dataset, DATA_ROOT=self.root, WORKLOAD="stopping_workload", PATCH_SIZE=8, LOG_EVERY=10,
            MAX_STEPS=10**8, VAL_STEP_EVERY=100, CHECKPOINT_EVERY=50, EMA_DECAY=0.99, API_PORT=free_port(),
        )  # fmt: skip
        environment = {
            **os.environ, "OMP_NUM_THREADS": "1", "BENCH_STOPS": str(folder / "stops"),
            "PYTHONPATH": f"{tree}:{folder}",
        }  # fmt: skip
        command = up_command(ranks, restarts=0) if has_api else [sys.executable, "-m", *launcher]
        with self._output.open("w") as output:
            self._launcher = psutil.Popen(
                [*command, *values], stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment, cwd=tree
            )
        await_(lambda: self.forwards() > 0, "the first step", 120)
        settled_at = time.monotonic() + SETTLING_SECONDS
        await_(lambda: time.monotonic() > settled_at and self.forwards() > SETTLING_FORWARDS, "some steps", 120)

    def forwards(self) -> int:
        """How many forward passes every rank has begun."""
        return min(self.page.forwards(rank) for rank in range(self.ranks))

    def seconds_to_name(self, rank: int, stage: str) -> float | None:
        """Stop a rank in a stage; return the seconds until it is named, None if it is not. Then let it go on."""
        seen = len(self.names())
        self.page.order(rank, stage)
        if stage == "command":
            store = Store(self.root / "leitstand.db")
            run = store.runs.latest()
            assert run is not None
            store.commands.submit(run.id, Kind.CHECKPOINT, {}, actor="bench", source="api")
            store.close()
        await_(lambda: self.page.stopped_at() is not None, f"the stop of rank {rank} in {stage}", 120)
        stopped_at = self.page.stopped_at() or 0.0
        named: list[str] = []
        while not named and time.monotonic() < stopped_at + NEVER_SECONDS:
            time.sleep(0.02)
            named = self.names()[seen:]
        seconds = time.monotonic() - stopped_at
        done = self.forwards()
        for process in self.processes():
            process.resume()
        await_(lambda: self.forwards() > done + 5, "the steps after it", 120)
        if named and named[0] != str(rank):
            say(f"WRONG: rank {rank} has stopped in {stage}, but {named[0] or 'all'} was named")
        return seconds if named else None

    def names(self) -> list[str]:
        """The ranks that were named so far, each with its number; empty for all together."""
        return [match[1] or "" for match in _NAME.finditer(self._output.read_text())]

    def lines(self) -> list[str]:
        """The lines of the console that name a rank."""
        return [line for line in self._output.read_text().splitlines() if _NAME.search(line)]

    def processes(self) -> list[psutil.Process]:
        """The ranks."""
        return [child for child in children_of(self._launcher) if is_rank(child)]

    def api(self) -> list[psutil.Process]:
        """The processes of the API."""
        found = []
        for child in children_of(self._launcher):
            with suppress(psutil.Error):
                if "gunicorn" in " ".join(child.cmdline()):
                    found.append(child)
        return found

    def end(self) -> None:
        """Kill everything."""
        processes = [self._launcher, *children_of(self._launcher)]
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(processes)


@contextmanager
def busy_machine(folder: Path, hogs: int) -> Iterator[None]:
    """Keep the processor and the disk busy."""
    commands = [[sys.executable, "-c", HOG]] * hogs + [[sys.executable, "-c", WRITER, str(folder / "written")]]
    processes = [subprocess.Popen(command) for command in commands]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def measure_stops(tree: Path, folder: Path, dataset: Path, ranks: int, stops: int, seed: int) -> list[float | None]:
    """Return the seconds to the name of each stop; the stages come in turn."""
    run, chance, found = HungRun(tree, folder, dataset, ranks), random.Random(seed), list[float | None]()
    try:
        for number in range(stops):
            rank, stage = chance.randrange(ranks), STAGES[number % len(STAGES)]
            seconds = run.seconds_to_name(rank, stage)
            found.append(seconds)
            say(f"  rank {rank} in {stage}: {'never' if seconds is None else f'{seconds:.2f} s'}")
            time.sleep(PAUSE_SECONDS)
    finally:
        run.end()
    return found


def false_names(folder: Path, dataset: Path, ranks: int, minutes: float, hogs: int) -> tuple[list[str], int]:
    """Return the lines that name a rank in a training in which none hangs, and how many steps were made."""
    run = HungRun(THIS_TREE, folder, dataset, ranks, has_api=True)
    try:
        with busy_machine(folder, hogs):
            first, end = run.forwards(), time.monotonic() + 60 * minutes
            while time.monotonic() < end:
                freeze(run.api(), min(20.0, 20 * minutes))
                freeze(run.processes(), FREEZE_SECONDS)
                time.sleep(10)
            say(f"  {load_text()}")
            return run.lines(), run.forwards() - first
    finally:
        run.end()


def freeze(processes: Sequence[psutil.Process], seconds: float) -> None:
    """Stop processes for some time."""
    for process in processes:
        process.suspend()
    time.sleep(seconds)
    for process in processes:
        process.resume()


def text_of(found: Sequence[float | None]) -> str:
    """Return the figures."""
    named = sorted(seconds for seconds in found if seconds is not None)
    if not named:
        return f"{len(found)} stops, none named within {NEVER_SECONDS:.0f} s"
    return (
        f"{len(found)} stops: named after {statistics.median(named):.2f} s (median), {named[0]:.2f} to "
        f"{named[-1]:.2f}; not named within {NEVER_SECONDS:.0f} s: {len(found) - len(named)}"
    )


def main() -> None:
    """Measure both trees, then look for false names."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--stops", type=int, default=20)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--before", type=Path)
    parser.add_argument("--stops-before", type=int, default=4)
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--hogs", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hangs-") as name:
        folder = Path(name)
        dataset = write_dataset(folder / "patches")
        if given.before:
            say(f"before, {load_text()}")
            tree = given.before.resolve()
            found = measure_stops(tree, folder / "before", dataset, given.ranks, given.stops_before, given.seed)
            say(f"before: {text_of(found)}")
        if given.stops:
            say(f"now, {load_text()}")
            found = measure_stops(THIS_TREE, folder / "now", dataset, given.ranks, given.stops, given.seed)
            say(f"now: {text_of(found)}; {load_text()}")
        if given.minutes:
            lines, steps = false_names(folder / "busy", dataset, given.ranks, given.minutes, given.hogs)
            say(f"{len(lines)} false names in {given.minutes:g} minutes and {steps} steps")
            for line in lines:
                say(f"  {line}")


if __name__ == "__main__":
    main()
