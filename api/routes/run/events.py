"""`/events`: what happens to a run, as it happens, as server-sent events that can be taken up again after a break.

The id of an event encodes the position in the run, so it stays valid after a restart of this process.
"""

from flask import Blueprint, Response, current_app

from api.events.broadcaster import broadcasters_of
from api.events.messages import ALWAYS, KINDS
from api.events.stream import LimitedStream, StreamRequest
from api.http.compression import accepts_gzip
from api.http.operation import Answer, Scope, operation
from api.http.parameters import Choices, PatternText
from api.runs.context import named_run
from service.store.event_replay import CURSOR_PATTERN, EventCursor

MEDIA_TYPE = "text/event-stream"

KINDS_FILTER = Choices("kinds", f"only these kinds of events: {', '.join(KINDS)}; all where it is not said", KINDS)
_MEANING = "the id of the last event that was seen; without it, the stream begins with the present"
LAST_EVENT_ID = PatternText("Last-Event-ID", _MEANING, CURSOR_PATTERN, "the id of an event", location="header")
LAST_EVENT_ID_QUERY = PatternText(
    "last_event_id", f"{_MEANING}; for who cannot send the header", CURSOR_PATTERN, "the id of an event"
)

EVENT = {
    "type": "object",
    "description": "each event of the stream",
    "properties": {
        "id": {"type": "string", "pattern": f"^(?:{CURSOR_PATTERN})$"},
        "event": {"type": "string", "enum": [*KINDS, *sorted(ALWAYS)]},
        "data": {"type": "string", "contentMediaType": "application/json"},
    },
    "required": ["id", "event", "data"],
    "additionalProperties": False,
}
"""OpenAPI 3.1 cannot describe the parts of a stream; tools take a stream's schema as that of one event."""

blueprint = Blueprint("events", __name__)


@blueprint.get("/events")
@operation(
    Scope.READ, KINDS_FILTER, LAST_EVENT_ID, LAST_EVENT_ID_QUERY,
    answers=[
        Answer(media_type=MEDIA_TYPE, description="events until the client leaves, at most for an hour", schema=EVENT)
    ],
    problems=["invalid-argument", "no-run", "too-many-streams", "storage-unavailable"],
)  # fmt: skip
def follow() -> Response:
    """Follow what happens: states, log points, records, commands, alerts and everything else in the run's journal."""
    broadcasters = broadcasters_of(current_app)
    text = LAST_EVENT_ID.value() or LAST_EVENT_ID_QUERY.value()
    stream_request = StreamRequest(KINDS_FILTER.value() or KINDS, None if text is None else EventCursor.parse(text))
    stream = LimitedStream(broadcasters, named_run(), stream_request, is_compressed=accepts_gzip())
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no", "Vary": "Accept-Encoding"}
    if accepts_gzip():
        headers["Content-Encoding"] = "gzip"
    return Response(stream, mimetype=MEDIA_TYPE, headers=headers)
