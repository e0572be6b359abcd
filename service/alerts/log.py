"""The alerts of one run according to its event log, to which every start and end of an alert is appended once."""

import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import sqlalchemy as sa

from service.alerts.rules import (
    NAMES,
    Alert,
    AlertInput,
    AlertThresholds,
    AlertVerdict,
    RunEvents,
    evaluate,
    resolved_sentence,
)
from service.config.live_settings import LiveSettings
from service.errors import CommandError
from service.store.queries.events import Event, append_event
from service.store.store import RunRow, Store
from service.store.tables import events

RELEVANT_KINDS = (
    *("record", "not finite", "slow rank", "checkpoint", "checkpoint failed", "started", "resumed"),
    *("second trainer", "second trainer gone", "directory lost"),
)
"""Kinds of event that the rules use, besides `alert`; only the latest event of each kind matters."""


class AlertLog:
    """The alerts of one run; safe to use from several threads. Methods raise `StoreUnavailableError`."""

    def __init__(self, store: Store, run_id: str) -> None:
        self.store = store
        self.run_id = run_id
        self._lock = threading.Lock()
        self._last_event_id = 0
        self._run_events = RunEvents()
        self._firing: dict[str, Alert] = {}
        self._pending: Mapping[str, float] = {}
        self.last_change_id = 0
        """The id of the latest event of kind `alert`."""

    def current(self, run: RunRow, free_bytes: int | None, now: float) -> AlertVerdict:
        """Return the alerts at the Unix time `now`, including those that are not in the event log yet."""
        with self._lock:
            self._read()
            return self._verdict(alert_input_of(run, free_bytes, now))

    def record_changes(self, run: RunRow, free_bytes: int | None, now: float, *, only_ends: bool = False) -> None:
        """Append an event for every alert that has started or ended since the last event about it.

        Concurrent calls, also from other processes, append no event twice. With `only_ends`, no alert starts. `now` is
        Unix seconds.
        """
        with self._lock:
            self._read()
            alert_input = alert_input_of(run, free_bytes, now)
            verdict = self._verdict(alert_input)
            if any(self._changes(verdict, only_ends=only_ends)):
                self._write(alert_input, only_ends=only_ends)
                self._read()
            self._pending = verdict.pending  # assigned last, so that an alert that was not written is found again

    def _verdict(self, alert_input: AlertInput) -> AlertVerdict:
        """Judge by times on the trainer's present clock: how long ago something was, is asked of all of them."""
        run, present = alert_input.run, partial(self.store.runs.on_present_clock, self.run_id)
        fields = vars(self._run_events).items()
        times: dict[str, Any] = {name: present(at) for name, at in fields if name.endswith("_at") and at}
        run_events = replace(self._run_events, **times)
        run = replace(run, started_at=present(run.started_at))
        pending = {name: present(since) for name, since in self._pending.items()}
        return evaluate(replace(alert_input, run=run, run_events=run_events), AlertVerdict(self._firing, pending))

    def _changes(self, verdict: AlertVerdict, *, only_ends: bool) -> Iterator[Alert]:
        """Yield the alerts that have started or ended compared to the event log."""
        for name in NAMES:
            before, after = self._firing.get(name), verdict.firing.get(name)
            if before is None and after is not None and not only_ends:
                yield after
            elif before is not None and after is None:
                yield before

    def _write(self, alert_input: AlertInput, *, only_ends: bool) -> None:
        now = alert_input.now
        with self.store.run_transaction(self.run_id) as connection:
            self._read_new(connection)  # another process may have appended in the meantime
            for alert in list(self._changes(self._verdict(alert_input), only_ends=only_ends)):
                has_ended = alert.name in self._firing
                sentence = resolved_sentence(alert, now) if has_ended else alert.sentence
                details = {"name": alert.name, "is_on": not has_ended, "since": now if has_ended else alert.since}
                append_event(connection, self.run_id, None, "alert", {**details, "sentence": sentence})

    def _read(self) -> None:
        is_first = self._last_event_id == 0
        with self.store.transaction() as connection:
            self._read_new(connection)
        if is_first and self._run_events.record_at is None:  # an earlier version logged no events for records
            versions = self.store.records.find_versions(self.run_id, newest_first=True, limit=1)
            self._run_events = replace(self._run_events, record_at=versions[0].time if versions else None)

    def _read_new(self, connection: sa.Connection) -> None:
        condition = _after(self.run_id, self._last_event_id) if self._last_event_id else _latest(self.run_id)
        # Sorted here, because for ORDER BY PostgreSQL would scan the later events of all other runs.
        for row in sorted(connection.execute(sa.select(events).where(condition)), key=lambda row: row.id):
            self._apply(Event(**row._asdict()))

    def _apply(self, event: Event) -> None:
        self._last_event_id = event.id
        if event.kind == "alert":
            self.last_change_id = event.id
            self._apply_alert(event)
        else:
            self._run_events = replace(self._run_events, **_changed_fields(event))

    def _apply_alert(self, event: Event) -> None:
        name = event.details["name"]
        if event.details["is_on"]:
            self._firing[name] = Alert(name, event.details["since"], event.details["sentence"], event.time)
        else:
            self._firing.pop(name, None)


def _after(run_id: str, event_id: int) -> sa.ColumnElement[bool]:
    return (events.c.run_id == run_id) & events.c.kind.in_(("alert", *RELEVANT_KINDS)) & (events.c.id > event_id)


def _latest(run_id: str) -> sa.ColumnElement[bool]:
    """Return a condition for the latest event of every kind and about every alert.

    Applied in order, these events give the same result as the whole log. The index by kind finds them; of a long log
    only the alert events are read.
    """
    last_id, of_run = sa.select(sa.func.max(events.c.id)), events.c.run_id == run_id
    of_kinds = last_id.where(of_run & events.c.kind.in_(RELEVANT_KINDS)).group_by(events.c.kind)
    of_alerts = last_id.where(of_run & (events.c.kind == "alert")).group_by(events.c.details["name"].as_string())
    return events.c.id.in_(of_kinds.union_all(of_alerts))


def alert_input_of(run: RunRow, free_bytes: int | None, now: float) -> AlertInput:
    """Return the input of the rules without events.

    The thresholds are those of the run's own settings, so that all processes that watch the run evaluate it alike.
    """
    try:
        settings = LiveSettings.of_run(run.config, run.live).config
    except CommandError:  # written by another version
        return AlertInput(run, now, free_bytes=free_bytes)
    thresholds = AlertThresholds(settings.alert_record_seconds, settings.alert_disk_gib)
    patience = settings.plateau_patience
    return AlertInput(run, now, free_bytes=free_bytes, plateau_patience=patience, thresholds=thresholds)


def _changed_fields(event: Event) -> dict[str, Any]:
    """Return the fields of `RunEvents` that this event changes."""
    match event.kind:
        case "record":
            return {"record_at": event.time}
        case "not finite":
            return {"non_finite_at": event.time}
        case "slow rank":
            return {"slow_rank": event.details.get("rank"), "slow_at": event.time}
        case "checkpoint failed":
            return {"checkpoint_problem": str(event.details.get("reason")), "checkpoint_failed_at": event.time}
        case "checkpoint":
            return {"checkpoint_problem": None}
        case "resumed":
            return {"resumed_at": event.time}
        case "second trainer":
            details = event.details
            found = {"second_trainer": str(details.get("reason")), "second_trainer_start": details.get("start_number")}
            return {**found, "second_trainer_at": event.time}
        case "second trainer gone":
            return {"second_trainer": None}
        case "directory lost":
            return {"lost_directory": str(event.details.get("reason")), "directory_lost_at": event.time}
        case _:  # started: problems of an earlier trainer no longer apply
            return {"non_finite_at": None, "slow_rank": None, "checkpoint_problem": None, "lost_directory": None}
