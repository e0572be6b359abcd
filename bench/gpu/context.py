"""What every part of the GPU benchmark is given: device, sizes, time, and the file for its rows."""

import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch

from bench.steps.loops import NEVER
from ddp.distributed.environment import RankEnvironment
from ddp.distributed.world import World
from service.config.settings import RunConfig

BLOCKS = 5
WARM_UP_STEPS = 3


class Size(NamedTuple):
    """A network and its batch: features, blocks over both trunks, side of the LR pictures, samples of a step."""

    n_feats: int
    n_blocks: int
    patch_size: int
    batch_size: int


SIZES = {"real": Size(128, 32, 180, 4), "small": Size(4, 4, 12, 1)}


class Row(NamedTuple):
    """One figure: of which part, of what, its value and unit, and what must be known of it."""

    part: str
    what: str
    value: float | str
    unit: str
    note: str = ""


@dataclass(frozen=True)
class Context:
    """One part at work. `seconds` is the time it may take, in which the start of its process is included."""

    part: str
    device: torch.device
    size: Size
    seconds: float
    rows: Path

    @property
    def is_gpu(self) -> bool:
        """Whether this is the real thing and no rehearsal."""
        return self.device.type == "cuda"

    def write(self, what: str, value: float | str, unit: str, note: str = "") -> None:
        """Append a row at once, so that a part that fails later or runs out of time has written it."""
        with self.rows.open("a") as file:
            file.write(json.dumps(Row(self.part, what, value, unit, note)) + "\n")

    def config(self, folder: Path, **settings: Any) -> RunConfig:
        """Settings of a run in this folder, of this size, which neither validates nor saves."""
        given = {
            **self.size._asdict(), "log_every": 100, "val_step_every": NEVER, "checkpoint_every": NEVER,
            "max_steps": NEVER, "device": self.device.type, **settings,
        }  # fmt: skip
        return RunConfig(data_root=folder, **given)

    def world(self) -> World:
        """A world of this process alone."""
        return World.join(RankEnvironment(), self.device.type, threads=1)

    def synchronize(self) -> None:
        """Wait for the device."""
        if self.is_gpu:
            torch.cuda.synchronize()


class Rate(NamedTuple):
    """Seconds per step: median, least and largest of BLOCKS blocks."""

    median: float
    least: float
    largest: float

    def images(self, batch_size: int) -> float:
        """Images per second."""
        return batch_size / self.median

    def spread(self, batch_size: int) -> str:
        """Images per second of the slowest and the fastest block."""
        return f"blocks: {batch_size / self.largest:.4g} … {batch_size / self.least:.4g}"


def rate_of(context: Context, advance: Callable[[], object], share: float = 0.5) -> Rate:
    """Time steps in blocks, each with one wait for the device at its end, for a share of the part's time in all."""
    for _ in range(WARM_UP_STEPS):
        advance()
    once = block_seconds(context, advance, 2)  # the host must not count steps that the device has not made
    steps = max(1, min(200, int(context.seconds * share / BLOCKS / once)))
    found = [block_seconds(context, advance, steps) for _ in range(BLOCKS)]
    return Rate(statistics.median(found), min(found), max(found))


def block_seconds(context: Context, advance: Callable[[], object], steps: int) -> float:
    """Seconds per step of one block, from a device at rest to a device at rest."""
    context.synchronize()
    began = time.perf_counter()
    for _ in range(steps):
        advance()
    context.synchronize()
    return (time.perf_counter() - began) / steps
