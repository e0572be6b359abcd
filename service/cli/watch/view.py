"""What the view knows of a run: the latest answers, the curves and the journal, changed by one update at a time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from service.api_types import AlertEntry, EnvelopeSeries, RankEntry
from service.cli.watch.journal import Journal
from service.cli.watch.updates import (
    AlertsSeen,
    CurvesSeen,
    EventSeen,
    HistorySeen,
    RanksSeen,
    RightsSeen,
    StateSeen,
    StreamSeen,
    Trouble,
    Update,
)
from service.client.client import ApiError
from service.client.sse import LiveEvent
from service.commands import CommandState, Kind
from service.errors import UserError
from service.run.state import RunState

LOSS, VALIDATION_LOSS = "total_loss_value", "validation_loss_value"
QUALITY_KI, QUALITY_LR = "quality_ki_value", "quality_lr_value"
DRAWN = (LOSS, VALIDATION_LOSS, QUALITY_KI, QUALITY_LR)
"""The values of which the view draws curves."""
QUIET_SECONDS = 6.0
"""Without an answer for so long, the API counts as away, although no request has failed yet."""
MAX_STRETCHES = 4000
"""A curve with more stretches is asked for anew, which joins them."""
SINCE = {"paused": RunState.PAUSED, "resumed": RunState.RUNNING, "started": RunState.RUNNING}
"""Kinds of the event log that say since when a state lasts."""


@dataclass(frozen=True)
class Stretch:
    """A value over a range of steps: its mean, lowest and highest value."""

    first_step: int
    last_step: int
    mean: float
    low: float
    high: float


@dataclass
class Curve:
    """The stretches of one value in the order of their steps."""

    stretches: list[Stretch] = field(default_factory=list)

    @classmethod
    def of(cls, series: EnvelopeSeries) -> "Curve":
        """Return the curve in one series of the API's answer."""
        columns = (series["steps"], series["last_steps"], series["means"], series["lows"], series["highs"])
        return cls([Stretch(*row) for row in zip(*columns, strict=True)])

    @property
    def last(self) -> float | None:
        """The latest value, or None."""
        return self.stretches[-1].mean if self.stretches else None

    def add(self, step: int, value: float) -> None:
        """Append a log point; one at a step that is known already is left out."""
        if not self.stretches or step > self.stretches[-1].last_step:
            self.stretches.append(Stretch(step, step, value, value, value))


class Link(StrEnum):
    """How the view hears of the run."""

    CONNECTING = "connecting"
    LIVE = "live"
    POLLING = "polling"
    AWAY = "away"
    REFUSED = "refused"


class RunView:
    """The whole content of the view. Used by one thread; `is_stale` is set when the curves must be asked for anew."""

    def __init__(self) -> None:
        self.state: Mapping[str, Any] | None = None
        self.ranks: Sequence[RankEntry] = ()
        self.alerts: Sequence[AlertEntry] | None = None
        self.curves: dict[str, Curve] = {}
        self.journal = Journal()
        self.may_act = True
        self.trouble: UserError | None = None
        self.has_curves = self.has_history = False
        self.is_stale = False
        self._state_at = self._answered_at = 0.0
        self._is_streaming = False
        self._since: dict[RunState, float] = {}

    def apply(self, update: Update) -> None:
        """Take in what the feed has brought."""
        match update:
            case StateSeen(state, at):
                self._take_state(state, at)
            case EventSeen(event, at):
                self._take_event(event, at)
            case RanksSeen(ranks, at):
                self.ranks = ranks
                self._answered(at)
            case CurvesSeen(envelope):
                self.curves = {name: Curve.of(series) for name, series in envelope["series"].items()}
                self.has_curves, self.is_stale = True, False
            case HistorySeen(commands, records):
                self._since.update(_changes(commands))
                self.journal.fill(commands, records)
                self.has_history = True
            case AlertsSeen(alerts, at):
                self.alerts = alerts
                self.journal.note_alerts(alerts, at)
            case StreamSeen(is_open):
                self._is_streaming = is_open
            case RightsSeen(may_act):
                self.may_act = may_act
            case Trouble(error):
                self._take_trouble(error)

    @property
    def is_complete(self) -> bool:
        """True once everything has been answered that a whole picture needs."""
        return self.state is not None and self.has_curves and self.has_history and self.alerts is not None

    @property
    def run_state(self) -> RunState | None:
        """The run's state as it was reported last, or None without a run."""
        return None if self.state is None else RunState(self.state["run_state"])

    @property
    def step(self) -> int:
        """The last step that is known to be done."""
        known = (self.state or {}).get("step_live"), (self.state or {}).get("step_current")
        return max((step for step in known if step is not None), default=0)

    def link(self, now: float) -> Link:
        """Return how the view hears of the run at the Unix time `now`."""
        if isinstance(self.trouble, ApiError) and self.trouble.status in {401, 403}:
            return Link.REFUSED
        if self.trouble is not None and not _says_no_run(self.trouble):
            return Link.AWAY
        if self._answered_at and now - self._answered_at > QUIET_SECONDS:
            return Link.AWAY
        if not self._answered_at and self.trouble is None:
            return Link.CONNECTING
        return Link.LIVE if self._is_streaming else Link.POLLING

    def takes_commands(self, now: float) -> bool:
        """Return True if a command from here could be carried out: token, API and trainer allow it."""
        state = self.run_state
        return self.may_act and self.is_current(now) and state is not None and state.has_trainer

    def is_current(self, now: float) -> bool:
        """Return True if the API answers, so that what is shown is how it is."""
        return self.link(now) not in {Link.AWAY, Link.REFUSED}

    def age_seconds(self, now: float, key: str = "age_seconds") -> float:
        """Return the seconds since the trainer's last sign of life (or another age of the state) at `now`."""
        return float((self.state or {}).get(key, 0.0)) + max(0.0, now - self._state_at)

    def since(self, now: float) -> float | None:
        """Return since when (Unix seconds) the present state lasts; None if that is not known."""
        state = self.run_state
        if state is None or self.state is None:
            return None
        if state is RunState.LOST or state.has_ended:
            return now - self.age_seconds(now)
        if state is RunState.STALLED:
            return now - self.age_seconds(now, "progress_age_seconds")
        started_at = float(self.state["started_at"])
        known = self._since.get(state)
        if known is not None and known >= started_at:
            return known
        return None if state is RunState.PAUSED else started_at

    def _answered(self, at: float) -> None:
        self._answered_at = max(self._answered_at, at)
        self.trouble = None

    def _take_trouble(self, error: UserError) -> None:
        self.trouble = error
        if _says_no_run(error):
            self._begin_run(None)
        elif isinstance(error, ApiError) and error.slug == "insufficient-scope":
            self.may_act, self.trouble = False, None

    def _take_state(self, state: Mapping[str, Any], at: float) -> None:
        self._answered(at)
        if self.state is not None and (self.state["run_id"], self.state["started_at"]) != (
            state["run_id"], state["started_at"],
        ):  # fmt: skip
            self._begin_run(state)
        before = self.run_state
        self.state, self._state_at = state, at
        after = RunState(state["run_state"])
        if before is not None and before is not after:
            reason = f" ({state['run_reason']})" if state.get("run_reason") else ""
            self.journal.note(at, "state", f"{after} at step {self.step}{reason}", _STATE_TONES.get(after, "text"))

    def _begin_run(self, state: Mapping[str, Any] | None) -> None:
        """Forget what belongs to the run before, or to its start before."""
        is_other = state is None or self.state is None or self.state["run_id"] != state["run_id"]
        self.state, self.ranks, self.is_stale = None, (), True
        if is_other:
            self.curves, self.has_curves = {}, False
            self.journal.clear()
            self._since.clear()

    def _take_event(self, event: LiveEvent, at: float) -> None:
        self._answered(at)
        if event.kind == "log":
            self._add_points(event.data, event.data.get("values", {}))
            return
        self.journal.add(event, at)
        if event.kind == "record":
            self._add_points(event.data, event.data)
        if event.kind == "event" and (state := SINCE.get(str(event.data.get("kind")))):
            self._since[state] = float(event.data.get("time", at))
        if event.kind in {"gap", "run"} or event.data.get("kind") in {"rollback", "started"}:
            self.is_stale = True

    def _add_points(self, data: Mapping[str, Any], values: Mapping[str, Any]) -> None:
        for name in DRAWN:
            value = values.get(name)
            if isinstance(value, int | float):
                curve = self.curves.setdefault(name, Curve())
                curve.add(int(data["step"]), float(value))
                self.is_stale |= len(curve.stretches) > MAX_STRETCHES


_STATE_TONES = {
    RunState.LOST: "bad", RunState.FAILED: "bad", RunState.STALLED: "warn", RunState.PAUSED: "warn",
    RunState.RUNNING: "good", RunState.FINISHED: "good",
}  # fmt: skip


def _says_no_run(error: UserError) -> bool:
    return isinstance(error, ApiError) and error.slug == "no-run"


def _changes(commands: Sequence[Mapping[str, Any]]) -> dict[RunState, float]:
    """Return since when a pause or its end lasts, from the commands, which come newest first."""
    found: dict[RunState, float] = {}
    states = {Kind.PAUSE: RunState.PAUSED, Kind.RESUME: RunState.RUNNING}
    for command in commands:
        state = states.get(command["kind"])
        if state is not None and command["state"] == CommandState.DONE and command["finished_at"] is not None:
            found.setdefault(state, float(command["finished_at"]))
    return found
