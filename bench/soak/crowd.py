"""Those who come to a room: a scraper, people who open the page and leave it, others who give commands."""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import requests

from service.client.client import Client
from service.commands import Kind
from service.errors import UserError

SCRAPE_SECONDS, LOOK_SECONDS = 5.0, 0.5
SHORTEST_VISIT_SECONDS, LONGEST_VISIT_SECONDS = 1.0, 30.0
STREAMS = 6
"""How many streams are open at a time; each is closed after a while, and another opened."""
COMMAND_SECONDS = 7.0
ANSWER_SECONDS = 30.0
PAGES = (
    "/", "/runs", "/docs", "/openapi.json", "/state", "/alerts", "/settings", "/checkpoints", "/statistics?limit=20",
    "/statistics?format=csv", "/statistics/latest", "/statistics/compare?limit=20", "/previews?limit=20",
    "/event-log?limit=50", "/commands?limit=50", "/series?points=500", "/series?names=total_loss_value&points=50",
    "/ranks", "/ranks/1/stack", "/logs?tail=200", "/livez", "/readyz", "/runs?limit=10", "/not-there",
    "/validate?dry_run=true",
)  # fmt: skip
"""What is asked in turn: all that a page shows, what is not there, and what only POST may ask."""
ASKED = (
    (Kind.VALIDATE, None), (Kind.CHECKPOINT, None), (Kind.SET, {"LR_SCALE": 0.9}), (Kind.SET, {"LR_SCALE": 1.0}),
    (Kind.SET, {"LR_SCALE": -1.0}), (Kind.ROLLBACK, None), (Kind.PAUSE, None),
)  # fmt: skip
"""Commands; one of them is refused, and a pause is taken back at once."""


class Crowd:
    """Threads that ask until they are told to leave. What they meet is counted, not raised."""

    def __init__(self, url: str, seed: int) -> None:
        self._url, self._seed = url, seed
        self._leaving = threading.Event()
        self._lock = threading.Lock()
        self.seen: Counter[str] = Counter()

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Come, and leave at the end of the `with`."""
        visitors: list[Callable[[random.Random], None]] = [self._scrape, self._look, self._steer]
        visitors += [self._stream] * STREAMS
        threads = [
            threading.Thread(target=self._visit, args=(visitor, number), daemon=True)
            for number, visitor in enumerate(visitors)
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._leaving.set()
            for thread in threads:
                thread.join(2 * ANSWER_SECONDS)

    def summary(self) -> str:
        """What was asked and answered, in a line."""
        with self._lock:
            return ", ".join(f"{what} {count}" for what, count in sorted(self.seen.items()))

    def _visit(self, visitor: Callable[[random.Random], None], number: int) -> None:
        """Come again and again; the API may be away."""
        chance = random.Random(f"{self._seed} {number}")
        while not self._leaving.is_set():
            try:
                visitor(chance)
            except (requests.RequestException, UserError) as error:
                self._count(type(error).__name__)
                self._leaving.wait(1.0)

    def _scrape(self, _chance: random.Random) -> None:
        answer = requests.get(f"{self._url}/metrics", timeout=ANSWER_SECONDS)
        self._count(f"scrapes {answer.status_code}")
        self._leaving.wait(SCRAPE_SECONDS)

    def _look(self, chance: random.Random) -> None:
        """Open the page, ask for what it shows, some of it again as unchanged, and leave."""
        with requests.Session() as session:
            tags: dict[str, str] = {}
            for _ in range(chance.randrange(10, 60)):
                path = chance.choice(PAGES)
                wanted = {"If-None-Match": tags[path]} if path in tags else {}
                answer = session.get(self._url + path, headers=wanted, timeout=ANSWER_SECONDS)
                if "ETag" in answer.headers:
                    tags[path] = answer.headers["ETag"]
                self._count(f"looks {answer.status_code}")
                if self._leaving.wait(chance.uniform(0, 2 * LOOK_SECONDS)):
                    return

    def _stream(self, chance: random.Random) -> None:
        """Read events for a while, and hang up in the middle."""
        until = time.monotonic() + chance.uniform(SHORTEST_VISIT_SECONDS, LONGEST_VISIT_SECONDS)
        with requests.get(f"{self._url}/events", stream=True, timeout=ANSWER_SECONDS) as answer:
            self._count(f"streams {answer.status_code}")
            for line in answer.iter_lines(chunk_size=1):
                self._count("events", line.startswith(b"event:"))
                if time.monotonic() > until or self._leaving.is_set():
                    return

    def _steer(self, chance: random.Random) -> None:
        with Client(self._url, actor="visitor") as client:
            while not self._leaving.wait(chance.uniform(0, 2 * COMMAND_SECONDS)):
                kind, arguments = chance.choice(ASKED)
                self._count(f"commands {_outcome(client, kind, arguments)}")
                if kind is Kind.PAUSE:
                    _outcome(client, Kind.RESUME, None)
                client.describe(note=f"looked at {time.time():.0f}")

    def _count(self, what: str, count: int = 1) -> None:
        with self._lock:
            self.seen[what] += count


def _outcome(client: Client, kind: Kind, arguments: dict[str, Any] | None) -> str:
    try:
        return str(client.carry_out(kind, arguments, timeout_seconds=ANSWER_SECONDS)["state"])
    except UserError as error:
        return type(error).__name__
