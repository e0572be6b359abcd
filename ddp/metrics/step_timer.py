"""Durations of steps, measured where they happen: by the host's clock on a CPU, by events on a GPU's stream.

Host time between two steps says nothing on a GPU, where the host runs ahead; events cost no synchronisation until read.
"""

import statistics
import time
from typing import Protocol

import torch


class StepTimer(Protocol):
    """Measures consecutive steps. `mark` begins anew after anything that is not a step."""

    def restart(self) -> None:
        """A step begins now, whatever came before."""

    def step_done(self) -> None:
        """A step ends now, and the next begins."""

    def local_done(self) -> None:
        """What this rank does alone in a step ends now; from here on it may wait for others."""

    def durations(self) -> tuple[list[float], list[float]]:
        """Seconds of every step since `clear`: in all, and until the split. Waits for the device."""

    def clear(self) -> None:
        """Forget the durations so far."""


class HostTimer:
    """Steps by the host's monotonic clock."""

    def __init__(self) -> None:
        self._since = self._split = time.perf_counter()
        self._durations: list[float] = []
        self._alone: list[float] = []

    def restart(self) -> None:
        """A step begins now."""
        self._since = time.perf_counter()

    def step_done(self) -> None:
        """A step ends now, and the next begins."""
        now = time.perf_counter()
        self._durations.append(now - self._since)
        self._alone.append(self._split - self._since)
        self._since = now

    def local_done(self) -> None:
        """This rank's own part of the step ends now."""
        self._split = time.perf_counter()

    def durations(self) -> tuple[list[float], list[float]]:
        """Seconds of every step since `clear`: in all, and until the split."""
        return list(self._durations), list(self._alone)

    def clear(self) -> None:
        """Forget the durations so far."""
        self._durations, self._alone = [], []


class DeviceTimer:
    """Steps by events on the current CUDA stream."""

    def __init__(self) -> None:
        self._since = self._split = self._now()
        self._steps: list[tuple[torch.cuda.Event, torch.cuda.Event, torch.cuda.Event]] = []

    def _now(self) -> torch.cuda.Event:
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def restart(self) -> None:
        """A step begins now."""
        self._since = self._now()

    def step_done(self) -> None:
        """A step ends now, and the next begins."""
        now = self._now()
        self._steps.append((self._since, self._split, now))
        self._since = now

    def local_done(self) -> None:
        """This rank's own part of the step ends now."""
        self._split = self._now()

    def durations(self) -> tuple[list[float], list[float]]:
        """Seconds of every step since `clear`: in all, and until the split; after waiting for the device."""
        if self._steps:
            self._steps[-1][2].synchronize()
        whole = [begin.elapsed_time(end) / 1000 for begin, _, end in self._steps]
        return whole, [begin.elapsed_time(split) / 1000 for begin, split, _ in self._steps]

    def clear(self) -> None:
        """Forget the durations so far."""
        self._steps = []


def make_timer(device: torch.device) -> StepTimer:
    """The clock that tells the truth on this device."""
    return DeviceTimer() if device.type == "cuda" else HostTimer()


def median(durations: list[float]) -> float:
    """The median in seconds; NaN of nothing."""
    return statistics.median(durations) if durations else float("nan")
