"""Whether rank 0's memory grows with the log points of a long run.

    python -m bench.steps.memory [--points 1000000] [--reports 40]

A whole trainer of one rank is built, makes one step, and is then driven from log point to log point without the steps
in between: window, snapshot, recorder, store and its aggregates are those of a training, and so is the order in which
they are called. A point waits while more than QUEUE_LIMIT writes are queued, as no training is so fast. Reported are
the resident memory (RSS) of the process and its anonymous part, and the slope of each, fitted by Theil and Sen's median
of slopes from SETTLED of the points on: what comes before is caches that fill.
"""

import argparse
import gc
import logging
import statistics
import sys
import tempfile
import time
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

from bench.steps.blocks import load_text
from bench.steps.loops import NEVER, components_at_work
from bench.steps.synthetic import SIZES, Synthetic
from ddp.distributed.environment import RankEnvironment
from ddp.distributed.world import World
from ddp.recording.recorder import Recorder
from ddp.training.components import TrainerComponents, build_trainer
from ddp.training.metrics_publisher import MetricsPublisher
from service.config.settings import RunConfig

QUEUE_LIMIT = 500
LOG_EVERY = 100
SETTLED = 0.1
PER_POINTS = 100_000
"""Slopes are given for so many points."""
MIB = 2**20


class Memory(NamedTuple):
    """Resident memory of this process after so many log points, in bytes: all of it, and its anonymous part."""

    points: int
    resident: int
    anonymous: int


def memory_now(points: int) -> Memory:
    """Read it from the system, which counts in KiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    sizes = {line.partition(":")[0]: line for line in lines if line.startswith(("VmRSS", "RssAnon"))}
    resident, anonymous = (int(sizes[name].split()[1]) * 1024 for name in ("VmRSS", "RssAnon"))
    return Memory(points, resident, anonymous)


def slope(points: list[tuple[float, float]]) -> float:
    """Theil and Sen's: the median of the slopes of all pairs of points, which a single jump moves little."""
    return statistics.median((y2 - y1) / (x2 - x1) for (x1, y1), (x2, y2) in combinations(points, 2))


class Driver:
    """Log points of a trainer without steps in between."""

    def __init__(self, components: TrainerComponents) -> None:
        c = components
        assert isinstance(c.recorder, Recorder)
        self._c, self._recorder = c, c.recorder
        self._publisher = MetricsPublisher(c.world, c.window, c.snapshot_builder, c.recorder, c.run_status, c.marker)
        build_trainer(c).advance()
        (self._row,) = c.window._pending  # the row of a real step
        self._stats = c.recorder._reports

    def log_point(self) -> None:
        """What a training does at its log points, LOG_EVERY steps after the one before."""
        progress = self._c.run_status.progress
        progress.step += LOG_EVERY
        self._c.window.add(self._row)
        self._c.window.timer.step_done()
        self._recorder.mark_step(progress.step)
        self._publisher.log_point()
        while self._stats.waiting > QUEUE_LIMIT:
            time.sleep(0.001)

    def drain(self) -> None:
        """Wait until nothing is queued, so that a queue does not count as growth."""
        while self._stats.is_pending:
            time.sleep(0.001)


def watch_memory(points: int, reports: int) -> list[Memory]:
    """Drive so many log points; as many measurements of the memory."""
    logging.getLogger().setLevel(logging.ERROR)
    world = World.join(RankEnvironment(), "cpu", threads=1)
    with tempfile.TemporaryDirectory(prefix="leitstand-memory-") as folder:
        config = RunConfig(
            data_root=Path(folder), **SIZES["tiny"]._asdict(), log_every=LOG_EVERY, val_step_every=NEVER,
            checkpoint_every=NEVER, max_steps=NEVER,
        )  # fmt: skip
        with components_at_work(world, config, Synthetic(config)) as components:
            driver, found = Driver(components), list[Memory]()
            for report in range(1, reports + 1):
                due = points * report // reports
                for _ in range(due - (found[-1].points if found else 0)):
                    driver.log_point()
                driver.drain()
                gc.collect()
                found.append(memory_now(due))
                sys.stdout.write(report_line(found[-1]))
                sys.stdout.flush()
    return found


def report_line(memory: Memory) -> str:
    resident, anonymous = memory.resident / MIB, memory.anonymous / MIB
    return f"{memory.points:>9} points  RSS {resident:7.2f} MiB  anonymous {anonymous:7.2f} MiB\n"


def describe_growth(found: list[Memory]) -> str:
    """The slopes as text, in MB (10^6 bytes) per PER_POINTS points."""
    settled = [memory for memory in found if memory.points >= SETTLED * found[-1].points]
    resident, anonymous = (
        slope([(memory.points, memory[index]) for memory in settled]) * PER_POINTS / 1e6 for index in (1, 2)
    )
    return (
        f"from {settled[0].points} points on: RSS {resident:+.3f} MB, anonymous {anonymous:+.3f} MB "
        f"for each {PER_POINTS} points; {load_text()}\n"
    )


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--points", type=int, default=1_000_000)
    parser.add_argument("--reports", type=int, default=40)
    given = parser.parse_args()
    if given.reports < 3 or given.points < given.reports:
        parser.error("a slope needs at least three reports, and each a point of its own")
    began = time.perf_counter()
    found = watch_memory(given.points, given.reports)
    sys.stdout.write(describe_growth(found))
    sys.stdout.write(f"{given.points / (time.perf_counter() - began):.0f} points a second\n")


if __name__ == "__main__":
    main()
