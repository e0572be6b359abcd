"""Many clients at once: threads that ask and time the answers, and open event streams that read along."""

import random
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import requests


@dataclass
class Tally:
    """What came back. Filled by many threads, read when they have ended."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    statuses: Counter[int] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    events: int = 0

    def merge(self, other: "Tally") -> None:
        """Add what another thread saw."""
        for path, seconds in other.seconds.items():
            self.seconds[path].extend(seconds)
        self.statuses += other.statuses
        self.failures += other.failures
        self.events += other.events

    def quantile(self, path: str, share: float) -> float:
        """The seconds within which this share of the answers came."""
        ordered = sorted(self.seconds[path])
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


@dataclass(frozen=True)
class Ask:
    """One request that a client repeats."""

    method: str
    path: str


ASKS = (Ask("GET", "/state"), Ask("POST", "/validate?dry_run=true"))


def traffic(
    url: str,
    *,
    clients: int,
    streams: int,
    seconds: float,
    pause_seconds: float = 0.0,
    headers: dict[str, str] | None = None,
) -> Tally:
    """Let `clients` ask in turn for `seconds`, while `streams` are open; returns what all of them saw.

    A client waits `pause_seconds` between an answer and its next request; without, the server is never idle and the
    times say how much it can do. A stream that the server refuses or ends counts as a failure.
    """
    total, lock, ending = Tally(), threading.Lock(), threading.Event()
    with _streaming(url, streams, ending, headers or {}) as seen:
        deadline = time.monotonic() + seconds
        threads = [
            threading.Thread(target=_ask_until, args=(url, deadline, pause_seconds, headers or {}, number, total, lock))
            for number in range(clients)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    total.merge(seen)
    return total


def _ask_until(
    url: str, deadline: float, pause: float, headers: dict[str, str], number: int, total: Tally, lock: threading.Lock
) -> None:
    own = Tally()
    time.sleep(pause * random.random())  # clients come when they like
    with requests.Session() as session:
        session.headers.update(headers)
        turn = number
        while time.monotonic() < deadline:
            ask = ASKS[turn % len(ASKS)]
            turn += 1
            started_at = time.perf_counter()
            try:
                answer = session.request(ask.method, url + ask.path, timeout=30)
            except requests.RequestException as error:
                own.failures.append(f"{ask.path}: {error}")
                continue
            own.seconds[ask.path].append(time.perf_counter() - started_at)
            own.statuses[answer.status_code] += 1
            time.sleep(pause)
    with lock:
        total.merge(own)


@contextmanager
def _streaming(url: str, count: int, ending: threading.Event, headers: dict[str, str]) -> Iterator[Tally]:
    """Open `count` event streams, wait until all have begun, read along until the end of the `with`."""
    seen, lock = Tally(), threading.Lock()
    begun = threading.Barrier(count + 1)

    def follow() -> None:
        own = _followed(url, headers, begun.wait, ending)
        with lock:
            seen.merge(own)

    threads = [threading.Thread(target=follow, daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    begun.wait(60)
    try:
        yield seen
    finally:
        ending.set()
        for thread in threads:
            thread.join(60)


def _followed(url: str, headers: dict[str, str], has_begun: Callable[[], object], ending: threading.Event) -> Tally:
    own = Tally()
    try:
        with requests.get(f"{url}/events", stream=True, timeout=30, headers=headers) as answer:
            own.statuses[answer.status_code] += 1
            has_begun()
            for line in answer.iter_lines(chunk_size=1):
                own.events += line.startswith(b"event:")
                if ending.is_set():
                    return own
            own.failures.append(f"a stream ended ({answer.status_code})")
    except (requests.RequestException, threading.BrokenBarrierError) as error:
        own.failures.append(f"/events: {error}")
    return own
