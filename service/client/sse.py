"""Reads the API's server-sent events; resumes the stream after the connection breaks."""

import json
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import requests

from service.client.downloads import UNCOMPRESSED, SendRequest
from service.client.errors import ApiError, BadAnswerError, ServerUnreachableError
from service.client.retry import FAILURES

STREAM_TIMEOUT_SECONDS = 45.0
"""Time without data after which a stream counts as dead: three heartbeats of the server are missing."""
MAX_OUTAGE_SECONDS = 300.0
"""Duration of the attempts to resume a stream."""
MIN_PAUSE_SECONDS, DEFAULT_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 0.1, 1.0, 15.0
"""Pauses before a stream is resumed; the server may send another value than the default."""


@dataclass(frozen=True)
class LiveEvent:
    """One event. `id` is a cursor into the run's event log, and empty if the event has none."""

    id: str
    kind: str
    data: dict[str, Any]


class EventParser:
    """Parses lines into events (WHATWG HTML, 9.2.6); keeps the position in the stream over several connections."""

    def __init__(self, last_event_id: str = "") -> None:
        self.last_event_id = last_event_id
        self.pause_seconds = DEFAULT_PAUSE_SECONDS
        """Pause before reconnecting; the server may set it."""

    def events(self, lines: Iterable[str]) -> Iterator[LiveEvent]:
        """Yield the events of one connection; an incomplete event at its end is discarded. Raises `BadAnswerError`."""
        kind, event_id = "message", ""
        data: list[str] = []
        for line in lines:
            if not line:
                self.last_event_id = event_id or self.last_event_id
                if data:
                    yield LiveEvent(event_id, kind, _decoded("\n".join(data)))
                kind, event_id, data = "message", "", []
                continue
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if name == "event":
                kind = value
            elif name == "data":
                data.append(value)
            elif name == "id":
                event_id = value
            elif name == "retry" and value.isascii() and value.isdigit():
                self.pause_seconds = int(value) / 1000


def follow(send: SendRequest, last_event_id: str = "") -> Iterator[LiveEvent]:
    """Yield all events without end.

    Raises the errors of `send` for the first request, and later if the server refuses or is unreachable for too long.
    """
    parser = EventParser(last_event_id)
    response = send(_headers(parser))
    while True:
        # A broken connection is handled like a regular end: the stream is resumed.
        with response, suppress(*FAILURES):
            yield from parser.events(_lines(response))
        response = _reconnect(send, parser)


def _reconnect(send: SendRequest, parser: EventParser) -> requests.Response:
    lost_at, pause_seconds = time.monotonic(), max(parser.pause_seconds, MIN_PAUSE_SECONDS)
    while True:
        time.sleep(pause_seconds)
        pause_seconds = min(2 * pause_seconds, MAX_PAUSE_SECONDS)
        try:
            return send(_headers(parser))
        except (ServerUnreachableError, ApiError) as error:
            if not error.is_transient or time.monotonic() - lost_at > MAX_OUTAGE_SECONDS:
                raise


def _headers(parser: EventParser) -> dict[str, str]:
    position = {"Last-Event-ID": parser.last_event_id} if parser.last_event_id else {}
    return {**UNCOMPRESSED, **position}


def _lines(response: requests.Response) -> Iterator[str]:
    """Yield the lines as they arrive; an incomplete last line is left out."""
    # Chunks arrive as they are sent. Without chunked encoding, reading more than one byte would block until the end.
    is_chunked = response.headers.get("Transfer-Encoding", "").lower() == "chunked"
    rest = b""
    for chunk in response.iter_content(None if is_chunked else 1):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line.removesuffix(b"\r").decode(errors="replace")


def _decoded(text: str) -> dict[str, Any]:
    try:
        data = json.loads(text)
    except ValueError:
        data = None
    if not isinstance(data, dict):
        raise BadAnswerError(f"An event holds no JSON object but {text[:80]!r}; check the address.")
    return data
