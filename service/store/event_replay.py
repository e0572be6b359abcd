"""Replays a run's events and log points from a cursor on, so that a reader can continue where it stopped.

After a rollback or a resume, the run repeats steps; the log points of these steps are then read again with their new
values.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from heapq import merge
from operator import attrgetter
from urllib.parse import quote, unquote

import sqlalchemy as sa

from service.store.database import Database
from service.store.queries.events import Event, EventQueries
from service.store.queries.runs import RunRow
from service.store.queries.series import SeriesQueries, SeriesRow
from service.store.tables import events, series

CURSOR_PATTERN = r"[0-9]{1,18}-(?:[0-9]{1,18}|10{18})-[0-9A-Za-z._~%-]{1,1000}"
"""Regular expression of a cursor's text form."""
REWINDING_KINDS = frozenset({"rollback", "started"})
"""Kinds of event after which the run repeats the steps after the event's step."""


@dataclass(frozen=True)
class EventCursor:
    """A read position in a run: events up to `event_id` and log points below `next_step` have been read."""

    run_id: str
    event_id: int
    next_step: int

    def __str__(self) -> str:
        return f"{self.event_id}-{self.next_step}-{quote(self.run_id, safe='', errors='replace')}"

    @classmethod
    def parse(cls, text: str) -> "EventCursor":
        """Return the cursor whose text form this is; raises `ValueError` for any other text."""
        if not re.fullmatch(CURSOR_PATTERN, text):
            raise ValueError(f"{text!r} is no position")
        event_id, next_step, run_id = text.split("-", 2)
        return cls(unquote(run_id), int(event_id), int(next_step))

    def after(self, entry: Event | SeriesRow) -> "EventCursor":
        """Return the cursor of a reader that has also read this entry."""
        if isinstance(entry, SeriesRow):
            return replace(self, next_step=max(self.next_step, entry.step + 1))
        next_step = min(self.next_step, entry.step + 1) if entry.kind in REWINDING_KINDS else self.next_step
        return replace(self, event_id=entry.id, next_step=next_step)


ReplayedEntry = tuple[Event | SeriesRow, EventCursor]
"""An event or log point, and the cursor after it."""


class EventReplay:
    """Reads a run's events and log points after a cursor, merged by time. Methods raise `StoreUnavailableError`."""

    def __init__(self, database: Database, events: EventQueries, series: SeriesQueries) -> None:
        self._database = database
        self._events = events
        self._series = series

    def latest_cursor(self, run_id: str) -> EventCursor:
        """Return the cursor after the newest event and log point of the run."""
        event_id = self._events.last_id(run_id)  # read first, so that a rollback in between is not skipped
        span = self._series.span(run_id)
        return EventCursor(run_id, event_id, 0 if span is None else span[1] + 1)

    def start_cursor(self, run: RunRow) -> EventCursor:
        """Return the cursor after all events and log points before the run's latest start."""
        earlier_events = (events.c.run_id == run.id) & (events.c.time < run.started_at)
        earlier_points = (series.c.run_id == run.id) & (series.c.time < run.started_at)
        with self._database.transaction() as connection:
            event_id = connection.execute(sa.select(sa.func.max(events.c.id)).where(earlier_events)).scalar()
            step = connection.execute(sa.select(sa.func.max(series.c.step)).where(earlier_points)).scalar()
        return EventCursor(run.id, event_id or 0, 0 if step is None else step + 1)

    def has_more_points(self, cursor: EventCursor, count: int) -> bool:
        """Return True if there are more than `count` log points after the cursor."""
        unread = (series.c.run_id == cursor.run_id) & (series.c.step >= cursor.next_step)
        query = sa.select(series.c.step).where(unread).order_by(series.c.step).limit(1).offset(count)
        with self._database.transaction() as connection:
            return connection.execute(query).first() is not None

    def read_after(
        self, cursor: EventCursor, limit: int, target: EventCursor | None = None
    ) -> tuple[list[ReplayedEntry], bool]:
        """Return the entries after the cursor in time order, and True if there are no more.

        Reads at most `limit` events and at most `limit` log points; log points are read only once all events have been.
        With `target`, entries after that cursor are left out.
        """
        with self._database.transaction_scope():  # over one connection
            new_events = self._events.find(cursor.run_id, cursor.event_id, limit)
            if target is not None:
                new_events = [event for event in new_events if event.id <= target.event_id]
            has_all_events = len(new_events) < limit
            rewound = [event.step + 1 for event in new_events if event.kind in REWINDING_KINDS]
            first_step = min([cursor.next_step, *rewound])
            points = self._series.find_after(cursor.run_id, first_step - 1, limit) if has_all_events else []
            if target is not None:
                points = [point for point in points if point.step < target.next_step]
            recorded = {event.step for event in new_events if event.kind == "record" and event.step < first_step}
            completed = self._points_at(cursor.run_id, recorded) if recorded else {}
        return list(_merged(cursor, new_events, points, completed)), has_all_events and len(points) < limit

    def _points_at(self, run_id: str, steps: Iterable[int]) -> dict[int, SeriesRow]:
        """Return the log points of these steps, by step."""
        query = sa.select(series.c.step, series.c.time, series.c["values"]).where(series.c.run_id == run_id)
        with self._database.transaction() as connection:
            return {row.step: SeriesRow(*row) for row in connection.execute(query.where(series.c.step.in_(steps)))}


def _merged(
    cursor: EventCursor,
    new_events: Sequence[Event],
    points: Sequence[SeriesRow],
    completed: Mapping[int, SeriesRow],
) -> Iterator[ReplayedEntry]:
    """Merge events and log points by time, each with the cursor after it.

    `completed` are log points, by step, that were read before they were complete: a validation adds its values to the
    log point of its step when it saves the record.
    """
    entries: Iterator[Event | SeriesRow] = merge(new_events, points, key=attrgetter("time"))
    for entry in entries:
        cursor = cursor.after(entry)
        yield entry, cursor
        if isinstance(entry, Event) and entry.kind == "record" and entry.step in completed:
            yield completed[entry.step], cursor
