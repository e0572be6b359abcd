"""One tiny training that is killed and started again, and the tally of what was seen."""

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from bench.kills.counted import StepsBegun
from bench.kills.inspection import RunInspector
from bench.starts.room import free_port
from service.commands import Command, Kind
from service.store.store import Store, StoreUnavailableError
from tests.ddp.harness.launching import settings

RESTARTS = 3
MAX_STEPS, VAL_STEP_EVERY, CHECKPOINT_EVERY = 600, 20, 50
PATIENCE_SECONDS = 60.0


@dataclass
class Tally:
    """What the campaign has seen."""

    kills: Counter[str] = field(default_factory=Counter)
    lost_steps: list[int] = field(default_factory=list)
    survived: Counter[bool] = field(default_factory=Counter)
    """Kills of one rank during the steps, by whether no step was lost; those after which torchrun gave up left out."""
    complaints: list[str] = field(default_factory=list)
    launches: int = 0
    refused_starts: int = 0
    trainings: int = 0
    commands: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Options:
    """How trainings are started."""

    ranks: int
    num_workers: int = 0
    with_api: bool = False
    restarts: int = RESTARTS
    max_steps: int = MAX_STEPS
    checkpoint_every: int = CHECKPOINT_EVERY
    store_url: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)


class Training:
    """One training in its own run directory, started as often as it takes."""

    def __init__(self, folder: Path, dataset: Path, options: Options, tally: Tally) -> None:
        folder.mkdir()
        self.folder, self.root = folder, folder / "run"
        self.begun = StepsBegun(folder / "steps")
        self.inspector = RunInspector(self.root, VAL_STEP_EVERY)
        self.options, self._tally = options, tally
        self._command = [
            *(up_command if options.with_api else torchrun_command)(options.ranks, options.restarts),
            *settings(
                DATASET_ROOT=dataset, DATA_ROOT=self.root, WORKLOAD="bench.kills.counted", PATCH_SIZE=8, LOG_EVERY=10,
                NUM_WORKERS=options.num_workers, MAX_STEPS=options.max_steps, VAL_STEP_EVERY=VAL_STEP_EVERY,
                CHECKPOINT_EVERY=options.checkpoint_every, KEEP_CHECKPOINTS=3, EMA_DECAY=0.99, API_PORT=free_port(),
                ADAPTIVE_WARMUP_STEPS=100, SETTLING_STEPS=20,
            ),
        ]  # fmt: skip
        store = {"STORE_URL": options.store_url} if options.store_url else {}
        steps = {"OMP_NUM_THREADS": "1", "BENCH_STEPS": str(folder / "steps")}
        self._environment = {**os.environ, **steps, **store, **options.environment}
        self.launcher = self._launch()

    def _launch(self) -> psutil.Popen:
        self._tally.launches += 1
        self.restarts_left = self.options.restarts
        return self._start("output.txt")

    def another(self) -> psutil.Popen:
        """Start a second training beside this one, in the same run directory."""
        return self._start("another.txt")

    def _start(self, output_name: str) -> psutil.Popen:
        with (self.folder / output_name).open("a") as output:
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
            for child in [] if (torchrun := self.part("torchrun")) is None else torchrun.children():
                with suppress(psutil.Error, KeyError):
                    is_fork = (name := child.name()).startswith("rank ")
                    found[int(name.removeprefix("rank ") if is_fork else child.environ()["RANK"])] = child
        return found

    def part(self, module: str) -> psutil.Process | None:
        """The process that runs this module or script: the launcher, or a child of it."""
        with suppress(psutil.Error):
            for process in (self.launcher, *self.launcher.children()):
                with suppress(psutil.Error):
                    if any(Path(argument).name.rpartition(".")[2] == module for argument in process.cmdline()):
                        return process
        return None

    def submit(self, kind: Kind) -> None:
        """Ask for something, if there is a run to ask."""
        with suppress(StoreUnavailableError), closing(self.store()) as store:
            if run := store.runs.latest():
                store.commands.submit(run.id, kind, {}, actor="bench", source="api")

    def commands(self) -> list[Command]:
        """All commands of the run. Raises `StoreUnavailableError`."""
        with closing(self.store()) as store:
            run = store.runs.latest()
            return [] if run is None else store.commands.find(run.id)

    def store(self) -> Store:
        """Open the store of the run."""
        return Store(self.options.store_url or self.root / "leitstand.db")

    def finish(self) -> None:
        """Let the training come to its end."""
        await_(lambda: not self.keep_alive(), "the end of the training", seconds=5 * PATIENCE_SECONDS)

    def end(self) -> None:
        """Kill whatever still runs."""
        for process in [self.launcher, *children_of(self.launcher)]:
            with suppress(psutil.NoSuchProcess):
                process.kill()


def torchrun_command(ranks: int, restarts: int) -> list[str]:
    """The ranks alone."""
    launcher = ["service.launcher.torchrun", "--standalone", f"--nproc-per-node={ranks}", f"--max-restarts={restarts}"]
    return [sys.executable, "-m", *launcher, "-m", "ddp", "--resume"]


def up_command(ranks: int, restarts: int) -> list[str]:
    """The ranks and the API, as people start them."""
    leitstand = str(Path(sys.executable).with_name("leitstand"))
    return [leitstand, "up", "--leave", f"--ranks={ranks}", f"--restarts={restarts}"]


def await_(condition: Callable[[], object], what: str, seconds: float = PATIENCE_SECONDS) -> None:
    """Wait until a condition holds. Raises `TimeoutError`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not come within {seconds:.0f} s")
        time.sleep(0.01)


def children_of(process: psutil.Process) -> list[psutil.Process]:
    """Everything below a process."""
    with suppress(psutil.NoSuchProcess):
        children: list[psutil.Process] = process.children(recursive=True)
        return children
    return []
