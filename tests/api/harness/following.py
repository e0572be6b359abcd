"""A client of an event stream, as small as one can be: over a real connection, or of an application in this process."""

import json
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import requests
from flask import Flask

from api.events.broadcaster import broadcasters_of

Eventually = Callable[..., None]


@dataclass(frozen=True)
class Seen:
    """One event."""

    id: str
    kind: str
    data: dict[str, Any]


class Follower:
    """Collects everything of one answer, on a thread of its own."""

    def __init__(self, headers: Mapping[str, str], pieces: Iterable[bytes], eventually: Eventually) -> None:
        self.headers = headers
        self.events: list[Seen] = []
        self.comments: list[str] = []
        self.last_id = ""
        self.retry = ""
        self.has_ended = False
        self._pieces = pieces
        self._eventually = eventually
        self._thread = threading.Thread(target=self._collect)
        self._thread.start()

    def kinds(self) -> list[str]:
        """Of the events, in their order."""
        return [event.kind for event in self.events]

    def of(self, kind: str) -> list[dict[str, Any]]:
        """The data of all events of a kind."""
        return [event.data for event in self.events if event.kind == kind]

    def await_kind(self, kind: str, count: int = 1) -> dict[str, Any]:
        """Wait until so many events of a kind have come; returns the data of the last of them."""
        self._eventually(lambda: len(self.of(kind)) >= count, what=f"{count} events of kind {kind}")
        return self.of(kind)[count - 1]

    def join(self) -> None:
        """Wait for the end of the stream."""
        self._thread.join()

    def _collect(self) -> None:
        rest = b""
        # A real connection is closed while it is read from.
        with suppress(requests.RequestException, OSError, AttributeError):
            for piece in self._pieces:
                *blocks, rest = (rest + piece).split(b"\n\n")
                for block in blocks:
                    self._take(dict(line.partition(": ")[::2] for line in block.decode().split("\n")))
        self.has_ended = True

    def _take(self, block: dict[str, str]) -> None:
        self.retry = block.get("retry", self.retry)
        self.last_id = block.get("id", self.last_id)
        if "" in block:
            self.comments.append(block[""])
        if "data" in block:
            self.events.append(Seen(block["id"], block["event"], json.loads(block["data"])))


@contextmanager
def following(url: str, eventually: Eventually, query: str = "", **headers: str) -> Iterator[Follower]:
    """Follow a run at the address of a server (and `/runs/<run>`) for the time of the context."""
    with requests.get(f"{url}/events?{query}", headers=_named(headers), stream=True, timeout=30) as answer:
        answer.raise_for_status()
        follower = Follower(answer.headers, answer.iter_content(None), eventually)
        try:
            yield follower
        finally:
            stop(answer)
            follower.join()


@contextmanager
def following_app(
    app: Flask, eventually: Eventually, query: str = "", prefix: str = "", **headers: str
) -> Iterator[Follower]:
    """The same in this process; all streams of `app` end with it."""
    answer = app.test_client().get(f"{prefix}/events?{query}", headers=_named(headers))
    assert answer.status_code == 200, answer.data
    follower = Follower(answer.headers, answer.response, eventually)
    try:
        yield follower
    finally:
        broadcasters_of(app).end_when(lambda: True)
        follower.join()
        answer.close()


def stop(answer: requests.Response) -> None:
    """Close the connection, also while another thread reads from it."""
    connection = answer.raw.connection
    if connection is not None and connection.sock is not None:
        connection.sock.shutdown(socket.SHUT_RDWR)


def _named(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}
