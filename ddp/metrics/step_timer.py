"""Durations of steps, measured by the host's clock on a CPU and by events on a GPU's stream.

On a GPU the host runs ahead, so host time does not measure steps; events need no synchronization until they are read.
"""

import statistics
import time
from typing import Protocol

import torch


class StepTimer(Protocol):
    """Interface that measures consecutive steps. Call `restart` after anything that is not a step."""

    def restart(self) -> None:
        """Start a step now; discard the time since the last one."""

    def step_done(self) -> None:
        """End the step now, and start the next one."""

    def local_done(self) -> None:
        """End this rank's own part of the step; from now on it may wait for other ranks."""

    def durations(self) -> tuple[list[float], list[float]]:
        """Return the seconds of every step since `clear`: whole steps, and own parts. Waits for the device."""

    def clear(self) -> None:
        """Discard the durations so far."""


class HostTimer:
    """Timer that uses the host's monotonic clock."""

    def __init__(self) -> None:
        self._started_at = self._local_done_at = time.perf_counter()
        self._durations: list[float] = []
        self._local_durations: list[float] = []

    def restart(self) -> None:
        """Start a step now."""
        self._started_at = time.perf_counter()

    def step_done(self) -> None:
        """End the step now, and start the next one."""
        now = time.perf_counter()
        self._durations.append(now - self._started_at)
        self._local_durations.append(self._local_done_at - self._started_at)
        self._started_at = now

    def local_done(self) -> None:
        """End this rank's own part of the step."""
        self._local_done_at = time.perf_counter()

    def durations(self) -> tuple[list[float], list[float]]:
        """Return the seconds of every step since `clear`: whole steps, and own parts."""
        return list(self._durations), list(self._local_durations)

    def clear(self) -> None:
        """Discard the durations so far."""
        self._durations, self._local_durations = [], []


class DeviceTimer:
    """Timer that uses events on the current CUDA stream."""

    def __init__(self) -> None:
        self._started_at = self._local_done_at = self._now()
        self._steps: list[tuple[torch.cuda.Event, torch.cuda.Event, torch.cuda.Event]] = []

    def _now(self) -> torch.cuda.Event:
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def restart(self) -> None:
        """Start a step now."""
        self._started_at = self._now()

    def step_done(self) -> None:
        """End the step now, and start the next one."""
        now = self._now()
        self._steps.append((self._started_at, self._local_done_at, now))
        self._started_at = now

    def local_done(self) -> None:
        """End this rank's own part of the step."""
        self._local_done_at = self._now()

    def durations(self) -> tuple[list[float], list[float]]:
        """Return the seconds of every step since `clear`: whole steps, and own parts. Waits for the device."""
        if self._steps:
            self._steps[-1][2].synchronize()
        whole = [begin.elapsed_time(end) / 1000 for begin, _, end in self._steps]
        return whole, [begin.elapsed_time(local_end) / 1000 for begin, local_end, _ in self._steps]

    def clear(self) -> None:
        """Discard the durations so far."""
        self._steps = []


def make_timer(device: torch.device) -> StepTimer:
    """Return the timer for this device."""
    return DeviceTimer() if device.type == "cuda" else HostTimer()


def median(durations: list[float]) -> float:
    """Return the median of durations; NaN if there are none."""
    return statistics.median(durations) if durations else float("nan")
