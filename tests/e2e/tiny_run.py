"""A tiny training on two real ranks with the API before it, for tests that steer it hard."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from service.client.client import ApiError, Client
from service.store.store import Store
from tests.ddp.harness.launching import settings, torchrun
from tests.harness.descendants import kill_family
from tests.harness.forked import Process, StartPython

Eventually = Callable[..., None]
RARE = 10**6


class TinyRun:
    """Two ranks at work on a tiny patch set and the API before them."""

    def __init__(self, folder: Path, start_python: StartPython, eventually: Eventually) -> None:
        self.root, self._folder = folder / "run", folder
        self._start_python, self._eventually = start_python, eventually
        self.validation_gate = folder / "validation gate"
        self.processes: list[Process] = []
        self.url = ""

    def start(self, *flags: str, **values: object) -> Process:
        """Start the ranks; their validations wait for the gate."""
        rhythm = {"MAX_STEPS": RARE, "CHECKPOINT_EVERY": 20, "VAL_STEP_EVERY": 25, "LOG_EVERY": 5, "PATCH_SIZE": 8}
        chosen = {"DATASET_ROOT": self._folder, "DATA_ROOT": self.root, **rhythm, **values}
        gated = settings(WORKLOAD="tests.ddp.harness.gated_workload", KEEP_CHECKPOINTS=0, **chosen)
        environment = {"OMP_NUM_THREADS": "1", "TEST_VALIDATION_GATE": str(self.validation_gate)}
        with self._output_path(len(self.processes)).open("w") as file:
            process = self._start_python(
                torchrun(2, "-m", "ddp", *flags, *gated), stdout=file, stderr=subprocess.STDOUT,
                env={**os.environ, **environment}, start_new_session=True,
            )  # fmt: skip
        self.processes.append(process)
        return process

    def output(self) -> str:
        return "\n".join(self._output_path(number).read_text() for number in range(len(self.processes)))

    def _output_path(self, number: int) -> Path:
        return self._folder / f"output {number}.txt"

    def client(self) -> Client:
        return Client(self.url, actor="tester")

    def wait_for_step(self, client: Client, step: int) -> None:
        """Wait until the ranks that were started last are at work and have made this step."""

        def is_there() -> bool:
            assert self.processes[-1].poll() is None, self.output()
            try:
                state = client.state()
            except ApiError:  # no store yet
                return False
            return bool(state["run_state"] == "running" and state["step_live"] >= step)

        self._eventually(is_there, seconds=60, what=f"step {step}")

    def kill_all(self) -> None:
        """No rank gets a chance to write or say anything more."""
        kill_family(self.processes[-1])

    def store(self) -> Store:
        return Store(self.root / "leitstand.db")

    def events(self, kind: str) -> list[dict[str, Any]]:
        journal = self.store().events.find(self._run_id(), 0, limit=100_000)
        return [{"step": event.step, "details": event.details} for event in journal if event.kind == kind]

    def command_ids(self) -> set[str]:
        return {command.id for command in self.store().commands.find(self._run_id())}

    def _run_id(self) -> str:
        run = self.store().runs.latest()
        assert run is not None
        return run.id

    def records(self) -> list[tuple[Path, dict[str, Any]]]:
        """All records there are, also those that a rollback left behind."""
        paths = [*self.root.glob("Statistik_*.json"), *self.root.glob("archive/*/Statistik_*.json")]
        return [(path, json.loads(path.read_text())) for path in paths]
