"""The window between two log points: sums on the device, and one row per rank, exchanged by one all_reduce.

    sums   total, one loss per term | steps that were not skipped     already the same on every rank
    packed = [ one row per rank ]                each rank fills only its own row, so the sum gathers all rows

`summarise` may be called at any step and changes nothing. Only a log point starts a new window, so that extra
measurements do not change later records.
"""

import resource
import statistics
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ddp.distributed.world import World
from ddp.metrics.step_metrics import LOSS_COUNT, is_skipped, losses, stack
from ddp.metrics.step_timer import StepTimer, make_timer, median
from ddp.metrics.time_account import TimeAccount
from ddp.workload import Batch
from service.loss_terms import TERM_COUNT
from service.run.ledger.time_spent import Activity

RANK_ROW = (
    "step_seconds", "own_seconds", "active_seconds", "wait_seconds", "steps", "memory_gib", "peak_gib", "skipped",
)  # fmt: skip

GIB = 2**30
SLOW_FACTOR = 1.5
"""A rank is slow if its own part of a step takes more than this multiple of the median rank's, …"""
SLOW_STEPS = 5
"""… in a window of at least this many steps."""


@dataclass(frozen=True)
class RankTiming:
    """Times (s) and memory (GiB) of one rank in a window.

    `memory_gib` is the peak of the process on CPU, of the device on a GPU. `own_seconds` is the median time per step in
    which the rank waits for no other: data, forward, and the backward of all micro-batches but the last.
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
        """Data wait per step (s)."""
        return self.wait_seconds / self.steps if self.steps else float("nan")


@dataclass(frozen=True)
class WindowMetrics:
    """Metrics of a window, the same on every rank. `terms` are means of the unweighted loss terms."""

    total_loss: float = float("nan")
    terms: tuple[float, ...] = (float("nan"),) * TERM_COUNT
    ranks: tuple[RankTiming, ...] = field(default=())

    @property
    def step_seconds(self) -> float:
        """Median duration of a step (s) on the slowest rank."""
        return max((row.step_seconds for row in self.ranks), default=float("nan"))

    @property
    def data_wait_ratio(self) -> float:
        """Share of the time spent waiting for data, over all ranks."""
        active = sum(row.active_seconds for row in self.ranks)
        return min(1.0, sum(row.wait_seconds for row in self.ranks) / active) if active > 0 else float("nan")

    @property
    def peak_gib(self) -> float:
        """Highest peak of GPU memory (GiB) of any rank since the last reset; 0 on CPU."""
        return max((row.peak_gib for row in self.ranks), default=0.0)

    @property
    def skipped(self) -> int:
        """Number of unreadable files that all ranks skipped."""
        return round(sum(row.skipped for row in self.ranks))

    @property
    def slow_rank(self) -> int | None:
        """Rank that the others wait for, if one is clearly slower than the median rank; loading data counts."""
        own = [row.own_seconds for row in self.ranks]
        slowest = max(own, default=float("nan"))
        typical = statistics.median_low(own) if own else float("nan")
        has_enough = all(row.steps >= SLOW_STEPS for row in self.ranks)
        return own.index(slowest) if has_enough and slowest > SLOW_FACTOR * typical else None

    def samples_per_second(self, samples_per_rank_step: int) -> float:
        """Return the samples of all ranks per second of the slowest rank."""
        active = max((row.active_seconds for row in self.ranks), default=0.0)
        return sum(row.steps for row in self.ranks) * samples_per_rank_step / active if active > 0 else float("nan")


PORTION_STEPS = 64
"""Number of steps whose rows are added to the sums at once."""


class MetricsWindow:
    """Accumulator of one rank's part of the window. Waits for the device only at log points.

    Rows are added to the sums in portions of PORTION_STEPS, counted from the window's start: so the sums do not depend,
    to the last bit, on who looks when.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._sums = torch.zeros(LOSS_COUNT + 1, dtype=torch.float64, device=world.device)
        self._pending: list[Tensor] = []
        self._steps = 0
        self._wait_seconds = 0.0
        self._skipped: list[str] = []
        self.timer: StepTimer = make_timer(world.device)
        self.account = TimeAccount()

    @property
    def is_empty(self) -> bool:
        """Whether the window contains no step; the same on every rank."""
        return self._steps == 0

    def add(self, row: Tensor) -> None:
        """Add a step's row (ROW,), on the device; a skipped step does not enter the means."""
        self._pending.append(row)
        self._steps += 1
        if len(self._pending) == PORTION_STEPS:
            self._sums, self._pending = self._sums_with_pending(), []

    def next_batch(self, batches: Iterator[Batch], *, is_timed: bool = True) -> Batch:
        """Return the next micro-batch; count the wait for it if `is_timed`, and the files that were skipped."""
        started_at = time.perf_counter()
        batch = next(batches)
        if is_timed:
            self._wait_seconds += time.perf_counter() - started_at
        self._skipped.extend(batch.skipped)
        return batch

    def summarise(self) -> WindowMetrics:
        """Return the metrics of the window so far, the same on every rank. One collective; waits for the device."""
        packed = torch.zeros(self._world.size, len(RANK_ROW), dtype=torch.float64)
        packed[self._world.rank] = torch.tensor(self._row(), dtype=torch.float64)
        rows = self._world.sum(packed).tolist()
        *sums, steps = self._sums_with_pending().tolist()
        means = [value / steps if steps else float("nan") for value in sums]
        return WindowMetrics(means[0], tuple(means[1:]), tuple(RankTiming(*row) for row in rows))

    def restart(self) -> list[str]:
        """Start a new window; return the files that this rank skipped in the old one."""
        skipped, self._skipped = self._skipped, []
        self._sums = torch.zeros_like(self._sums)
        self._pending = []
        self._steps, self._wait_seconds = 0, 0.0
        self.timer.clear()
        return skipped

    @contextmanager
    def excluded(self, activity: Activity | None = None) -> Iterator[None]:
        """Exclude the time within the block from step durations: the next step starts when the block ends.

        With `activity`, the time is counted as spent on that.
        """
        with nullcontext() if activity is None else self.account.spending(activity):
            yield
        self.timer.restart()

    def reset_memory_peak(self) -> None:
        """Reset the peak of GPU memory; called after every record."""
        if self._world.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._world.device)

    def _sums_with_pending(self) -> Tensor:
        """Return the sums (LOSS_COUNT + 1,) of all steps of the window; the last is the number that was not skipped."""
        rows = stack(self._pending, self._sums.device)
        values = nn.functional.pad(losses(rows).double(), (0, 1), value=1.0)
        return self._sums + values.where(~is_skipped(rows).unsqueeze(-1), 0.0).sum(0)

    def _row(self) -> tuple[float, ...]:
        durations, own = self.timer.durations()
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
        """Return the sums of the open window for a checkpoint; durations belong to one start and are not saved."""
        return {"sums": self._sums, "steps": self._steps, "pending": stack(self._pending, self._sums.device)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore the sums of an open window. Checkpoints saved by earlier versions have no rows beside them."""
        self.restart()
        self._sums.copy_(state["sums"])
        self._pending = list(state["pending"].to(self._sums.device, copy=True)) if "pending" in state else []
        self._steps = state["steps"]


def memory_use(device: torch.device) -> tuple[float, float]:
    """Return (GiB to report for this rank, peak GiB of GPU memory since the last reset; 0 on CPU)."""
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated(device) / GIB
        return peak, peak
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIB, 0.0
