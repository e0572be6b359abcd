"""What handing one step's values to a logger costs the training thread: Leitstand, TensorBoard, trackio, MLflow.

    python -m venv PEERS && PEERS/bin/pip install mlflow tensorboard trackio
    echo VENV/lib/python3.11/site-packages > PEERS/lib/python3.11/site-packages/leitstand.pth
    PEERS/bin/python -m bench.steps.logging [--steps N] [--rounds N] [--pause SECONDS] [--idle] [--only NAME …]

The line in between lends the peers' environment torch and all else of Leitstand's own (VENV), behind its own packages.
Every entry runs in a process of its own and logs 10 or 60 numbers per step to the local disk, as its documentation
says; what is timed is the call alone, on the thread that trains. Between two calls that thread computes on 256 KiB of
numbers, as a training does, and the logger's own threads may work; with --idle it sleeps, after which everything is out
of the processor's caches: even a call that does nothing, the entry `nothing`, takes its time then.

`mlflow` is its default, which waits for the database; `mlflow/async` hands over to a queue. `leitstand/tensorboard`
writes TensorBoard's files beside the store.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy

from service.run.records.tables.tags import TRAINING_TAGS

COUNTS = (10, 60)
WARM_UP_STEPS = 20

Values = dict[str, Any]
Log = Callable[[int, Values], object]


@contextmanager
def nothing(_folder: Path) -> Iterator[Log]:
    """The measurement itself."""
    yield lambda _step, _values: None


@contextmanager
def leitstand(folder: Path, *, with_tensorboard: bool = False) -> Iterator[Log]:
    """Rank 0's recorder with its store, and with TENSORBOARD on if wanted."""
    from ddp.control.command_poller import CommandPoller
    from ddp.control.command_queue import CommandQueue
    from ddp.recording.recorder import Recorder
    from ddp.recording.trackers.select import open_tracker
    from service.config.settings import RunConfig
    from service.run.directory import RunDirectory
    from service.run.state import RunState
    from service.store.store import Store

    directory = RunDirectory(folder)
    store = Store(directory.store, create=True, keep_open=True)
    store.open_run("bench", {})
    tracker = open_tracker(RunConfig(tensorboard=with_tensorboard), directory, {}, "bench")
    recorder = Recorder(store, directory, "bench", CommandPoller(store, "bench", CommandQueue()), tracker=tracker)
    recorder.start()
    yield lambda step, values: recorder.log_point(step, values, values)
    recorder.close(RunState.FINISHED)


@contextmanager
def summary_writer(folder: Path, *, module: str) -> Iterator[Log]:
    """TensorBoard's SummaryWriter, one `add_scalar` per value."""
    writer = import_module(module).SummaryWriter(str(folder))

    def log(step: int, values: Values) -> None:
        for name, value in values.items():
            writer.add_scalar(name, value, step)

    yield log
    writer.close()


@contextmanager
def mlflow(folder: Path, *, synchronous: bool = True) -> Iterator[Log]:
    """`log_metrics` into a SQLite store."""
    import mlflow as library

    library.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")
    with library.start_run():
        yield lambda step, values: library.log_metrics(values, step=step, synchronous=synchronous)
    library.flush_async_logging()


@contextmanager
def trackio(folder: Path) -> Iterator[Log]:
    """`trackio.log`, local, without any upload."""
    os.environ.update({"TRACKIO_DIR": str(folder), "HF_HUB_OFFLINE": "1"})
    import trackio as library

    library.init(project="bench", embed=False)
    yield lambda step, values: library.log(values, step=step)
    library.finish()


ENTRIES: dict[str, Callable[[Path], AbstractContextManager[Log]]] = {
    "nothing": nothing,
    "leitstand": leitstand,
    "leitstand/tensorboard": partial(leitstand, with_tensorboard=True),
    "tensorboard": partial(summary_writer, module="torch.utils.tensorboard"),
    "tensorboardX": partial(summary_writer, module="tensorboardX"),
    "trackio": trackio,
    "mlflow/async": partial(mlflow, synchronous=False),
    "mlflow": mlflow,
}


def seconds_of_calls(name: str, count: int, steps: int, pass_time: Callable[[], None]) -> list[float]:
    """The time of every call of one entry, in a folder of its own."""
    found = []
    with tempfile.TemporaryDirectory(prefix="leitstand-logging-") as folder, ENTRIES[name](Path(folder)) as log:
        for step in range(WARM_UP_STEPS + steps):
            values = numbers(step, count)
            pass_time()
            began = time.perf_counter()
            log(step, values)
            found.append(time.perf_counter() - began)
    return found[WARM_UP_STEPS:]


def numbers(step: int, count: int) -> Values:
    """So many values under names of the record, so that TensorBoard has a tag for each of Leitstand's too."""
    names = [*TRAINING_TAGS, *(f"value_{number:02d}" for number in range(count))][:count]
    return {name: step + place / 7 for place, name in enumerate(names)}


def computing(seconds: float) -> Callable[[], None]:
    """Passes so many seconds as a training's thread does."""
    left, right = numpy.ones(2**15), numpy.ones(2**15)

    def pass_time() -> None:
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            numpy.multiply(left, right, out=left)

    return pass_time


def main() -> None:
    """Measure every entry in a process of its own, round after round, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=500, help="per entry, number of values and round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pause", type=float, default=0.005, help="seconds between two calls")
    parser.add_argument("--idle", action="store_true", help="sleep between two calls")
    parser.add_argument("--only", nargs="+", choices=tuple(ENTRIES), default=list(ENTRIES))
    parser.add_argument("--count", type=int, help=argparse.SUPPRESS)  # in the process of one entry
    given = parser.parse_args()
    if given.count is not None:
        pass_time = partial(time.sleep, given.pause) if given.idle else computing(given.pause)
        sys.stdout.write(json.dumps(seconds_of_calls(given.only[0], given.count, given.steps, pass_time)))
        return
    found: dict[tuple[str, int], list[float]] = {(name, count): [] for count in COUNTS for name in given.only}
    for _ in range(given.rounds):
        for name, count in found:
            found[name, count] += _in_own_process(name, count, given)
    sys.stdout.write(
        f"microseconds per step; {given.rounds} rounds of {given.steps} steps; load {os.getloadavg()[0]:.1f}\n"
    )
    sys.stdout.write(f"{'':24}{'values':>8}{'median':>10}{'99 of 100':>12}\n")
    for (name, count), seconds in found.items():
        high = statistics.quantiles(seconds, n=100)[98]
        sys.stdout.write(f"{name:24}{count:8}{1e6 * statistics.median(seconds):10.1f}{1e6 * high:12.1f}\n")


def _in_own_process(name: str, count: int, given: argparse.Namespace) -> list[float]:
    command = [sys.executable, "-m", "bench.steps.logging", "--only", name, "--count", str(count)]
    rhythm = ["--steps", str(given.steps), "--pause", str(given.pause), *(["--idle"] if given.idle else [])]
    answer = subprocess.run([*command, *rhythm], check=True, capture_output=True, text=True).stdout
    seconds: list[float] = json.loads(answer.splitlines()[-1])
    return seconds


if __name__ == "__main__":
    main()
