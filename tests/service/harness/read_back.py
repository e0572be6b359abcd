"""What other trackers have of a run that was pushed to them, read by their own libraries or from their own files."""

import json
import os
import sqlite3
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from service.cli.stats.exchange.event_scalars import event_files, read_scalars

TIME = "leitstand/unix_seconds"
BLOCK_BYTES, HEAD_BYTES = 32 * 1024, 7
"""Of W&B's files, which are logs as LevelDB writes them."""
MORE_FOLLOWS = {2, 3}
"""Types of the parts of a record that are not its last."""
DEADLINE_SECONDS = 60


@dataclass
class ReadBack:
    """Numbers by step and tag, Unix times by step, and all other text that a tracker has of a run."""

    numbers: dict[int, dict[str, float]] = field(default_factory=dict)
    times: dict[int, float] = field(default_factory=dict)
    text: str = ""

    def add(self, step: int, row: dict[str, Any]) -> None:
        """Take a row of numbers, with its time among them."""
        self.times[step] = row.pop(TIME)
        self.numbers[step] = row


def place(tracker: str, folder: Path) -> str:
    """What `--where` says for a tracker that keeps its files below a folder."""
    return folder.as_uri() if tracker == "mlflow" else str(folder)


def read_back(tracker: str, folder: Path) -> ReadBack:
    """Read what a tracker has of the only run below a folder."""
    return {"mlflow": _mlflow, "tensorboard": _tensorboard, "wandb": _wandb, "trackio": _trackio}[tracker](folder)


def _mlflow(folder: Path) -> ReadBack:
    import mlflow

    client = mlflow.MlflowClient(tracking_uri=folder.as_uri())
    experiment = client.get_experiment_by_name("leitstand")
    (run,) = client.search_runs([experiment.experiment_id])
    found = ReadBack(text=f"{run.info.run_name} {run.data.tags} {run.data.params}")
    for tag in run.data.metrics:
        for metric in client.get_metric_history(run.info.run_id, tag):
            found.numbers.setdefault(metric.step, {})[tag] = metric.value
            found.times[metric.step] = metric.timestamp / 1000
    return found


def _tensorboard(folder: Path) -> ReadBack:
    (run,) = folder.iterdir()
    scalars = read_scalars(run)
    found = ReadBack(times=scalars.times)
    for tag, by_step in scalars.values.items():
        for step, value in by_step.items():
            found.numbers.setdefault(step, {})[tag] = value
    found.text = "".join(path.read_bytes().decode("latin-1") for path in event_files(run))
    return found


def _trackio(folder: Path) -> ReadBack:
    found = ReadBack()
    connection = sqlite3.connect(folder / "leitstand.db")
    for step, content in connection.execute("SELECT step, metrics FROM metrics"):
        found.add(step, json.loads(content))
    names = connection.execute("SELECT DISTINCT run_name FROM metrics").fetchall()
    found.text = f"{names} {connection.execute('SELECT config FROM configs').fetchall()}"
    connection.close()
    return found


def _wandb(folder: Path) -> ReadBack:
    from wandb.proto.wandb_internal_pb2 import Record

    (path,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    deadline = time.monotonic() + DEADLINE_SECONDS  # a process of its own writes the file, a moment longer
    records: list[Any] = []
    while not any(record.WhichOneof("record_type") == "exit" for record in records):
        assert time.monotonic() < deadline
        os.sched_yield()
        records = [Record.FromString(content) for content in _logged_in(path)]
    found = ReadBack()
    for record in records:
        if record.WhichOneof("record_type") == "history":
            row = {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
            found.add(row["_step"], row)
        elif record.WhichOneof("record_type") == "run":
            found.text += str(record.run)
    return found


def _logged_in(path: Path) -> Iterator[bytes]:
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
