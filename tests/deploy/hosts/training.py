"""One training on several machines, each with files of its own, started with the command that the manual gives."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from service.commands import Command, Kind
from service.store.store import RunRow, Store, StoreUnavailableError
from tests.ddp.harness.launching import settings, write_pair
from tests.deploy.hosts.machines import Machine

PORT = 29400
PATIENCE_SECONDS = 180.0
LEITSTAND = (sys.executable, "-c", "import sys; from service.cli import main; sys.exit(main())")
STARTED = re.compile(r"(?:Starting|Resuming) at step (\d+): (\d+) ranks?")


def write_patches(folder: Path) -> Path:
    """Write a tiny patch set; returns its folder."""
    for index in range(8):
        write_pair(folder / "Patches", f"train_{index}", 36, 36, seed=index)
    for index in range(2):
        write_pair(folder / "Val", f"val_{index}", 36, 36, seed=100 + index)
    return folder


class HostsTraining:
    """A training whose first machine keeps torchrun's store, and the run."""

    def __init__(
        self,
        folder: Path,
        patches: Path,
        machines: list[Machine],
        nnodes: str,
        *,
        store: Store | None = None,
        **values: object,
    ) -> None:
        """Without a `store`, to which `environment` leads the machines, the run directory holds it."""
        self._folder, self._patches, self.machines, self._nnodes = folder, patches, machines, nnodes
        self._values = values
        self.root = folder / f"run-{machines[0].name}"
        self.store = store or Store(self.root / "leitstand.db")
        self.environment: dict[str, str] = {}
        self.launchers: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, machine: Machine) -> None:
        """Start its part on a machine, or start it again."""
        command = machine.command(
            *LEITSTAND, "train", "--ranks=1", "--resume", f"--nnodes={self._nnodes}",
            f"--rdzv-endpoint={self.machines[0].address}:{PORT}",
            *settings(DATA_ROOT=self.root_of(machine), DATASET_ROOT=self._patches, **self._values),
        )  # fmt: skip
        environment = {**os.environ, "OMP_NUM_THREADS": "1", **self.environment}
        with self._output_path(machine).open("ab") as output:
            self.launchers[machine.name] = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment
            )

    def start_all(self) -> None:
        """Start it on all machines."""
        for machine in self.machines:
            self.start(machine)

    def root_of(self, machine: Machine) -> Path:
        """The run directory that a machine would use."""
        return self._folder / f"run-{machine.name}"

    def rank(self, machine: Machine) -> psutil.Process | None:
        """The rank that runs on a machine."""
        found = [child for child in psutil.Process(self.launchers[machine.name].pid).children() if _is_rank(child)]
        return found[0] if found else None

    def outputs(self) -> Mapping[str, str]:
        """What each machine printed so far, over all its starts."""
        return {machine.name: self._output_path(machine).read_text() for machine in self.machines}

    def starts(self) -> list[tuple[int, int]]:
        """Step and number of ranks of each start of the ranks."""
        return [(int(step), int(ranks)) for step, ranks in STARTED.findall(self.outputs()[self.machines[0].name])]

    def row(self) -> RunRow | None:
        """The run as the store knows it."""
        try:
            return self.store.runs.latest()
        except StoreUnavailableError:
            return None

    def step(self) -> int:
        """The last step that was reported."""
        row = self.row()
        return -1 if row is None else row.step

    def submit(self, kind: Kind, arguments: Mapping[str, Any] | None = None, **options: Any) -> Command:
        """Queue a command."""
        row = self.row()
        assert row is not None
        return self.store.commands.submit(row.id, kind, arguments or {}, actor="tester", source="api", **options)

    def is_ended(self, command: Command) -> bool:
        """Whether a command has ended somehow."""
        found = self.store.commands.get(command.id)
        return found is not None and found.state.is_final

    def wait_for(self, condition: Callable[[], object], what: str, seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until a condition holds, or fail with all that the machines printed."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"{what} did not come within {seconds:.0f} s: {self.outputs()}"
            time.sleep(0.05)

    def end(self, seconds: float = PATIENCE_SECONDS) -> dict[str, int]:
        """Wait until all launchers have ended; returns their exit codes."""
        self.wait_for(lambda: all(each.poll() is not None for each in self.launchers.values()), "the end", seconds)
        return {name: launcher.wait() for name, launcher in self.launchers.items()}

    def close(self) -> None:
        """Kill what still runs."""
        for launcher in self.launchers.values():
            with launcher:
                launcher.send_signal(signal.SIGKILL)
        self.store.close()

    def _output_path(self, machine: Machine) -> Path:
        return self._folder / f"{machine.name}.log"


@contextmanager
def training_on(
    machines: list[Machine], folder: Path, patches: Path, nnodes: str, store: Store | None = None, **values: object
) -> Iterator[HostsTraining]:
    """A training on machines, still to be started; what is left of it is killed."""
    training = HostsTraining(folder, patches, machines, nnodes, store=store, **values)
    try:
        yield training
    finally:
        training.close()


def _is_rank(process: psutil.Process) -> bool:
    try:
        return process.name().startswith("rank ") or "RANK" in process.environ()  # a fork has a name of its own
    except psutil.Error:
        return False
