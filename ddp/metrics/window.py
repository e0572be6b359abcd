"""The window between two log points: sums on the device, and one row per rank, exchanged by one all_reduce.

    sums   total, one loss per term | steps that were not skipped     the same on every rank already
    packed = [ one row per rank ]                a rank fills only its own row, so that the sum is also the gathering

`summarise` may be called at any step and changes nothing: only a log point begins a new window, so that watching leaves
what is recorded later alone.
"""

import resource
import statistics
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ddp.distributed.world import World
from ddp.metrics.step_metrics import LOSS_COUNT, is_skipped, losses
from ddp.metrics.step_timer import StepTimer, make_timer, median
from ddp.workload import Batch
from service.loss_terms import TERM_COUNT

ROW = (
    "step_seconds", "own_seconds", "active_seconds", "wait_seconds", "steps", "memory_gib", "peak_gib", "skipped",
)  # fmt: skip

GIB = 2**30
SLOW_FACTOR = 1.5
"""A rank is called slow when its own part of a step takes this much longer than the median rank's, …"""
SLOW_STEPS = 5
"""… in a window of at least so many steps."""


@dataclass(frozen=True)
class RankRow:
    """One rank's part in a window. Seconds, GiB; `memory_gib` is the process's peak on CPU, the device's on a GPU.

    `own_seconds` is the median time per step in which the rank waits for no other: data, forward, and the backward of
    all micro-batches but the last.
    """

    step_seconds: float
    own_seconds: float
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
class WindowMetrics:
    """A window, the same on every rank. `terms` are unweighted means."""

    total_loss: float = float("nan")
    terms: tuple[float, ...] = (float("nan"),) * TERM_COUNT
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

    @property
    def slow_rank(self) -> int | None:
        """The rank on which the others wait, if one is clearly slower than the median rank; its data count too."""
        own = [row.own_seconds for row in self.ranks]
        slowest = max(own, default=float("nan"))
        typical = statistics.median_low(own) if own else float("nan")
        has_enough = all(row.steps >= SLOW_STEPS for row in self.ranks)
        return own.index(slowest) if has_enough and slowest > SLOW_FACTOR * typical else None

    def samples_per_second(self, samples_per_rank_step: int) -> float:
        """Samples of all ranks per second of the slowest rank."""
        active = max((row.active_seconds for row in self.ranks), default=0.0)
        return sum(row.steps for row in self.ranks) * samples_per_rank_step / active if active > 0 else float("nan")


class MetricsWindow:
    """Accumulates one rank's part of the window. Between log points nothing here waits for the device."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._sums = torch.zeros(LOSS_COUNT + 1, dtype=torch.float64, device=world.device)
        self._one = torch.ones(1, device=world.device)
        self._nothing = torch.zeros(LOSS_COUNT + 1, device=world.device)
        self._steps = 0
        self._wait_seconds = 0.0
        self._skipped: list[str] = []
        self.clock: StepTimer = make_timer(world.device)

    @property
    def is_empty(self) -> bool:
        """Whether no step fell into the window yet; the same on every rank."""
        return self._steps == 0

    def add(self, row: Tensor) -> None:
        """Add a step's row (ROW,), on the device; a skipped step counts in no mean."""
        values = torch.cat([losses(row), self._one])
        self._sums += torch.where(is_skipped(row), self._nothing, values)
        self._steps += 1

    def timed(self, batches: Iterator[Batch]) -> Batch:
        """The next micro-batch; notes the wait for it, and the files that it had to skip."""
        asked_at = time.perf_counter()
        batch = next(batches)
        self._wait_seconds += time.perf_counter() - asked_at
        self._skipped.extend(batch.skipped)
        return batch

    def summarise(self) -> WindowMetrics:
        """The window so far, the same on every rank. One collective; waits for the device."""
        packed = torch.zeros(self._world.size, len(ROW), dtype=torch.float64)
        packed[self._world.rank] = torch.tensor(self._row(), dtype=torch.float64)
        rows = self._world.sum(packed).tolist()
        *sums, steps = self._sums.tolist()
        means = [value / steps if steps else float("nan") for value in sums]
        return WindowMetrics(means[0], tuple(means[1:]), tuple(RankRow(*row) for row in rows))

    def restart(self) -> list[str]:
        """Begin a new window; returns the files that this rank skipped in the old one."""
        skipped, self._skipped = self._skipped, []
        self._sums.zero_()
        self._steps, self._wait_seconds = 0, 0.0
        self.clock.clear()
        return skipped

    @contextmanager
    def excluded(self) -> Iterator[None]:
        """Count the time within the block for no step: the next step begins when the block ends."""
        yield
        self.clock.restart()

    def reset_memory_peak(self) -> None:
        """Forget the peak of GPU memory: done after every record."""
        if self._world.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._world.device)

    def _row(self) -> tuple[float, ...]:
        durations, own = self.clock.durations()
        memory_gib, peak_gib = memory_use(self._world.device)
        return (
            median(durations),
            median(own),
            sum(durations),
            self._wait_seconds,
            len(durations),
            memory_gib,
            peak_gib,
            len(self._skipped),
        )

    def state(self) -> dict[str, Any]:
        """The sums of a window that a checkpoint falls into; times belong to one start and are not kept."""
        return {"sums": self._sums, "steps": self._steps}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on within a window."""
        self.restart()
        self._sums.copy_(state["sums"])
        self._steps = state["steps"]


def memory_use(device: torch.device) -> tuple[float, float]:
    """(GiB to show for this rank, GiB of GPU memory at its peak since the last reset; 0 on CPU)."""
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated(device) / GIB
        return peak, peak
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIB, 0.0
