"""Two loops in the same processes, in alternating blocks of steps, so that the machine's drift falls on both alike."""

import os
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import torch

BLOCK_STEPS = 20


class Cost(NamedTuple):
    """Seconds per step, mean of one block: by the clock, and of the processor in all threads and in this one."""

    wall: float
    cpu: float
    thread: float


class Pair(NamedTuple):
    """Two neighbouring blocks: of the bare loop, and of the other one."""

    bare: Cost
    other: Cost


class Stopwatch:
    """Times one block of steps."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._began = _clocks()

    def cost(self) -> Cost:
        """Since it was made; log points and control words fall on some steps only, so a block is the smallest unit."""
        if self._device.type == "cuda":
            torch.cuda.synchronize()
        return Cost(*((now - then) / BLOCK_STEPS for now, then in zip(_clocks(), self._began, strict=True)))


def _clocks() -> tuple[float, float, float]:
    return time.perf_counter(), time.process_time(), time.thread_time()


def block_cost(advance: Callable[[], None], device: torch.device) -> Cost:
    """Make one block of steps."""
    stopwatch = Stopwatch(device)
    for _ in range(BLOCK_STEPS):
        advance()
    return stopwatch.cost()


def measure(pairs: int, bare: Callable[[], None], other: Callable[[], None], device: torch.device) -> list[Pair]:
    """So many pairs of blocks; who goes first alternates."""
    found = []
    for number in range(pairs):
        if number % 2:
            second = block_cost(other, device)
            first = block_cost(bare, device)
        else:
            first = block_cost(bare, device)
            second = block_cost(other, device)
        found.append(Pair(first, second))
    return found


def describe(name: str, pairs: list[Pair]) -> str:
    """Median difference by the clock in milliseconds with its quartiles, its mean with standard error; of the CPU too.

    A log point falls on a few blocks only, and a median does not see it: the mean does, and every stumble of the
    machine too. The processor's time stumbles less, but knows nothing of waiting; that of the training thread stumbles
    least, and leaves out the threads beside it.
    """
    differences = [(pair.other.wall - pair.bare.wall) * 1000 for pair in pairs]
    low, middle, high = statistics.quantiles(differences, n=4)
    ratio = statistics.median(pair.other.wall / pair.bare.wall for pair in pairs)
    base = statistics.median(pair.bare.wall for pair in pairs) * 1000
    cpu = [(pair.other.cpu - pair.bare.cpu) * 1000 for pair in pairs]
    thread = [(pair.other.thread - pair.bare.thread) * 1000 for pair in pairs]
    return (
        f"{name:15} bare {base:7.2f} ms  median {middle:+7.3f} ms ({low:+.3f} … {high:+.3f})  "
        f"mean {mean_text(differences)} ms  ratio {ratio:.4f}  "
        f"CPU: median {statistics.median(cpu):+.3f} ms, mean {mean_text(cpu)} ms  "
        f"training thread: median {statistics.median(thread):+.3f} ms, mean {mean_text(thread)} ms"
    )


def mean_text(values: list[float]) -> str:
    return f"{statistics.mean(values):+.3f} ± {statistics.stdev(values) / len(values) ** 0.5:.3f}"


def load_text() -> str:
    """How busy the machine was, from its own view, over 1 and 5 minutes."""
    one, five, _ = os.getloadavg()
    return f"load {one:.1f} (1 min) {five:.1f} (5 min) on {os.cpu_count()} cores"
