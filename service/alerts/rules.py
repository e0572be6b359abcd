"""Alert rules of a run as pure functions of its state: no store, no clock.

Names and meanings are those of deploy/prometheus/alerts.yml. Whether a firing alert persists depends only on the run's
row and events, so that a restarted process, and two processes that watch the same run, evaluate it alike.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

from service.alerts.quantities import count_of, duration
from service.run.state import RunState, effective_stall_seconds
from service.run.trainer_stats import TrainerStats
from service.store.store import RunRow

MIN_FIRING_SECONDS = 30.0
"""Minimum duration of an alert, unless the run ends, so that it does not flap."""
LOST_SECONDS = 30.0
"""Time without a heartbeat before the alert fires; a restart after a crash takes less."""
NON_FINITE_SECONDS = 600.0
"""Duration of the alert after the last skipped step."""
SLOW_SECONDS = 600.0
"""How long a rank must be slow before the alert fires."""
DISK_HYSTERESIS = 1.1
"""The disk alert ends only once the free space exceeds its threshold by this factor."""
GIB = 2**30


@dataclass(frozen=True)
class Alert:
    """A firing alert: start of the condition, a sentence with the values, time of the alert. Times are Unix seconds."""

    name: str
    since: float
    sentence: str
    fired_at: float


@dataclass(frozen=True)
class AlertThresholds:
    """Maximum seconds without a record (0 disables the alert), and minimum free GiB in the run directory."""

    record_seconds: float = 86400.0
    disk_gib: float = 2.0


@dataclass(frozen=True)
class RunEvents:
    """The latest relevant events of a run, as Unix seconds; None if there was none since the trainer's start.

    `record_at` and `resumed_at` (the end of a pause) are kept across starts. `checkpoint_problem` is None again once a
    later checkpoint was written. `second_trainer` says that two trainers train the run, found during the start with the
    number `second_trainer_start`; it is None again once one of them is gone. `lost_directory` says that the run
    directory was moved or deleted under the trainer.
    """

    record_at: float | None = None
    resumed_at: float | None = None
    non_finite_at: float | None = None
    slow_rank: int | None = None
    slow_at: float = 0.0
    checkpoint_problem: str | None = None
    checkpoint_failed_at: float = 0.0
    second_trainer: str | None = None
    second_trainer_start: int | None = None
    second_trainer_at: float = 0.0
    lost_directory: str | None = None
    directory_lost_at: float = 0.0


@dataclass(frozen=True)
class AlertInput:
    """Input of the rules: the state of a run at the Unix time `now`. `plateau_patience` is in steps."""

    run: RunRow
    now: float
    run_events: RunEvents = field(default_factory=RunEvents)
    free_bytes: int | None = None
    plateau_patience: int | None = None
    thresholds: AlertThresholds = field(default_factory=AlertThresholds)

    @property
    def state(self) -> RunState:
        """The run's state at `now`."""
        return self.run.reported_state(self.now)

    @property
    def is_running(self) -> bool:
        """True if the run should make steps."""
        return self.state is RunState.RUNNING

    @property
    def trainer_stats(self) -> TrainerStats:
        """The statistics that the trainer reports with its heartbeat."""
        return cast(TrainerStats, self.run.facts or {})


Finding = tuple[float, str] | None
"""Start of a condition (Unix seconds) and a sentence, or None if the condition does not hold."""


@dataclass(frozen=True)
class Rule:
    """One alert rule.

    The alert fires once `fires` has returned a finding for `pending_seconds` without interruption, and ends when
    `persists` returns None. `resolution` is the sentence for its end.
    """

    name: str
    fires: Callable[[AlertInput], Finding]
    persists: Callable[[AlertInput], Finding]
    resolution: str
    pending_seconds: float = 0.0


@dataclass(frozen=True)
class AlertVerdict:
    """Result of an evaluation: firing alerts, and the start (Unix seconds) of pending ones, both by name."""

    firing: Mapping[str, Alert] = field(default_factory=dict)
    pending: Mapping[str, float] = field(default_factory=dict)


def evaluate(alert_input: AlertInput, previous: AlertVerdict) -> AlertVerdict:
    """Return the firing and pending alerts, given those of the previous evaluation."""
    firing: dict[str, Alert] = {}
    pending: dict[str, float] = {}
    now = alert_input.now
    for rule in RULES:
        earlier = previous.firing.get(rule.name)
        if earlier is not None:
            if (alert := _persisting(rule, alert_input, earlier)) is not None:
                firing[rule.name] = alert
        elif (finding := rule.fires(alert_input)) is not None:
            pending_since = min(previous.pending.get(rule.name, now), now)  # the clock may have been set back
            if now - pending_since >= rule.pending_seconds:
                firing[rule.name] = Alert(rule.name, min(finding[0], now), finding[1], now)
            else:
                pending[rule.name] = pending_since
    return AlertVerdict(firing, pending)


def resolved_sentence(alert: Alert, now: float) -> str:
    """Return the sentence for an alert that ended at the Unix time `now`."""
    return f"{_RESOLUTIONS[alert.name]} It took {duration(max(0.0, now - alert.since))}."


def _persisting(rule: Rule, alert_input: AlertInput, earlier: Alert) -> Alert | None:
    """Return the alert with its present values, or None if it has ended."""
    finding = rule.persists(alert_input)
    if finding is not None:
        return Alert(rule.name, earlier.since, finding[1], earlier.fired_at)
    is_recent = 0 <= alert_input.now - earlier.fired_at < MIN_FIRING_SECONDS
    return earlier if is_recent and not alert_input.state.has_ended else None


# Conditions


def _stalled(alert_input: AlertInput) -> Finding:
    if alert_input.state is not RunState.STALLED:
        return None
    run = alert_input.run
    reason = run.reason or "`leitstand ranks` shows which rank the others wait for."
    stalled_seconds = alert_input.now - run.progress_at
    stall_seconds = effective_stall_seconds(run.config, run.live)
    return run.progress_at + stall_seconds, f"No progress for {duration(stalled_seconds)} at step {run.step}: {reason}"


def _lost(alert_input: AlertInput) -> Finding:
    run, silent_seconds = alert_input.run, alert_input.now - alert_input.run.heartbeat_at
    if alert_input.state is not RunState.LOST or silent_seconds < LOST_SECONDS:
        return None
    sentence = f"The trainer has shown no sign of life for {duration(silent_seconds)}, last at step {run.step}."
    return run.heartbeat_at + LOST_SECONDS, sentence


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
    run_events, seconds = alert_input.run_events, alert_input.now - alert_input.run_events.slow_at
    if alert_input.state.has_ended or run_events.slow_rank is None or seconds < SLOW_SECONDS:
        return None
    sentence = f"All ranks have been waiting for rank {run_events.slow_rank} for {duration(seconds)}."
    return run_events.slow_at, sentence


def _no_record(alert_input: AlertInput) -> Finding:
    max_seconds = alert_input.thresholds.record_seconds
    run_events = alert_input.run_events
    last = max(alert_input.run.started_at, run_events.record_at or 0.0, run_events.resumed_at or 0.0)
    if max_seconds <= 0 or alert_input.state.has_ended or alert_input.now - last <= max_seconds:
        return None
    sentence = f"No record was saved for {duration(alert_input.now - last)}, at step {alert_input.run.step}."
    return last + max_seconds, sentence


def _records_unsaved(alert_input: AlertInput) -> Finding:
    count = alert_input.trainer_stats.get("unsaved_records", 0)
    if alert_input.state.has_ended or not count:
        return None
    return (
        alert_input.now,
        f"{count_of(count, 'record')} cannot be written and would be lost with the trainer; training.log says why.",
    )


def _checkpoint_failed(alert_input: AlertInput) -> Finding:
    run_events = alert_input.run_events
    if alert_input.state.has_ended or run_events.checkpoint_problem is None:
        return None
    return run_events.checkpoint_failed_at, f"The last checkpoint could not be written: {run_events.checkpoint_problem}"


def _second_trainer(alert_input: AlertInput) -> Finding:
    found = alert_input.run_events
    is_of_this_start = found.second_trainer_start == alert_input.run.start_number
    if alert_input.state.has_ended or found.second_trainer is None or not is_of_this_start:
        return None
    return found.second_trainer_at, found.second_trainer


def _directory_lost(alert_input: AlertInput) -> Finding:
    found = alert_input.run_events
    if alert_input.state.has_ended or found.lost_directory is None:
        return None
    return found.directory_lost_at, found.lost_directory


def _data_lost(alert_input: AlertInput) -> Finding:
    count = alert_input.trainer_stats.get("log_points_dropped", 0)
    if alert_input.state.has_ended or not count:
        return None
    return (
        alert_input.now,
        f"{count_of(count, 'log point')} of this run will never be in its curves: its store was away or refused them; "
        "all records are in their files.",
    )


def _disk_below(factor: float) -> Callable[[AlertInput], Finding]:
    def find(alert_input: AlertInput) -> Finding:
        min_bytes, free_bytes = alert_input.thresholds.disk_gib * GIB * factor, alert_input.free_bytes
        if alert_input.state.has_ended or free_bytes is None or min_bytes <= 0 or free_bytes >= min_bytes:
            return None
        return alert_input.now, f"Only {free_bytes / GIB:.1f} GiB are free on the disk of the run directory."

    return find


def _while_running(find: Callable[[AlertInput], Finding]) -> Callable[[AlertInput], Finding]:
    """Restrict a condition to running runs, because a pause or a missing trainer would explain it."""
    return lambda alert_input: find(alert_input) if alert_input.is_running else None


RULES: Sequence[Rule] = (
    Rule("lost", _lost, _lost, "The trainer reports again, or the run has ended."),
    Rule("failed", _failed, _failed, "The run goes on."),
    Rule("stalled", _stalled, _stalled, "The training moves again, or has ended."),
    Rule("non_finite", _non_finite, _non_finite, "No more steps are skipped."),
    Rule("plateau", _while_running(_on_plateau), _on_plateau, "The plateau is over.", pending_seconds=60.0),
    Rule(
        "slow_rank", _while_running(_slow_rank), _slow_rank, "The ranks are equally fast again, or the run has ended."
    ),
    Rule("no_record", _while_running(_no_record), _no_record, "A record was saved, or the run has ended."),
    Rule("records_unsaved", _records_unsaved, _records_unsaved, "No record waits any more.", pending_seconds=120.0),
    Rule(
        "checkpoint_failed", _checkpoint_failed, _checkpoint_failed, "A checkpoint was written, or the run has ended."
    ),
    Rule("second_trainer", _second_trainer, _second_trainer, "One trainer is left, or the run was started again."),
    Rule("directory_lost", _directory_lost, _directory_lost, "The run was started again, or has ended."),
    Rule("data_lost", _data_lost, _data_lost, "The trainer was started again, or has ended."),
    Rule("disk", _disk_below(1.0), _disk_below(DISK_HYSTERESIS), "There is room on the disk.", pending_seconds=60.0),
)
NAMES = tuple(rule.name for rule in RULES)
_RESOLUTIONS = {rule.name: rule.resolution for rule in RULES}
