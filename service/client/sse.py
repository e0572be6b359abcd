"""Following the API's server-sent events: parsed, and taken up again where the connection broke off."""

import json
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import requests

from service.client.downloads import PLAIN, Ask
from service.client.errors import ApiError, BadAnswerError, ServerUnreachableError
from service.client.retry import FAILURES

HEARTBEAT_SECONDS = 45.0
"""A stream that is silent for longer is dead: three of the server's signs of life are missing."""
ABSENCE_SECONDS = 300.0
"""How long the server of a stream may stay away."""
SHORTEST_PAUSE_SECONDS, USUAL_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.1, 1.0, 15.0
"""Pauses before a stream is taken up again; the server may name another than the usual one."""


@dataclass(frozen=True)
class LiveEvent:
    """One event. `id` names its place in the run's journal, and is empty where the event is not kept there."""

    id: str
    kind: str
    data: dict[str, Any]


class EventParser:
    """Makes events of lines (WHATWG HTML, 9.2.6); remembers where the stream is, over several connections."""

    def __init__(self, last_event_id: str = "") -> None:
        self.last_event_id = last_event_id
        self.pause_seconds = USUAL_PAUSE_SECONDS
        """How long the server wants a client to wait before it comes back."""

    def events(self, lines: Iterable[str]) -> Iterator[LiveEvent]:
        """The events of one connection; one that is not whole is dropped. Raises `BadAnswerError`."""
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


def follow(ask: Ask, last_event_id: str = "", absence_seconds: float = ABSENCE_SECONDS) -> Iterator[LiveEvent]:
    """All events, for ever. Raises what `ask` raises at the start, and later when the server stays away or refuses."""
    parser = EventParser(last_event_id)
    response = ask(_headers(parser))
    while True:
        # An accident is like an orderly end: the rest is asked for.
        with response, suppress(*FAILURES):
            yield from parser.events(_lines(response))
        response = _again(ask, parser, absence_seconds)


def _again(ask: Ask, parser: EventParser, absence_seconds: float) -> requests.Response:
    lost_at, pause_seconds = time.monotonic(), max(parser.pause_seconds, SHORTEST_PAUSE_SECONDS)
    while True:
        time.sleep(pause_seconds)
        pause_seconds = min(2 * pause_seconds, LONGEST_PAUSE_SECONDS)
        try:
            return ask(_headers(parser))
        except (ServerUnreachableError, ApiError) as error:
            if not error.is_passing or time.monotonic() - lost_at > absence_seconds:
                raise


def _headers(parser: EventParser) -> dict[str, str]:
    place = {"Last-Event-ID": parser.last_event_id} if parser.last_event_id else {}
    return {**PLAIN, **place}


def _lines(response: requests.Response) -> Iterator[str]:
    """The lines as they arrive; the line that the connection breaks off in is left out."""
    # Chunks come as they are sent. Of a body without any, asking for more than a byte would wait for the end.
    is_chunked = response.headers.get("Transfer-Encoding", "").lower() == "chunked"
    rest = b""
    for piece in response.iter_content(None if is_chunked else 1):
        *lines, rest = (rest + piece).split(b"\n")
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
