"""Following a run: what happened to it and what was logged, from where somebody was the last time.

A position says how far the journal and the log points have been seen. After a rollback or a resume, the log points of
the steps that are walked again are read again, as the run now has them.
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
"""What a position looks like as text."""
WALKS_AGAIN = frozenset({"rollback", "started"})
"""Events after which the steps beyond theirs are walked again."""


@dataclass(frozen=True)
class EventCursor:
    """How far a run has been seen: the journal up to an event's id, log points of all steps below `next_step`."""

    run_id: str
    event_id: int
    next_step: int

    def __str__(self) -> str:
        return f"{self.event_id}-{self.next_step}-{quote(self.run_id, safe='', errors='replace')}"

    @classmethod
    def parse(cls, text: str) -> "EventCursor":
        """The position that was written as this text; raises `ValueError`."""
        if not re.fullmatch(CURSOR_PATTERN, text):
            raise ValueError(f"{text!r} is no position")
        event_id, next_step, run_id = text.split("-", 2)
        return cls(unquote(run_id), int(event_id), int(next_step))

    def after(self, what: Event | SeriesRow) -> "EventCursor":
        """The position of who has seen this too, and all before it."""
        if isinstance(what, SeriesRow):
            return replace(self, next_step=max(self.next_step, what.step + 1))
        next_step = min(self.next_step, what.step + 1) if what.kind in WALKS_AGAIN else self.next_step
        return replace(self, event_id=what.id, next_step=next_step)


Passed = tuple[Event | SeriesRow, EventCursor]
"""One thing, and the position of who has seen it."""


class EventReplay:
    """Reads what happened to a run and what was logged, from a cursor on, in one order."""

    def __init__(self, database: Database, events: EventQueries, series: SeriesQueries) -> None:
        self._database = database
        self._events = events
        self._series = series

    def latest_cursor(self, run_id: str) -> EventCursor:
        """Of who has seen everything."""
        event_id = self._events.last_id(run_id)  # first: a rollback in between is then still to be seen
        span = self._series.span(run_id)
        return EventCursor(run_id, event_id, 0 if span is None else span[1] + 1)

    def start_cursor(self, run: RunRow) -> EventCursor:
        """Of who has seen everything before the run's latest start."""
        earlier = (events.c.run_id == run.id) & (events.c.time < run.started_at)
        logged = (series.c.run_id == run.id) & (series.c.time < run.started_at)
        with self._database.transaction() as connection:
            event_id = connection.execute(sa.select(sa.func.max(events.c.id)).where(earlier)).scalar()
            step = connection.execute(sa.select(sa.func.max(series.c.step)).where(logged)).scalar()
        return EventCursor(run.id, event_id or 0, 0 if step is None else step + 1)

    def has_more_points(self, position: EventCursor, most: int) -> bool:
        """Whether more than `most` log points have not been seen yet."""
        unseen = (series.c.run_id == position.run_id) & (series.c.step >= position.next_step)
        query = sa.select(series.c.step).where(unseen).order_by(series.c.step).limit(1).offset(most)
        with self._database.transaction() as connection:
            return connection.execute(query).first() is not None

    def read_after(
        self, position: EventCursor, limit: int, target: EventCursor | None = None
    ) -> tuple[list[Passed], bool]:
        """What has not been seen, in the order of its times, and whether that was all.

        Of journal and log points at most `limit` each; points only once the journal is through. With `target`, nothing
        that somebody at that position has not seen either.
        """
        with self._database.transaction_scope():  # over one connection
            happened = self._events.after(position.run_id, position.event_id, limit)
            if target is not None:
                happened = [event for event in happened if event.id <= target.event_id]
            is_through = len(happened) < limit
            first_step = min([position.next_step, *(event.step + 1 for event in happened if event.kind in WALKS_AGAIN)])
            points = self._series.after(position.run_id, first_step - 1, limit) if is_through else []
            if target is not None:
                points = [point for point in points if point.step < target.next_step]
            recorded = {event.step for event in happened if event.kind == "record" and event.step < first_step}
            completed = self._points_at(position.run_id, recorded) if recorded else {}
        return list(_passed(position, happened, points, completed)), is_through and len(points) < limit

    def _points_at(self, run_id: str, steps: Iterable[int]) -> dict[int, SeriesRow]:
        """The log points of these steps."""
        query = sa.select(series.c.step, series.c.time, series.c["values"]).where(series.c.run_id == run_id)
        with self._database.transaction() as connection:
            return {row.step: SeriesRow(*row) for row in connection.execute(query.where(series.c.step.in_(steps)))}


def _passed(
    position: EventCursor,
    happened: Sequence[Event],
    points: Sequence[SeriesRow],
    completed: Mapping[int, SeriesRow],
) -> Iterator[Passed]:
    """Both in one order, each with its position.

    `completed` are log points by step that were seen before they were whole: what a validation measures joins the log
    point of its step together with its record.
    """
    both: Iterator[Event | SeriesRow] = merge(happened, points, key=attrgetter("time"))
    for what in both:
        position = position.after(what)
        yield what, position
        if isinstance(what, Event) and what.kind == "record" and what.step in completed:
            yield completed[what.step], position
