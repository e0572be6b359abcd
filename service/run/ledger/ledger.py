"""The ledger of a run: what its wall time went to, and its incidents, folded from its events one by one.

    registered   a start began: how the one before it ended, and what that had spent its time on
    started      the step after which it goes on: later ones are lost
    checkpoint, rollback, time spent
                 what the start has spent its time on up to a step
    stalled, going on, recovered, alert
                 what kept it from training

The row of the run has the time that the present start has spent. Starts of earlier versions have no event `registered`
and report no time: what they did is unknown, and so is when they ended.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from service.run.ledger.answer import LedgerAnswer
from service.run.ledger.incident_log import IncidentLog
from service.run.ledger.kept_work import KeptWork
from service.run.ledger.last_seen import LastSeen
from service.run.ledger.time_spent import Activity, TimeSpent, TimeUse, number

REGISTERED = "registered"
TIME_SPENT = "time spent"
KINDS = (
    *(REGISTERED, "started", "checkpoint", "rollback", TIME_SPENT),
    *("stalled", "going on", "recovered", "alert"),
)
"""Kinds of the events that the ledger needs."""
_STAGES = {
    "validation": Activity.VALIDATING, "checkpoint": Activity.SAVING, "starting": Activity.STARTING,
    "paused": Activity.PAUSED,
}  # fmt: skip
"""What a trainer does while a rank hangs in a stage; in all others it trains."""

Seconds = dict[TimeUse, float]


class LedgerEvent(Protocol):
    """One event of a run, as the store has it."""

    @property
    def time(self) -> float:
        """Unix seconds."""

    @property
    def step(self) -> int:
        """The step at which it was reported."""

    @property
    def kind(self) -> str:
        """What happened."""

    @property
    def details(self) -> Mapping[str, Any]:
        """More of it."""


@dataclass
class _Start:
    """One start. `is_measured` if its trainer reports what it spends its time on."""

    began_at: float
    is_measured: bool
    has_started: bool = False
    latest: TimeSpent | None = None
    stalled: dict[Activity, float] = field(default_factory=dict)
    stall: tuple[float, Activity] | None = None

    def own(self, spent: TimeSpent | None) -> TimeSpent | None:
        """Return the latest known of this start's time: `spent`, if it is its own, or what an event has said."""
        if spent is None or not spent.is_of(self.began_at):
            return self.latest
        return spent if self.latest is None or spent.at >= self.latest.at else self.latest

    def seconds_of(self, spent: TimeSpent) -> dict[Activity, float]:
        """Return the seconds of each activity, those in which a rank hung as stalled."""
        seconds, hung = dict(spent.seconds), dict(self.stalled)
        if self.stall is not None:
            since, activity = self.stall
            hung[activity] = hung.get(activity, 0.0) + max(0.0, spent.at - since)
        for activity, stalled in hung.items():
            moved = min(stalled, seconds[activity])
            seconds[activity] -= moved
            seconds[Activity.STALLED] += moved
        return seconds


class RunLedger:
    """The ledger of one run; `apply` takes its events of `KINDS` in their order."""

    def __init__(self) -> None:
        self._seconds: Seconds = defaultdict(float)
        self._training_seconds = 0.0
        self._work = KeptWork()
        self._start: _Start | None = None
        self._log = IncidentLog()

    def apply(self, event: LedgerEvent) -> None:
        """Take in the next event; one of another shape than expected as far as it can be understood."""
        at, step, details = event.time, event.step, event.details
        match event.kind:
            case "registered":
                self._register(at, details)
            case "started":
                self._go_on(at, step, details)
            case "checkpoint" | "time spent":
                self._note(TimeSpent.parse(details.get("time_spent")))
            case "rollback":
                self._roll_back(at, step, details)
            case "stalled":
                self._stall(at, step, details)
            case "going on":
                self._end_stall(at, details)
            case "recovered":
                self._log.recovered(at, details)
            case "alert":
                self._log.alert(at, details)

    def answer(self, seen: LastSeen | None, *, is_lost: bool = False) -> LedgerAnswer:
        """Return the ledger with the present start, of which `seen` is known; `is_lost` if it gives no sign of life."""
        seconds: Seconds = defaultdict(float, self._seconds)
        training_seconds, training_at = self._training_seconds, None
        if seen is not None:
            present, trained, _ = self._times_of(seen)
            training_seconds += trained
            for use, value in present.items():
                seconds[use] += value
            spent = self._spent_of(seen)
            training_at = None if spent is None else spent.training_at
        seconds[TimeUse.REPEATED] = min(self._work.lost_seconds, training_seconds)
        seconds[TimeUse.USEFUL] = training_seconds - seconds[TimeUse.REPEATED]
        return LedgerAnswer(
            {use: round(seconds[use], 3) for use in TimeUse},
            tuple(self._log.incidents(seen, training_at, is_lost=is_lost)),
            {kind: count for kind, count in self._log.present_counts(seen, is_lost=is_lost).items() if count},
            self._log.steps_lost,
        )

    def _spent_of(self, seen: LastSeen) -> TimeSpent | None:
        """Return what is known of the present start's time; None if nothing is."""
        start, spent = self._start, seen.spent
        if start is None or (spent is not None and not start.is_measured and spent.began_at > start.began_at):
            return spent
        return start.own(spent)

    # Starts

    def _register(self, at: float, details: Mapping[str, Any]) -> None:
        """Close the start before, and begin another."""
        began_at, previous = number(details.get("began_at")), LastSeen.parse(details.get("previous"))
        began_at = at if began_at is None else began_at
        if previous is not None:
            ended_at = self._close(previous)
            use = TimeUse.STOPPED if previous.was_asked_for else TimeUse.DOWN
            self._seconds[use] += max(0.0, began_at - ended_at)
        elif self._start is not None:  # the row was gone
            self._close_unseen(began_at)
        self._log.registered(began_at, details, previous)
        self._start = _Start(began_at, is_measured=True)

    def _close(self, seen: LastSeen) -> float:
        """Add up the present start, which ended as `seen`; return when (Unix seconds)."""
        times, trained, ended_at = self._times_of(seen)
        self._add(times, trained)
        if seen.step is not None:
            self._work.note(seen.step, self._training_seconds)
        return ended_at

    def _close_unseen(self, until: float) -> None:
        """Add up the present start, of which nothing says when it ended, and the time until the next one began."""
        start = self._start
        if start is None:
            return
        if start.latest is None:
            self._seconds[TimeUse.UNKNOWN] += max(0.0, until - start.began_at)
            return
        self._add(*_by_use(start.seconds_of(start.latest)))
        self._seconds[TimeUse.UNKNOWN] += max(0.0, until - start.latest.at)

    def _add(self, times: Seconds, trained: float) -> None:
        for use, seconds in times.items():
            self._seconds[use] += seconds
        self._training_seconds += trained

    def _times_of(self, seen: LastSeen) -> tuple[Seconds, float, float]:
        """Return the seconds of the present start by use, those of its steps, and when it ended (Unix seconds)."""
        start, spent = self._start, self._spent_of(seen)
        began_at = seen.started_at if start is None else start.began_at
        if spent is None:
            ended_at = max(began_at, seen.heartbeat_at)
            use = TimeUse.STARTING if start is not None and start.is_measured else TimeUse.UNKNOWN
            return {use: ended_at - began_at}, 0.0, ended_at
        if start is None or not spent.is_of(began_at):  # what came before is of an earlier version
            times, trained = _by_use(spent.seconds)
            before = 0.0 if start is None else spent.began_at - began_at
            return {**times, TimeUse.UNKNOWN: before}, trained, spent.at
        times, trained = _by_use(start.seconds_of(spent))
        unseen = 0.0 if spent is seen.spent else max(0.0, seen.heartbeat_at - spent.at)
        return {**times, TimeUse.UNKNOWN: unseen}, trained, spent.at + unseen

    def _go_on(self, at: float, step: int, details: Mapping[str, Any]) -> None:
        """Begin the steps of a start after `step`."""
        if self._start is None or self._start.has_started:  # of an earlier version, which registers none
            self._close_unseen(at)
            self._start = _Start(at, is_measured=False)
        self._start.has_started = True
        self._work.go_back(step, self._training_seconds)
        self._log.started(step, details.get("world_size"))

    # What happens in a start

    def _note(self, spent: TimeSpent | None) -> None:
        """Take in what the present start has spent its time on."""
        start = self._start
        if start is None and spent is not None:  # the store has taken the place of another one
            self._start = start = _Start(spent.began_at, is_measured=True, has_started=True)
        if start is None or spent is None or not spent.is_of(start.began_at):
            return
        start.latest = spent
        self._work.note(spent.step, self._training_seconds + start.seconds_of(spent)[Activity.TRAINING])
        if spent.training_at is not None:
            self._log.training(spent.training_at)

    def _roll_back(self, at: float, step: int, details: Mapping[str, Any]) -> None:
        spent, start = TimeSpent.parse(details.get("time_spent")), self._start
        self._note(spent)
        trained = 0.0 if start is None or start.latest is None else start.seconds_of(start.latest)[Activity.TRAINING]
        self._work.go_back(step, self._training_seconds + trained)
        self._log.rolled_back(at, step, details)

    def _stall(self, at: float, step: int, details: Mapping[str, Any]) -> None:
        seconds = number(details.get("seconds"))
        if self._start is not None and seconds is not None:
            self._start.stall = (at - seconds, _STAGES.get(str(details.get("stage")), Activity.TRAINING))
        self._log.stalled(at, step, details)

    def _end_stall(self, at: float, details: Mapping[str, Any]) -> None:
        if self._start is not None and self._start.stall is not None:
            since, activity = self._start.stall
            seconds = number(details.get("seconds"))
            stalled = at - since if seconds is None else seconds
            self._start.stalled[activity] = self._start.stalled.get(activity, 0.0) + max(0.0, stalled)
            self._start.stall = None
        self._log.going_on(at)


def _by_use(seconds: Mapping[Activity, float]) -> tuple[Seconds, float]:
    """Return the seconds of what is no step by use, and those of steps."""
    others = {TimeUse(one.value): value for one, value in seconds.items() if one is not Activity.TRAINING}
    return others, seconds[Activity.TRAINING]
