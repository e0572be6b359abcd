"""A folder of run directories: a few runs with curves and records, or very many that have ended."""

import json
import math
import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path

from service.config.loader import plain_values
from service.config.settings import RunConfig
from service.run.record import encode_record, record_name
from service.run.state import RunState
from service.store.store import SeriesRow, Store
from tests.api.harness.example_run import RECORD_STEPS, Record, curves, example_record

HOUR = 3600.0
RUNS = {
    "aaaaaaaaaaaa": ("deeper network", RunState.RUNNING, 0.74, {"MAX_LR": 1e-4}),
    "bbbbbbbbbbbb": ("baseline", RunState.FINISHED, 0.70, {"MAX_LR": 2e-4}),
    "cccccccccccc": (None, RunState.FAILED, 0.66, {"MAX_LR": 2e-4, "N_FEATS": 32}),
    "dddddddddddd": ("night run", RunState.STOPPED, 0.72, {"MAX_LR": 1e-4}),
}
"""Id, name, state, final quality and settings of the runs of a small room, the newest first."""


def write_room(folder: Path) -> None:
    """Write RUNS, each in a directory of its own."""
    for number, run_id in enumerate(RUNS):
        _write_run(folder / run_id, run_id, time.time() - HOUR * (1 + 10 * number))


def _write_run(root: Path, run_id: str, started_at: float) -> None:
    name, state, quality, settings = RUNS[run_id]
    store = _new_store(root, run_id, started_at, settings)
    records = {step: _record(run_id, step, quality, started_at) for step in range(100, 4201, 100)}
    rows = [SeriesRow(step, record["last_update_time"], curves(record)) for step, record in records.items()]
    store.series.add(run_id, rows)
    for step in RECORD_STEPS:
        content = encode_record(records[step])
        (root / record_name(step)).write_bytes(content)
    if name is not None:
        store.runs.describe(run_id, {"name": name}, actor="eva", source="web")
    _report(store, run_id, state, records[4200], started_at)
    store.close()


def write_ended_runs(folder: Path, count: int) -> None:
    """Write `count` runs that have ended, the first of which started last; one is made, the others are copies."""
    first = folder / "run-0000"
    now = time.time()
    store = _new_store(first, "run-0000", now, {})
    record = _record("run-0000", 4200, 0.7, now)
    store.series.add("run-0000", [SeriesRow(step, now, {"quality_ki_value": 0.5 + step / 9000}) for step in range(5)])
    _report(store, "run-0000", RunState.FINISHED, record, now)
    store.close()
    for number in range(1, count):
        _copy_run(first, folder / f"run-{number:04d}", now - HOUR * number)


def _copy_run(source: Path, target: Path, started_at: float) -> None:
    shutil.copytree(source, target)
    (target / "run.json").write_text(json.dumps({"run_id": target.name}))
    with closing(sqlite3.connect(target / "leitstand.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute("UPDATE runs SET id = ?, started_at = ?, heartbeat_at = ?", (target.name, *2 * [started_at]))
        connection.execute("UPDATE series SET run_id = ?", (target.name,))


def _new_store(root: Path, run_id: str, started_at: float, settings: dict[str, float]) -> Store:
    root.mkdir(parents=True)
    config = {**plain_values(RunConfig(data_root=Path("runs/one"))), **settings}
    (root / "run.json").write_text(json.dumps({"run_id": run_id}))
    store = Store(root / "leitstand.db", create=True)
    store.open_run(run_id, config, started_at)
    return store


def _report(store: Store, run_id: str, state: RunState, record: Record, started_at: float) -> None:
    at = started_at + HOUR if state.has_ended else time.time() + 10 * HOUR
    values = {"heartbeat_at": at, "progress_at": at, "state": state.value, "snapshot": record}
    store.runs.update(run_id, started_at=started_at, step=record["step_current"], **values)


def _record(run_id: str, step: int, quality: float, started_at: float) -> Record:
    reached = quality - 0.2 * math.exp(-step / 1000)
    scores = {"quality_ki_value": reached, "best_quality_ever": reached, "psnr_ki_db": 27 + 12 * reached}
    return example_record(step, started_at + 0.5 * step, run_id=run_id, **scores)
