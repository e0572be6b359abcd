"""Writes the log points of `history.py` into the stores of MLflow and TensorBoard; run with their Python.

    PEERS/bin/python -m bench.reading.fill_peers FOLDER POINTS

MLflow gets a SQLite store, as its server has by default, TensorBoard one event file. Prints MLflow's run id.
"""

import sys
import time
from pathlib import Path

from mlflow.entities import Metric
from mlflow.tracking import MlflowClient
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from bench.reading.fill_values import NAMES, value

BATCH = 1000


def fill_mlflow(folder: Path, points: int) -> str:
    """Log everything in batches of a thousand, the most that MLflow takes."""
    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    experiment = client.create_experiment("bench", artifact_location=(folder / "artifacts").as_uri())
    run_id: str = client.create_run(experiment).info.run_id
    now = int(time.time() * 1000)
    metrics = (
        Metric(name, value(at, step), now, step) for step in range(1, points + 1) for at, name in enumerate(NAMES)
    )
    while batch := [metric for _, metric in zip(range(BATCH), metrics, strict=False)]:
        client.log_batch(run_id, metrics=batch)
    return run_id


def fill_tensorboard(folder: Path, points: int) -> None:
    """One event per step with all values."""
    writer = EventFileWriter(str(folder / "tensorboard"))
    for step in range(1, points + 1):
        values = [Summary.Value(tag=name, simple_value=value(at, step)) for at, name in enumerate(NAMES)]
        writer.add_event(Event(wall_time=time.time(), step=step, summary=Summary(value=values)))
    writer.close()


if __name__ == "__main__":
    target, count = Path(sys.argv[1]), int(sys.argv[2])
    fill_tensorboard(target, count)
    sys.stdout.write(fill_mlflow(target, count) + "\n")
