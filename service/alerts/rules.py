"""What deserves a person's attention in a run, judged from what is known of it: pure functions, no store, no clock.

The names and meanings are those of deploy/prometheus/alerts.yml. Whether an alert goes on depends on the run's row and
journal alone, so that a process that starts anew, and two that watch the same run, judge alike.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

from service.run.state import RunState, stall_seconds_of
from service.run.trainer_stats import TrainerStats
from service.store.store import RunRow

SHORTEST_SECONDS = 30.0
"""An alert stays on for so long, unless the run ends, so that it does not flap."""
LOST_SECONDS = 30.0
"""Without a sign of life: a start after a crash is quicker."""
NON_FINITE_SECONDS = 600.0
"""How long skipped steps are news."""
SLOW_SECONDS = 600.0
"""A rank is slow for so long before anybody is called."""
DISK_MARGIN = 1.1
"""The alert about the disk ends only with a tenth more room than the one at which it begins."""
GIB = 2**30


@dataclass(frozen=True)
class Alert:
    """One that is on: since when, a sentence with the values, and when that was said. Times are Unix seconds."""

    name: str
    since: float
    sentence: str
    said_at: float


@dataclass(frozen=True)
class Limits:
    """Seconds without a record (0: never an alert), and free GiB in the run directory."""

    record_seconds: float = 86400.0
    disk_gib: float = 2.0


@dataclass(frozen=True)
class RunEvents:
    """What the journal told last, Unix seconds each; None where it told nothing of the kind since the trainer's start.

    `record_at` and `resumed_at`, the end of a pause, are of any start. `checkpoint_problem` is None once a later
    checkpoint was written.
    """

    record_at: float | None = None
    resumed_at: float | None = None
    non_finite_at: float | None = None
    slow_rank: int | None = None
    slow_at: float = 0.0
    checkpoint_problem: str | None = None
    checkpoint_failed_at: float = 0.0


@dataclass(frozen=True)
class AlertInput:
    """Everything that is known of a run at the Unix time `now`. `plateau_patience` is in steps."""

    run: RunRow
    now: float
    run_events: RunEvents = field(default_factory=RunEvents)
    free_bytes: int | None = None
    plateau_patience: int | None = None
    limits: Limits = field(default_factory=Limits)

    @property
    def state(self) -> RunState:
        """What the run is doing."""
        return self.run.reported_state(self.now)

    @property
    def is_running(self) -> bool:
        """Whether steps are to be expected."""
        return self.state is RunState.RUNNING

    @property
    def facts(self) -> TrainerStats:
        """What the trainer tells of its parts."""
        return cast(TrainerStats, self.run.facts or {})


Finding = tuple[float, str] | None
"""Since when it is so, and a sentence; None if it is not so."""


@dataclass(frozen=True)
class Rule:
    """When an alert begins, and as long as `lasts` finds something it goes on.

    `begins` must find something for `patience_seconds` without a break.
    """

    name: str
    begins: Callable[[AlertInput], Finding]
    lasts: Callable[[AlertInput], Finding]
    over: str
    patience_seconds: float = 0.0


@dataclass(frozen=True)
class AlertVerdict:
    """The alerts that are on, and since when those are looming that are not on yet, both by name."""

    on: Mapping[str, Alert] = field(default_factory=dict)
    looming: Mapping[str, float] = field(default_factory=dict)


def evaluate(alert_input: AlertInput, before: AlertVerdict) -> AlertVerdict:
    """Which alerts are on now, given those that were on before."""
    on: dict[str, Alert] = {}
    looming: dict[str, float] = {}
    for rule in RULES:
        earlier = before.on.get(rule.name)
        if earlier is not None:
            if (alert := _lasting(rule, alert_input, earlier)) is not None:
                on[rule.name] = alert
        elif (found := rule.begins(alert_input)) is not None:
            looms_since = min(
                before.looming.get(rule.name, alert_input.now), alert_input.now
            )  # a clock may be set back
            if alert_input.now - looms_since >= rule.patience_seconds:
                on[rule.name] = Alert(rule.name, min(found[0], alert_input.now), found[1], alert_input.now)
            else:
                looming[rule.name] = looms_since
    return AlertVerdict(on, looming)


def over_sentence(alert: Alert, now: float) -> str:
    """What to say of an alert that is over."""
    return f"{_OVER[alert.name]} It took {_duration(max(0.0, now - alert.since))}."


def _lasting(rule: Rule, alert_input: AlertInput, earlier: Alert) -> Alert | None:
    """The alert with the values of now, or None if it is over."""
    found = rule.lasts(alert_input)
    if found is not None:
        return Alert(rule.name, earlier.since, found[1], earlier.said_at)
    is_young = 0 <= alert_input.now - earlier.said_at < SHORTEST_SECONDS
    return earlier if is_young and not alert_input.state.has_ended else None


# What each looks at


def _stalled(alert_input: AlertInput) -> Finding:
    if alert_input.state is not RunState.STALLED:
        return None
    run = alert_input.run
    why = run.reason or "`leitstand ranks` shows which rank the others wait for."
    moved_seconds = alert_input.now - run.progress_at
    stall_seconds = stall_seconds_of(run.config, run.live)
    return run.progress_at + stall_seconds, f"No progress for {_duration(moved_seconds)} at step {run.step}: {why}"


def _lost(alert_input: AlertInput) -> Finding:
    silent_seconds = alert_input.now - alert_input.run.heartbeat_at
    if alert_input.state is not RunState.LOST or silent_seconds < LOST_SECONDS:
        return None
    sentence = (
        f"The trainer has shown no sign of life for {_duration(silent_seconds)}, last at step {alert_input.run.step}."
    )
    return alert_input.run.heartbeat_at + LOST_SECONDS, sentence


def _failed(alert_input: AlertInput) -> Finding:
    if alert_input.state is not RunState.FAILED:
        return None
    run = alert_input.run
    return run.heartbeat_at, f"The training failed at step {run.step}: {run.reason or 'training.log says why.'}"


def _non_finite(alert_input: AlertInput) -> Finding:
    at = alert_input.run_events.non_finite_at
    if at is None or alert_input.state.has_ended or abs(alert_input.now - at) >= NON_FINITE_SECONDS:
        return None
    total = (alert_input.run.snapshot or {}).get("skipped_steps")
    count = "" if not total else f"; {total} in the whole run"
    return at, f"Steps were skipped in the last 10 minutes, because a loss or gradient was not finite{count}."


def _on_plateau(alert_input: AlertInput) -> Finding:
    counter = (alert_input.run.snapshot or {}).get("adaptive_plateau_counter")
    patience = alert_input.plateau_patience
    if alert_input.state.has_ended or counter is None or patience is None or counter < patience:
        return None
    return alert_input.now, f"The loss has not improved for {counter} steps, at step {alert_input.run.step}."


def _slow_rank(alert_input: AlertInput) -> Finding:
    run_events = alert_input.run_events
    if (
        alert_input.state.has_ended
        or run_events.slow_rank is None
        or alert_input.now - run_events.slow_at < SLOW_SECONDS
    ):
        return None
    slow_seconds = _duration(alert_input.now - run_events.slow_at)
    return run_events.slow_at, f"All ranks have been waiting for rank {run_events.slow_rank} for {slow_seconds}."


def _no_record(alert_input: AlertInput) -> Finding:
    limit = alert_input.limits.record_seconds
    run_events = alert_input.run_events
    last = max(alert_input.run.started_at, run_events.record_at or 0.0, run_events.resumed_at or 0.0)
    if limit <= 0 or alert_input.state.has_ended or alert_input.now - last <= limit:
        return None
    return last + limit, f"No record was saved for {_duration(alert_input.now - last)}, at step {alert_input.run.step}."


def _records_unsaved(alert_input: AlertInput) -> Finding:
    count = alert_input.facts.get("unsaved_records", 0)
    if alert_input.state.has_ended or not count:
        return None
    return alert_input.now, f"{_counted(count, 'record')} cannot be written and would be lost with the trainer."


def _checkpoint_failed(alert_input: AlertInput) -> Finding:
    run_events = alert_input.run_events
    if alert_input.state.has_ended or run_events.checkpoint_problem is None:
        return None
    return run_events.checkpoint_failed_at, f"The last checkpoint could not be written: {run_events.checkpoint_problem}"


def _data_lost(alert_input: AlertInput) -> Finding:
    count = alert_input.facts.get("log_points_dropped", 0)
    if alert_input.state.has_ended or not count:
        return None
    return (
        alert_input.now,
        f"{_counted(count, 'log point')} of this run will never be in its curves: its store was away.",
    )


def _disk_below(factor: float) -> Callable[[AlertInput], Finding]:
    def find(alert_input: AlertInput) -> Finding:
        limit, free = alert_input.limits.disk_gib * GIB * factor, alert_input.free_bytes
        if alert_input.state.has_ended or free is None or limit <= 0 or free >= limit:
            return None
        return alert_input.now, f"Only {free / GIB:.1f} GiB are free on the disk of the run directory."

    return find


def _while_running(find: Callable[[AlertInput], Finding]) -> Callable[[AlertInput], Finding]:
    """What a pause or a trainer that is gone explains is no reason to begin."""
    return lambda alert_input: find(alert_input) if alert_input.is_running else None


RULES: Sequence[Rule] = (
    Rule("lost", _lost, _lost, "The trainer reports again, or the run has ended."),
    Rule("failed", _failed, _failed, "The run goes on."),
    Rule("stalled", _stalled, _stalled, "The training moves again, or has ended."),
    Rule("non_finite", _non_finite, _non_finite, "No more steps are skipped."),
    Rule("plateau", _while_running(_on_plateau), _on_plateau, "The plateau is over.", patience_seconds=60.0),
    Rule(
        "slow_rank", _while_running(_slow_rank), _slow_rank, "The ranks are equally fast again, or the run has ended."
    ),
    Rule("no_record", _while_running(_no_record), _no_record, "A record was saved, or the run has ended."),
    Rule("records_unsaved", _records_unsaved, _records_unsaved, "No record waits any more.", patience_seconds=120.0),
    Rule(
        "checkpoint_failed", _checkpoint_failed, _checkpoint_failed, "A checkpoint was written, or the run has ended."
    ),
    Rule("data_lost", _data_lost, _data_lost, "The trainer was started again, or has ended."),
    Rule("disk", _disk_below(1.0), _disk_below(DISK_MARGIN), "There is room on the disk.", patience_seconds=60.0),
)
NAMES = tuple(rule.name for rule in RULES)
_OVER = {rule.name: rule.over for rule in RULES}


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _duration(seconds: float) -> str:
    """`45 s`, `12 min`, `3.5 h`, `2.1 days`."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 2 * 3600:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 2 * 86400 else f"{seconds / 86400:.1f} days"
