"""`/events`: what happens to a run, as it happens, as server-sent events that can be taken up again after a break.

The id of an event says how far the run has been seen, so it is good after a restart of this process too.
"""

from collections.abc import Iterator

from flask import Blueprint, Flask, Response, current_app, request

from api.contract import Answer, Scope, operation
from api.event_stream import EventStream, Wish
from api.happenings import ALWAYS, KINDS
from api.names import Names
from api.parameters import Text
from api.problems import ProblemError
from api.reader import named_run
from api.room import Room
from api.watcher import Watchers
from service.following import PATTERN, Position

EXTENSION = "leitstand.watchers"
RETRY_SECONDS = 5
"""When a stream may be free again: most are short."""
MEDIA_TYPE = "text/event-stream"

WANTED = Names("kinds", f"only these kinds of events: {', '.join(KINDS)}; all where it is not said", KINDS)
_MEANING = "the id of the last event that was seen; without it, the stream begins with the present"
LAST_EVENT_ID = Text("Last-Event-ID", _MEANING, PATTERN, "the id of an event", place="header")
LAST_EVENT_ID_QUERY = Text(
    "last_event_id", f"{_MEANING}; for who cannot send the header", PATTERN, "the id of an event"
)

EVENT = {
    "type": "object",
    "description": "each event of the stream",
    "properties": {
        "id": {"type": "string", "pattern": f"^(?:{PATTERN})$"},
        "event": {"type": "string", "enum": [*KINDS, *sorted(ALWAYS)]},
        "data": {"type": "string", "contentMediaType": "application/json"},
    },
    "required": ["id", "event", "data"],
    "additionalProperties": False,
}
"""OpenAPI 3.1 has no words for the parts of a stream; tools take a stream's schema for that of an event."""

blueprint = Blueprint("events", __name__)


def register(app: Flask, room: Room, most_streams: int) -> None:
    """Let `app` follow the runs of a room, for at most so many streams at a time."""
    app.extensions[EXTENSION] = Watchers(room.reader, most_streams)


def watchers_of(app: Flask) -> Watchers:
    """What `register` made."""
    watchers = app.extensions[EXTENSION]
    assert isinstance(watchers, Watchers)
    return watchers


@blueprint.get("/events")
@operation(
    Scope.READ, WANTED, LAST_EVENT_ID, LAST_EVENT_ID_QUERY,
    answers=[
        Answer(media_type=MEDIA_TYPE, description="events until the client leaves, at most for an hour", schema=EVENT)
    ],
    problems=["invalid-argument", "no-run", "too-many-streams", "storage-unavailable"],
)  # fmt: skip
def follow() -> Response:
    """Follow what happens: states, log points, records, commands, alerts and everything else in the run's journal."""
    watchers = watchers_of(current_app)
    text = LAST_EVENT_ID.value() or LAST_EVENT_ID_QUERY.value()
    wish = Wish(WANTED.value() or KINDS, None if text is None else Position.parse(text))
    stream = HeldStream(watchers, named_run(), wish)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return Response(stream, mimetype=MEDIA_TYPE, headers=headers)


class HeldStream:
    """A stream that holds one of the places for streams until it is closed, even if it was never begun."""

    def __init__(self, watchers: Watchers, run_id: str | None, wish: Wish) -> None:
        """Raises `ProblemError` (too-many-streams, not-found, no-run) or `StoreUnavailableError`."""
        if not watchers.take_place():
            most = watchers.most_streams
            raise ProblemError(
                "too-many-streams",
                f"All {most} event streams are taken; close one, come again, or raise API_STREAMS.",
                {"Retry-After": str(RETRY_SECONDS)},
            )
        self._watchers = watchers
        self._is_closed = False
        try:
            self._stream = EventStream(watchers.of(run_id), wish, request.environ.get("gunicorn.socket"))
        except BaseException:
            watchers.give_place_back()
            raise

    def __iter__(self) -> Iterator[bytes]:
        return self._stream.pieces()

    def close(self) -> None:
        """Give the place back; the WSGI server does this in any case."""
        if not self._is_closed:
            self._is_closed = True
            self._stream.close()
            self._watchers.give_place_back()
