"""Messages of a run's event streams: events, log points and states as server-sent events (WHATWG HTML, 9.2)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from api.http.problems import problem_of_command
from api.runs.state_answer import state_answer
from service.run.ledger.answer import LedgerAnswer
from service.store.event_replay import EventCursor
from service.store.queries.events import Event
from service.store.store import RunRow, SeriesRow, Store

KINDS = ("state", "log", "record", "command", "alert", "event")
"""Kinds of messages that a client can select."""
KINDS_WITH_OWN_EVENT = frozenset({"record", "command", "alert"})
"""Kinds of the `events` table that are sent under their own name; all others are sent as `event`."""
ALWAYS = frozenset({"run", "gap"})
"""Kinds sent to every client, because they report what the stream does not contain."""
PAGE_SIZE = 500
"""Events and log points read from the store per query."""
GROWING_KEYS = ("age_seconds", "progress_age_seconds", "useful_time_ratio", "wall_seconds", "time_seconds")
"""Keys of a state that change by the mere passing of time."""


@dataclass(frozen=True)
class StreamMessage:
    """One message of a stream: `text` is its complete encoding, `position` the stream's position after it."""

    kind: str
    text: bytes
    position: EventCursor


def read_messages(
    store: Store, position: EventCursor, target: EventCursor | None = None
) -> tuple[list[StreamMessage], bool]:
    """Return one page of messages after a position (up to `target`), and whether it is the last page.

    Raises `StoreUnavailableError`.
    """
    rows, is_complete = store.replay.read_after(position, PAGE_SIZE, target)
    return [_message(row, next_position) for row, next_position in rows], is_complete


def run_change(run: RunRow, previous_run_id: str, position: EventCursor) -> StreamMessage:
    """Return the message that announces another run: later messages belong to it."""
    data = {"run_id": run.id, "started_at": run.started_at, "previous_run_id": previous_run_id}
    return StreamMessage("run", event_text("run", data, position), position)


def gap(position: EventCursor, last_step: int) -> StreamMessage:
    """Return the message that log points up to `last_step` are omitted, because there are too many."""
    next_position = EventCursor(position.run_id, position.event_id, last_step + 1)
    data = {"first_step": position.next_step, "last_step": last_step}
    return StreamMessage("gap", event_text("gap", data, next_position), next_position)


def state_data(run: RunRow, now: float, ledger: LedgerAnswer) -> tuple[str, str]:
    """Return the answer of `/state` at the Unix time `now` as JSON, with and without what grows with time.

    A state is sent again only if the text without that differs.
    """
    state: Mapping[str, Any] = state_answer(run, now, ledger)
    return _json(state), _json({key: value for key, value in state.items() if key not in GROWING_KEYS})


def event_text(kind: str, data: Mapping[str, Any] | str, position: EventCursor) -> bytes:
    """Encode one server-sent event; `data` given as text must be JSON already."""
    return f"id: {position}\nevent: {kind}\ndata: {data if isinstance(data, str) else _json(data)}\n\n".encode()


def preamble(position: EventCursor, retry_milliseconds: int) -> bytes:
    """Encode the beginning of a stream: the reconnection time and the id to reconnect with.

    Clients dispatch no event without data, but they store its id as the last event id.
    """
    return f"retry: {retry_milliseconds}\nid: {position}\n\n".encode()


def heartbeat(position: EventCursor) -> bytes:
    """Encode a heartbeat; its id also covers messages of kinds that the client did not select."""
    return f": alive\nid: {position}\n\n".encode()


def comment(text: str) -> bytes:
    """Encode a comment for people; clients ignore it."""
    return f": {text}\n\n".encode()


def _message(row: Event | SeriesRow, position: EventCursor) -> StreamMessage:
    """Encode a row as a message; an event under its own name is flat: its time and details.

    A command is shown as `/commands/<id>` answers it.
    """
    if isinstance(row, SeriesRow):
        kind, data = "log", {"step": row.step, "time": row.time, "values": row.values}
    elif row.kind in KINDS_WITH_OWN_EVENT:
        kind, data = row.kind, {"time": row.time, **row.details}
        if kind == "command":
            data.setdefault("why", None)  # one of an earlier version
            data["problem"] = problem_of_command(row.details)
    else:
        fields = {"id": row.id, "kind": row.kind, "step": row.step, "time": row.time}
        kind, data = "event", {**fields, "details": row.details}
    return StreamMessage(kind, event_text(kind, data, position), position)


def _json(data: Mapping[str, Any]) -> str:
    return json.dumps(data, separators=(",", ":"))
