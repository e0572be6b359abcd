"""What another experiment tracker is given of a run, and the interface of those trackers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

from service.errors import UserError

TIME = "leitstand/unix_seconds"
"""Number that says when a point was made, for trackers that know only when they were given it."""
TOLD = ("training_data", "validation_data", "world_size", "provenance", "parent_run", "parent_step", "init_from")
"""Keys of a record that are told once of the run."""


@dataclass(frozen=True)
class TrackedRun:
    """What is told once of a run. `settings` have texts, `facts` the TOLD values; `rollbacks` are sentences.

    `from_step` is None where a tracker is given all records of a run. Where a training tells of itself, it is the step
    at which the run starts or continues: a tracker's run that has later steps already is left as it is.
    """

    run_id: str
    branch: int
    name: str
    note: str
    settings: Mapping[str, str]
    facts: Mapping[str, str]
    rollbacks: Sequence[str]
    from_step: int | None = None

    @property
    def branch_name(self) -> str:
        """The run's name, with the branch if it is not the first."""
        return f"{self.name}, branch {self.branch}" if self.branch else self.name

    @property
    def start_name(self) -> str:
        """The name of the branch, with the step at which a training continues it."""
        return f"{self.branch_name}, from step {self.from_step}" if self.from_step else self.branch_name

    def is_continuation_of(self, newest: int) -> bool:
        """Return True if what is given next comes after `newest`, the newest step that a tracker has."""
        return self.from_step is None or newest <= self.from_step


@dataclass(frozen=True)
class TrackedPoint:
    """Numbers at one step by tag; `at` is Unix seconds, None if it is not known."""

    step: int
    at: float | None
    scalars: Mapping[str, float]

    @property
    def timed_scalars(self) -> dict[str, float]:
        """The numbers and, if it is known, the time as one of them."""
        return {**self.scalars, **({} if self.at is None else {TIME: self.at})}


class Tracker(Protocol):
    """Another experiment tracker, which keeps one run at a time. Every method may raise `UserError`."""

    def begin(self, run: TrackedRun) -> int:
        """Find or make the run; returns the newest step that the tracker has of it, -1 if it has none."""

    def add(self, points: Sequence[TrackedPoint]) -> None:
        """Add points, in the order of their steps."""

    def end(self, state: str) -> str:
        """Finish, with the run's state; returns where the run is, as the end of a sentence."""


def library(name: str, tracker: str, install: str) -> Any:
    """Import a tracker's library; raises `LibraryMissingError` where it is not installed."""
    try:
        return import_module(name)
    except ImportError:
        raise LibraryMissingError(
            f"{tracker} is reached by its own library; install it with `pip install {install}`."
        ) from None


class LibraryMissingError(UserError):
    """The library of a tracker is not installed."""
