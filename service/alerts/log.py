"""The alerts of one run as its journal has them: what is on, and every beginning and end written down exactly once."""

import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from service.alerts.rules import NAMES, Alert, AlertInput, AlertVerdict, Limits, RunEvents, evaluate, over_sentence
from service.config.live_settings import LiveSettings
from service.errors import CommandError
from service.store.queries.events import Event, append_event
from service.store.store import RunRow, Store
from service.store.tables import events

NEWS = ("record", "not finite", "slow rank", "checkpoint", "checkpoint failed", "started", "resumed")
"""What of the journal matters for alerts, beside those themselves: of each kind only the last entry."""


class AlertLog:
    """One run's alerts; safe to use from several threads. Methods raise `StoreUnavailableError`."""

    def __init__(self, store: Store, run_id: str) -> None:
        self.store = store
        self.run_id = run_id
        self._lock = threading.Lock()
        self._read_to = 0
        self._run_events = RunEvents()
        self._on: dict[str, Alert] = {}
        self._looming: Mapping[str, float] = {}
        self.last_change_id = 0
        """The number of the last event that told of an alert."""

    def current(self, run: RunRow, free_bytes: int | None, now: float) -> AlertVerdict:
        """The alerts that are on at the Unix time `now`, whether or not the journal tells of them yet."""
        with self._lock:
            self._read()
            return self._verdict(alert_input_of(run, free_bytes, now))

    def record_changes(self, run: RunRow, free_bytes: int | None, now: float, *, only_ends: bool = False) -> None:
        """Write into the journal which alerts have begun and ended since it was written to last.

        Whoever else does so at the same time, in this process or another, writes none of it again. With `only_ends`
        nothing begins.
        """
        with self._lock:
            self._read()
            alert_input = alert_input_of(run, free_bytes, now)
            verdict = self._verdict(alert_input)
            if any(self._changes(verdict, only_ends=only_ends)):
                self._write(alert_input, only_ends=only_ends)
                self._read()
            self._looming = verdict.looming  # only now: what could not be written is to be found again

    def _verdict(self, alert_input: AlertInput) -> AlertVerdict:
        return evaluate(replace(alert_input, run_events=self._run_events), AlertVerdict(self._on, self._looming))

    def _changes(self, verdict: AlertVerdict, *, only_ends: bool) -> Iterator[Alert]:
        """The alerts that have begun, and those that are over."""
        for name in NAMES:
            before, after = self._on.get(name), verdict.on.get(name)
            if before is None and after is not None and not only_ends:
                yield after
            elif before is not None and after is None:
                yield before

    def _write(self, alert_input: AlertInput, *, only_ends: bool) -> None:
        now = alert_input.now
        with self.store.run_transaction(self.run_id) as connection:
            self._read_on(connection)  # others may have been quicker
            for alert in list(self._changes(self._verdict(alert_input), only_ends=only_ends)):
                is_over = alert.name in self._on
                sentence = over_sentence(alert, now) if is_over else alert.sentence
                details = {"name": alert.name, "is_on": not is_over, "since": now if is_over else alert.since}
                append_event(connection, self.run_id, None, "alert", {**details, "sentence": sentence})

    def _read(self) -> None:
        is_new = self._read_to == 0
        with self.store.transaction() as connection:
            self._read_on(connection)
        if is_new and self._run_events.record_at is None:  # of a version whose journal did not tell of records
            marks = self.store.records.marks(self.run_id, newest_first=True, limit=1)
            self._run_events = replace(self._run_events, record_at=marks[0].time if marks else None)

    def _read_on(self, connection: sa.Connection) -> None:
        chosen = _later(self.run_id, self._read_to) if self._read_to else _last_ones(self.run_id)
        # Put in order here: to have them in order, PostgreSQL would walk through the later entries of all other runs.
        for row in sorted(connection.execute(sa.select(events).where(chosen)), key=lambda row: row.id):
            self._take(Event(**row._asdict()))

    def _take(self, event: Event) -> None:
        self._read_to = event.id
        if event.kind == "alert":
            self.last_change_id = event.id
            self._take_change(event)
        else:
            self._run_events = replace(self._run_events, **_changed_news(event))

    def _take_change(self, event: Event) -> None:
        name = event.details["name"]
        if event.details["is_on"]:
            self._on[name] = Alert(name, event.details["since"], event.details["sentence"], event.time)
        else:
            self._on.pop(name, None)


def _later(run_id: str, read_to: int) -> sa.ColumnElement[bool]:
    return (events.c.run_id == run_id) & events.c.kind.in_(("alert", *NEWS)) & (events.c.id > read_to)


def _last_ones(run_id: str) -> sa.ColumnElement[bool]:
    """The last entry of every kind and about every alert: whoever takes these in order knows what the journal says.

    The index by kind tells; of a long journal only what it says of alerts is read.
    """
    last_id, of_run = sa.select(sa.func.max(events.c.id)), events.c.run_id == run_id
    of_kinds = last_id.where(of_run & events.c.kind.in_(NEWS)).group_by(events.c.kind)
    of_alerts = last_id.where(of_run & (events.c.kind == "alert")).group_by(events.c.details["name"].as_string())
    return events.c.id.in_(of_kinds.union_all(of_alerts))


def alert_input_of(run: RunRow, free_bytes: int | None, now: float) -> AlertInput:
    """What is known of a run but for its journal; the limits are those that it was started with.

    Everybody who watches a run must judge it by the same limits, so these are not the watching process's own.
    """
    try:
        settings = LiveSettings.of_run(run.config, run.live).config
    except CommandError:  # of another version
        return AlertInput(run, now, free_bytes=free_bytes)
    limits = Limits(settings.alert_record_seconds, settings.alert_disk_gib)
    patience = settings.plateau_patience
    return AlertInput(run, now, free_bytes=free_bytes, plateau_patience=patience, limits=limits)


def _changed_news(event: Event) -> dict[str, Any]:
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
        case _:  # started: what an earlier trainer found is over
            return {"non_finite_at": None, "slow_rank": None, "checkpoint_problem": None}
