"""A run whose records hold every number that other trackers can take, with a name, a note and a rollback."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from service.run.record import Record
from service.run.records.tables.tags import TRAINING_TAGS, VALIDATION_TAGS
from service.store.store import Store
from tests.service.harness.saved_records import a_record, save_record

ACTIVITY = {"Backward 1": 0.4, "Forward 1": 1.6}
"""Mean outputs of two layers."""


def a_full_record(step: int, **values: Any) -> Record:
    """A record in which every number is another, and none is missing."""
    plain = a_record(1)
    numbers = {
        key: round(0.001 * index + step / 1e6, 6)
        for index, key in enumerate({**TRAINING_TAGS, **VALIDATION_TAGS})
        if isinstance(plain[key], float) or plain[key] is None
    }
    ranks = [
        {"rank": rank, "host": "a", "device": f"cuda:{rank}", "step_duration": 0.5, "data_wait": 0.01, "memory": 11.0,
         "own_duration": 0.4 + rank} for rank in range(2)
    ]  # fmt: skip
    own = {"samples_seen": 8 * step, "layer_activity_raw_map": ACTIVITY, "per_rank": ranks, "run_id": "r1"}
    return a_record(step, **{**numbers, **own, **values})


def save_full_run(root: Path, steps: Iterable[int]) -> Path:
    """Write a run directory with a record for each step, settings, and a store that knows of a rollback."""
    root.mkdir(parents=True, exist_ok=True)
    for step in steps:
        save_record(root, step, **a_full_record(step))
    (root / "config.json").write_text(json.dumps({"settings": {"N_FEATS": 96}, "origins": {"N_FEATS": "file"}}))
    store = Store(root / "leitstand.db", create=True, keep_open=True)
    store.open_run("r1", {})
    store.runs.describe("r1", {"name": "city", "note": "first try"}, actor="anna", source="cli")
    details = {"from_step": 1200, "checkpoint": "step_0001000", "reason": "command of anna"}
    store.events.add("r1", 1000, "rollback", details)
    store.close()
    return root
