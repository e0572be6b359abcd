"""Trainers reduced to what they report: rank 0's recorder, registered as a start does it."""

from pathlib import Path
from typing import Any

from ddp.control.command_poller import CommandPoller
from ddp.control.command_queue import CommandQueue
from ddp.recording.recorder import Recorder
from ddp.recording.registration import RunRegistration, register_run
from ddp.validation.record_values import NOT_YET_VALIDATED
from service.config.settings import RunConfig
from service.run.directory import RunDirectory
from service.run.identity import RunIdentity
from service.run.lock import RunLock
from service.run.record import KEYS
from service.run.run_folder import RunFolder
from service.run.state import RunState
from service.store.store import SeriesRow, Store

RUN = "run0"


def record(step: int, **values: Any) -> dict[str, Any]:
    return {**dict.fromkeys(KEYS), **NOT_YET_VALIDATED, "step_current": step, "run_id": RUN, **values}


class Reporting:
    """A trainer that reports to the store at a location; its run directory is that of the file, or `root`."""

    def __init__(self, location: Path | str, root: Path, step: int = 0, lock: RunLock | None = None) -> None:
        root.mkdir(exist_ok=True)
        config = RunConfig(data_root=root, store_url=location if isinstance(location, str) else "")
        self.directory, self.command_queue = RunDirectory(root), CommandQueue()
        self.directory.write_identity(RunIdentity(RUN))
        self.registration = RunRegistration(RUN, {"SCALE": 3}, step)
        self.store, self.previous = register_run(config, self.registration)
        commands = CommandPoller(self.store, RUN, self.command_queue, self.registration.owner.token)
        self.recorder = Recorder(self.store, self.directory, RUN, commands, registration=self.registration)
        self.recorder.watch_directory(lock, RunFolder(self.directory, RunIdentity(RUN)), lambda _: None)
        if self.previous is None:
            self.recorder.register_when_reachable(self.registration.in_store)
        self.recorder.mark_step(step)
        self.is_closed = False

    def start(self) -> "Reporting":
        self.recorder.start()
        self.recorder.set_state(RunState.RUNNING)
        return self

    def log(self, *steps: int) -> None:
        for step in steps:
            self.recorder.mark_step(step)
            self.recorder.log_point(step, {"loss": 1.0 / step}, record(step))

    def save(self, step: int, **values: Any) -> None:
        self.recorder.mark_step(step)
        self.recorder.record(record(step, **values), {"quality_ki_value": 0.5}, [], [])

    def close(self, state: RunState = RunState.STOPPED) -> None:
        if not self.is_closed:
            self.is_closed = True
            self.recorder.close(state)


def steps(store: Store) -> list[int]:
    return [row.step for row in store.series.find(RUN)]


def events(store: Store, kind: str) -> list[dict[str, Any]]:
    return [dict(event.details) for event in store.events.find(RUN, 0, 10_000) if event.kind == kind]


def point(step: int) -> SeriesRow:
    return SeriesRow(step, 1.0, {"loss": 1.0})
