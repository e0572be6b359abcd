"""A running training and the store through which it is steered, as the API and the keyboard do."""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil

from service.commands import Command, CommandState, Kind
from service.run.state import RunState
from service.store.store import RunRow, Store, StoreUnavailableError
from tests.harness.descendants import descendants
from tests.harness.forked import Process

Eventually = Callable[..., None]


def _rank(process: psutil.Process) -> int | None:
    """A fork is named after its rank (`tests/harness/fork_server.py`), a new interpreter has it in its environment."""
    try:
        if os.getsid(process.pid) != process.pid:
            return None
        name = process.name()
        return int(name.removeprefix("rank ") if name.startswith("rank ") else process.environ()["RANK"])
    except (ProcessLookupError, psutil.NoSuchProcess, KeyError):  # it has ended meanwhile, or has no name yet
        return None


class Training:
    """One start of a training."""

    def __init__(self, process: Process, root: Path, output: Path, eventually: Eventually) -> None:
        self.process, self.root, self._output, self._eventually = process, root, output, eventually
        self.store = Store(root / "leitstand.db")

    @property
    def output(self) -> str:
        """What the ranks printed so far."""
        return self._output.read_text()

    def end(self, seconds: float = 90) -> int:
        """Wait for the end; returns the exit code."""
        return self.process.wait(timeout=seconds)

    def ranks(self) -> dict[int, psutil.Process]:
        """{rank: process}; each leads a session, unlike its loaders."""
        below = {_rank(child): child for child in descendants(self.process.pid)}
        return {number: child for number, child in below.items() if number is not None}

    def run(self) -> RunRow | None:
        try:
            return self.store.runs.latest()
        except StoreUnavailableError:
            return None

    def is_at(self, step: int) -> bool:
        run = self.run()
        assert self.process.poll() is None, f"the training ended early:\n{self.output}"
        return run is not None and run.state is not RunState.STARTING and run.step >= step

    def wait_for_step(self, step: int) -> None:
        self._eventually(lambda: self.is_at(step), seconds=60, what=f"step {step}")

    def submit(self, kind: Kind, arguments: Mapping[str, Any] | None = None, **options: Any) -> str:
        """Queue a command; returns its id."""
        run = self.run()
        assert run is not None
        return self.store.commands.submit(run.id, kind, arguments or {}, actor="tester", source="api", **options).id

    def ask(self, *kinds: Kind) -> list[Command]:
        """Queue commands and wait for their ends."""
        return [self.ended(command_id) for command_id in [self.submit(kind) for kind in kinds]]

    def command(self, command_id: str) -> Command:
        found = self.store.commands.get(command_id)
        assert found is not None
        return found

    def ended(self, command_id: str) -> Command:
        self._eventually(
            lambda: self.command(command_id).state.is_final, seconds=30, what=f"the end of command {command_id}"
        )
        return self.command(command_id)

    def has_begun(self, command_id: str) -> bool:
        return self.command(command_id).state is not CommandState.QUEUED

    def record(self, step: int) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.root / f"Statistik_{step}.json").read_text())
        return found

    def history(self) -> list[dict[str, Any]]:
        """The events of the run."""
        run = self.run()
        assert run is not None
        return [asdict(event) for event in self.store.events.find(run.id, 0, 10_000)]

    def events(self, kind: str) -> list[dict[str, Any]]:
        """The events of one kind."""
        return [event for event in self.history() if event["kind"] == kind]
