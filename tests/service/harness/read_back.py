"""What other trackers have of a run that was pushed to them, read by their own libraries or from their own files."""

import json
import os
import sqlite3
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
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
        """Take a row of numbers, with its time among them; a step may have several."""
        self.times[step] = row.pop(TIME)
        self.numbers.setdefault(step, {}).update(row)


def place(tracker: str, folder: Path) -> str:
    """What `--where` says for a tracker that keeps its files below a folder."""
    return folder.as_uri() if tracker == "mlflow" else str(folder)


def read_back(tracker: str, folder: Path) -> ReadBack:
    """Read what a tracker has of the only run below a folder."""
    (found,) = read_runs(tracker, folder).values()
    return found


def read_runs(tracker: str, folder: Path) -> dict[str, ReadBack]:
    """Read what a tracker has of each run below a folder, by its name there."""
    readers = {"mlflow": _mlflow, "tensorboard": _tensorboard, "wandb": _wandb, "trackio": _trackio, "aim": _aim}
    runs = list(readers[tracker](folder))
    assert len(dict(runs)) == len(runs), f"{tracker} has several runs of one name"
    return dict(runs)


def _mlflow(folder: Path) -> Iterator[tuple[str, ReadBack]]:
    import mlflow

    client = mlflow.MlflowClient(tracking_uri=folder.as_uri())
    experiment = client.get_experiment_by_name("leitstand")
    for run in client.search_runs([experiment.experiment_id]):
        found = ReadBack(text=f"{run.info.run_name} {run.info.status} {run.data.tags} {run.data.params}")
        for tag in run.data.metrics:
            for metric in client.get_metric_history(run.info.run_id, tag):
                found.numbers.setdefault(metric.step, {})[tag] = metric.value
                found.times[metric.step] = metric.timestamp / 1000
        yield run.info.run_name, found


def _tensorboard(folder: Path) -> Iterator[tuple[str, ReadBack]]:
    for run in folder.iterdir():
        scalars = read_scalars(run)
        found = ReadBack(times=scalars.times)
        for tag, by_step in scalars.values.items():
            for step, value in by_step.items():
                found.numbers.setdefault(step, {})[tag] = value
        found.text = "".join(path.read_bytes().decode("latin-1") for path in event_files(run))
        yield run.name, found


def _trackio(folder: Path) -> Iterator[tuple[str, ReadBack]]:
    with closing(sqlite3.connect(folder / "leitstand.db")) as connection:
        runs: dict[str, ReadBack] = {}
        for name, step, content in connection.execute("SELECT run_name, step, metrics FROM metrics ORDER BY id"):
            runs.setdefault(name, ReadBack(text=name)).add(step, json.loads(content))
        for name, config in connection.execute("SELECT run_name, config FROM configs"):
            runs[name].text += f" {config}"
    yield from runs.items()


def _aim(folder: Path) -> Iterator[tuple[str, ReadBack]]:
    """A process reads them after Aim's own command has indexed them: without that, Aim does not show their values."""
    index = "from aim.cli.cli import cli_entry_point; cli_entry_point()"
    subprocess.run(
        [sys.executable, "-c", index, "storage", "--repo", str(folder), "reindex", "-y"],
        check=True,
        capture_output=True,
    )
    shown = subprocess.run([sys.executable, "-c", _SHOW_AIM, str(folder)], check=True, capture_output=True, text=True)
    for name, text, points in json.loads(shown.stdout):
        found = ReadBack(text=text)
        for tag, step, value in points:
            if tag == TIME:
                found.times[step] = value
            else:
                found.numbers.setdefault(step, {})[tag] = value
        yield name, found


_SHOW_AIM = """
import aim, json, sys
runs = []
for run in aim.Repo.from_path(sys.argv[1]).iter_runs():
    points = [(m.name, step, values[0]) for m in run.metrics() for step, values in m.data.items()]
    runs.append((run.name, f"{run.name} {run.description} {run['leitstand']} {run['settings']} {run.tags}", points))
print(json.dumps(runs))
"""


def _wandb(folder: Path) -> Iterator[tuple[str, ReadBack]]:
    from wandb.proto.wandb_internal_pb2 import Record

    for path in folder.glob("wandb/offline-run-*/run-*.wandb"):
        deadline = time.monotonic() + DEADLINE_SECONDS  # a process of its own writes the file, a moment longer
        records: list[Any] = []
        while not any(record.WhichOneof("record_type") == "exit" for record in records):
            assert time.monotonic() < deadline
            os.sched_yield()
            records = [Record.FromString(content) for content in _logged_in(path)]
        found, name = ReadBack(), ""
        for record in records:
            if record.WhichOneof("record_type") == "history":
                row = {
                    item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item
                }
                found.add(row["_step"], row)
            elif record.WhichOneof("record_type") == "run":
                found.text += str(record.run)
                name = record.run.display_name
        yield name, found


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
