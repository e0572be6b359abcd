"""Durations of steps, measured where they happen: by the host's clock on a CPU, by events on a GPU's stream.

Host time between two steps says nothing on a GPU, where the host runs ahead; events cost no synchronisation until read.
"""

import statistics
import time
from typing import Protocol

import torch


class StepClock(Protocol):
    """Measures consecutive steps. `mark` begins anew after anything that is not a step."""

    def mark(self) -> None:
        """A step begins now, whatever came before."""

    def tick(self) -> None:
        """A step ends now, and the next begins."""

    def take(self) -> list[float]:
        """Seconds of every step since the last call. Waits for the device."""


class HostClock:
    """Steps by the host's monotonic clock."""

    def __init__(self) -> None:
        self._since = time.perf_counter()
        self._durations: list[float] = []

    def mark(self) -> None:
        """A step begins now."""
        self._since = time.perf_counter()

    def tick(self) -> None:
        """A step ends now, and the next begins."""
        now = time.perf_counter()
        self._durations.append(now - self._since)
        self._since = now

    def take(self) -> list[float]:
        """Seconds of every step since the last call."""
        taken, self._durations = self._durations, []
        return taken


class DeviceClock:
    """Steps by events on the current CUDA stream."""

    def __init__(self) -> None:
        self._since = self._now()
        self._pairs: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []

    def _now(self) -> torch.cuda.Event:
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def mark(self) -> None:
        """A step begins now."""
        self._since = self._now()

    def tick(self) -> None:
        """A step ends now, and the next begins."""
        now = self._now()
        self._pairs.append((self._since, now))
        self._since = now

    def take(self) -> list[float]:
        """Seconds of every step since the last call, after waiting for the device."""
        if self._pairs:
            self._pairs[-1][1].synchronize()
        taken = [begin.elapsed_time(end) / 1000 for begin, end in self._pairs]
        self._pairs = []
        return taken


def make_clock(device: torch.device) -> StepClock:
    """The clock that tells the truth on this device."""
    return DeviceClock() if device.type == "cuda" else HostClock()


def median(durations: list[float]) -> float:
    """The median in seconds; NaN of nothing."""
    return statistics.median(durations) if durations else float("nan")
