"""`leitstand stats push` to trackers that are no test dependency: run where their libraries are installed."""

import json
import sqlite3
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from service.cli import exit_code
from service.run.records.tables.tags import TRAINING_TAGS, VALIDATION_TAGS
from tests.service.harness.pushed_records import a_full_record, save_full_run

STEPS = (500, 1000, 1500)
BLOCK_BYTES, HEAD_BYTES = 32 * 1024, 7
"""Of W&B's files, which are logs as LevelDB writes them."""
MORE_FOLLOWS = {2, 3}
"""Types of the parts of a record that are not its last."""


def logged_in(path: Path) -> Iterator[bytes]:
    """The records in a file of W&B."""
    content = path.read_bytes()
    position, record = HEAD_BYTES, b""
    while position + HEAD_BYTES <= len(content):
        left = BLOCK_BYTES - position % BLOCK_BYTES
        if left < HEAD_BYTES:
            position += left
            continue
        length, kind = struct.unpack("<HB", content[position + 4 : position + HEAD_BYTES])
        record += content[position + HEAD_BYTES : position + HEAD_BYTES + length]
        position += HEAD_BYTES + length
        if kind not in MORE_FOLLOWS:
            yield record
            record = b""


def values_of(items: Any) -> dict[str, Any]:
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


def test_weights_and_biases_gets_every_number_and_the_settings_in_an_offline_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb")
    from wandb.proto.wandb_internal_pb2 import Record

    run = save_full_run(tmp_path / "demo", STEPS)
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    assert exit_code(["stats", "push", str(run), "--to", "wandb", "--where", str(tmp_path / "out")]) == 0
    (path,) = (tmp_path / "out").glob("wandb/offline-run-*/run-r1.wandb")
    records = [Record.FromString(content) for content in logged_in(path)]

    history = [values_of(record.history.item) for record in records if record.WhichOneof("record_type") == "history"]
    assert [row["_step"] for row in history] == list(STEPS)
    for row, step in zip(history, STEPS, strict=True):
        for key, tag in {**TRAINING_TAGS, **VALIDATION_TAGS}.items():
            assert row[tag] == a_full_record(step)[key], key
        assert row["leitstand/unix_seconds"] == 1_000_000_000 + step
    (told,) = (record.run for record in records if record.WhichOneof("record_type") == "run")
    assert (told.display_name, told.project, told.run_id) == ("city", "leitstand", "r1")
    assert told.notes == "first try\nrollback: from step 1200 to step_0001000 (command of anna), at step 1000"
    assert values_of(told.config.update)["N_FEATS"] == "96"


def test_trackio_gets_every_number_and_the_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "out"))
    for name in [name for name in sys.modules if name.partition(".")[0] == "trackio"]:
        monkeypatch.delitem(sys.modules, name)
    pytest.importorskip("trackio")
    run = save_full_run(tmp_path / "demo", STEPS)

    assert exit_code(["stats", "push", str(run), "--to", "trackio", "--where", str(tmp_path / "out")]) == 0
    with sqlite3.connect(tmp_path / "out" / "leitstand.db") as connection:
        rows = connection.execute("SELECT step, metrics FROM metrics ORDER BY step").fetchall()
        ((config,),) = connection.execute("SELECT config FROM configs").fetchall()
    connection.close()
    assert [step for step, _ in rows] == list(STEPS)
    for step, content in rows:
        row = json.loads(content)
        for key, tag in {**TRAINING_TAGS, **VALIDATION_TAGS}.items():
            assert row[tag] == a_full_record(step)[key], key
    told = json.loads(config)
    assert told["N_FEATS"] == "96"
    assert told["leitstand.note"] == "first try"
    assert told["leitstand.rollbacks"] == "from step 1200 to step_0001000 (command of anna), at step 1000"
