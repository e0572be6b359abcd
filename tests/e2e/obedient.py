"""A trainer's side of a run without a training: sees what is asked, does nothing for it, and answers."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from service.commands import Command, CommandState, Kind
from service.run.record import record_name
from service.store.change_poll import ChangePoller
from service.store.store import Store
from tests.api.conftest import keep_alive
from tests.api.harness.example_run import LAST_STEP, RUN_ID, curves, example_record, save_record, write_run

POLL_SECONDS = 0.02


@contextmanager
def obeying(root: Path) -> Iterator[Store]:
    """A living run below `root` that carries out all commands, each at a step of its own; yields its store."""
    store = write_run(root)
    keep_alive(store)
    ended = threading.Event()
    trainer = threading.Thread(target=_obey, args=(root, ended))
    trainer.start()
    try:
        yield store
    finally:
        ended.set()
        trainer.join()
        store.close()


def _obey(root: Path, ended: threading.Event) -> None:
    store = Store(root / "leitstand.db", keep_open=True)
    changes = ChangePoller(store, RUN_ID)
    step = LAST_STEP
    while not ended.wait(POLL_SECONDS):
        if not changes.is_due(time.monotonic()):
            continue
        for command in store.commands.find(RUN_ID, CommandState.QUEUED):
            if command.apply_at_step is None and store.commands.begin(command.id):
                step += 1
                result = _carry_out(root, store, command, step)
                store.commands.finish(command.id, CommandState.DONE, step=step, result=result)
    store.close()


def _carry_out(root: Path, store: Store, command: Command, step: int) -> dict[str, Any]:
    if command.kind is not Kind.VALIDATE:
        return {}
    record = example_record(step, time.time(), trigger="manual", command_id=command.id)
    save_record(root, store, record)
    store.runs.update(RUN_ID, step=step, snapshot=record)
    return {"record": record_name(step), "values": len(curves(record))}
