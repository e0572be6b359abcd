"""The window between two log points: sums on the device, closed by one all_reduce of one packed tensor.

    packed = [ sums of total, l1, ms, gradient, perceptual | micro-batches | one row per rank ]

A rank fills only its own row, so that the sum over ranks is also the gathering of the rows. Means are sums divided
once, by the number of micro-batches of all ranks.
"""

import resource
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ddp.clock import StepClock, make_clock, median
from ddp.world import World

TERM_COUNT = 4
SUMS = 1 + TERM_COUNT
ROW = ("step_seconds", "active_seconds", "wait_seconds", "steps", "memory_gib", "peak_gib", "skipped")
GIB = 2**30


@dataclass(frozen=True)
class RankRow:
    """One rank's part in a window. Seconds, GiB; `memory_gib` is the process's peak on CPU, the device's on a GPU."""

    step_seconds: float
    active_seconds: float
    wait_seconds: float
    steps: float
    memory_gib: float
    peak_gib: float
    skipped: float

    @property
    def wait_seconds_per_step(self) -> float:
        """Seconds of data wait per step."""
        return self.wait_seconds / self.steps if self.steps else float("nan")


@dataclass(frozen=True)
class WindowSummary:
    """A closed window, the same on every rank. `terms` are unweighted means: L1, MS, gradient, perceptual."""

    total_loss: float = float("nan")
    terms: tuple[float, ...] = (float("nan"),) * TERM_COUNT
    micro_batches: float = 0.0
    ranks: tuple[RankRow, ...] = field(default=())

    @property
    def step_seconds(self) -> float:
        """Seconds per step: the slowest rank's median."""
        return max((row.step_seconds for row in self.ranks), default=float("nan"))

    @property
    def data_wait_ratio(self) -> float:
        """Share of time spent waiting for data, over all ranks."""
        active = sum(row.active_seconds for row in self.ranks)
        return min(1.0, sum(row.wait_seconds for row in self.ranks) / active) if active > 0 else float("nan")

    @property
    def peak_gib(self) -> float:
        """GiB of GPU memory: the highest peak of any rank since the last reset; 0 on CPU."""
        return max((row.peak_gib for row in self.ranks), default=0.0)

    @property
    def skipped(self) -> int:
        """Unreadable files met by all ranks."""
        return round(sum(row.skipped for row in self.ranks))

    def samples_per_second(self, batch_size: int) -> float:
        """Samples of all ranks per second of the slowest rank."""
        active = max((row.active_seconds for row in self.ranks), default=0.0)
        return self.micro_batches * batch_size / active if active > 0 else float("nan")


class Window:
    """Accumulates one rank's part of the window. Between log points nothing here waits for the device."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._sums = torch.zeros(SUMS, dtype=torch.float64, device=world.device)
        self._micro_batches = 0
        self._wait_seconds = 0.0
        self._skipped: list[str] = []
        self.clock: StepClock = make_clock(world.device)

    @property
    def is_empty(self) -> bool:
        """Whether no step fell into the window yet; the same on every rank."""
        return self._micro_batches == 0

    def add_losses(self, total: Tensor, terms: Tensor) -> None:
        """Add one micro-batch: the total () and the unweighted terms (4,), detached, on the device."""
        self._sums[0] += total
        self._sums[1:] += terms
        self._micro_batches += 1

    def add_data(self, wait_seconds: float, skipped: tuple[str, ...]) -> None:
        """Add the wait for one micro-batch and the files it had to skip."""
        self._wait_seconds += wait_seconds
        self._skipped.extend(skipped)

    def close(self) -> tuple[WindowSummary, list[str]]:
        """Sum over all ranks and begin anew; also this rank's skipped names. One collective; waits for the device."""
        packed = torch.zeros(SUMS + 1 + self._world.size * len(ROW), dtype=torch.float64)
        packed[:SUMS] = self._sums.cpu()
        packed[SUMS] = self._micro_batches
        first = SUMS + 1 + self._world.rank * len(ROW)
        packed[first : first + len(ROW)] = torch.tensor(self._row(), dtype=torch.float64)
        skipped = self._skipped
        self._sums.zero_()
        self._micro_batches, self._wait_seconds, self._skipped = 0, 0.0, []
        return _summarise(self._world.sum(packed), self._world.size), skipped

    def _row(self) -> tuple[float, ...]:
        durations = self.clock.take()
        memory_gib, peak_gib = memory_use(self._world.device)
        steps = len(durations)
        return (
            median(durations),
            sum(durations),
            self._wait_seconds,
            steps,
            memory_gib,
            peak_gib,
            len(self._skipped),
        )


def memory_use(device: torch.device) -> tuple[float, float]:
    """(GiB to show for this rank, GiB of GPU memory at its peak since the last reset; 0 on CPU)."""
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated(device) / GIB
        return peak, peak
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIB, 0.0


def reset_peak(device: torch.device) -> None:
    """Begin a new peak: called after every record."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def _summarise(packed: Tensor, world_size: int) -> WindowSummary:
    values = packed.tolist()
    micro_batches = values[SUMS]
    means = [value / micro_batches if micro_batches else float("nan") for value in values[:SUMS]]
    rows = [values[SUMS + 1 + rank * len(ROW) :][: len(ROW)] for rank in range(world_size)]
    return WindowSummary(means[0], tuple(means[1:]), micro_batches, tuple(RankRow(*row) for row in rows))
