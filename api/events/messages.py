"""What a run's streams carry: journal entries, log points and states, as server-sent events (WHATWG HTML, 9.2)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from api.runs.state_answer import state_answer
from service.store.event_replay import EventCursor
from service.store.queries.events import Event
from service.store.store import RunRow, SeriesRow, Store

KINDS = ("state", "log", "record", "command", "alert", "event")
"""What a stream can be asked for."""
NAMED = frozenset({"record", "command", "alert"})
"""Kinds of journal entries that are events of their own; all others are an `event`."""
ALWAYS = frozenset({"run", "gap"})
"""Sent whatever a stream was asked for: it says what else is missing."""
PAGE = 500
"""Journal entries and log points that are read from the store at a time."""
AGES = ("age_seconds", "progress_age_seconds")


@dataclass(frozen=True)
class StreamMessage:
    """One event of a stream: `text` is all of it, `position` that of who has seen it."""

    kind: str
    text: bytes
    position: EventCursor


def read_messages(
    store: Store, position: EventCursor, target: EventCursor | None = None
) -> tuple[list[StreamMessage], bool]:
    """What comes after a position (up to `target`), a page of it, and whether that was all.

    Raises `StoreUnavailableError`.
    """
    passed, is_all = store.replay.read_after(position, PAGE, target)
    return [_message(what, after) for what, after in passed], is_all


def run_change(run: RunRow, previous_run_id: str, position: EventCursor) -> StreamMessage:
    """The stream speaks of another run from here on."""
    data = {"run_id": run.id, "started_at": run.started_at, "previous_run_id": previous_run_id}
    return StreamMessage("run", event_text("run", data, position), position)


def gap(position: EventCursor, last_step: int) -> StreamMessage:
    """The log points up to `last_step` are left out: there are too many to be sent one by one."""
    after = EventCursor(position.run_id, position.event_id, last_step + 1)
    data = {"first_step": position.next_step, "last_step": last_step}
    return StreamMessage("gap", event_text("gap", data, after), after)


def state_data(run: RunRow, now: float) -> tuple[str, str]:
    """The state as `/state` answers it at the Unix time `now`, and what of it is to differ before it is sent again."""
    answer: Mapping[str, Any] = state_answer(run, now)
    return _json(answer), _json({key: value for key, value in answer.items() if key not in AGES})


def event_text(kind: str, data: Mapping[str, Any] | str, position: EventCursor) -> bytes:
    """One event for the wire; text is taken for JSON."""
    return f"id: {position}\nevent: {kind}\ndata: {data if isinstance(data, str) else _json(data)}\n\n".encode()


def hello(position: EventCursor, retry_milliseconds: int) -> bytes:
    """What a stream begins with: when to come back after an end, and with which id.

    An event without data is dispatched by no client, but its id is what the client will name.
    """
    return f"retry: {retry_milliseconds}\nid: {position}\n\n".encode()


def heartbeat(position: EventCursor) -> bytes:
    """A sign of life, which also says how far everything was seen that the client did not ask for."""
    return f": alive\nid: {position}\n\n".encode()


def comment(text: str) -> bytes:
    """What clients ignore, and people read."""
    return f": {text}\n\n".encode()


def _message(what: Event | SeriesRow, position: EventCursor) -> StreamMessage:
    """A named kind is flat: what the journal tells of it, and when that was."""
    if isinstance(what, SeriesRow):
        kind, data = "log", {"step": what.step, "time": what.time, "values": what.values}
    elif what.kind in NAMED:
        kind, data = what.kind, {"time": what.time, **what.details}
    else:
        own = {"id": what.id, "kind": what.kind, "step": what.step, "time": what.time}
        kind, data = "event", {**own, "details": what.details}
    return StreamMessage(kind, event_text(kind, data, position), position)


def _json(data: Mapping[str, Any]) -> str:
    return json.dumps(data, separators=(",", ":"))
