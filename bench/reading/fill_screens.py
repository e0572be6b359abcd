"""Writes a long run for `screens.py` into the stores of TensorBoard or Aim; run with their Python.

    PEER/bin/python -m bench.reading.fill_screens tensorboard|aim FOLDER POINTS

TensorBoard gets the four curves that our page draws at first, Aim one of them, because it takes a call for each value.
Prints where the run's page is, below the server's address.
"""

import sys
import time
from pathlib import Path

from bench.reading.fill_values import value

CURVES = ("total_loss_value", "validation_loss_value", "quality_ki_value", "quality_lr_value")


def fill_tensorboard(folder: Path, points: int) -> str:
    """One event per step with all curves."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    writer = EventFileWriter(str(folder))
    for step in range(1, points + 1):
        values = [Summary.Value(tag=name, simple_value=value(at, step)) for at, name in enumerate(CURVES)]
        writer.add_event(Event(wall_time=time.time(), step=step, summary=Summary(value=values)))
    writer.close()
    return "/#timeseries"


def fill_aim(folder: Path, points: int) -> str:
    """One curve."""
    from aim import Run

    run = Run(repo=str(folder), system_tracking_interval=None, log_system_params=False, capture_terminal_logs=False)
    for step in range(1, points + 1):
        run.track(value(0, step), name=CURVES[0], step=step)
    run.close()
    return f"/runs/{run.hash}/metrics"


if __name__ == "__main__":
    peer, target, count = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    target.mkdir(parents=True, exist_ok=True)
    fill = {"tensorboard": fill_tensorboard, "aim": fill_aim}[peer]
    sys.stdout.write(fill(target, count) + "\n")
