"""What it costs to list a directory of very many records: seconds of the first page, warm and cold, and memory.

    python -m bench.reading.listing [--records N] [--rounds N]

Writes N records of 10 kB, serves them with a real gunicorn, and asks one thing after another over one connection. A
page is warm when nothing has changed since it was asked for before; after a new record the folder is read again. Memory
is the resident set of the server's worker.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import requests

from api.artifacts.directory_cache import TIMESTAMP_GRANULARITY_SECONDS
from tests.api.harness.example_run import write_run
from tests.api.harness.many_records import STEP_EVERY, write_many_records
from tests.api.harness.serving import Server, serving

IMAGES = 60
NO_LIMIT = {"API_READS_PER_MINUTE": "100000000", "API_COMMANDS_PER_MINUTE": "1000000"}


def main() -> None:
    """Write, serve, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="leitstand-listing-") as name:
        root = Path(name)
        write_run(root, last_step=0).close()
        write_many_records(root, range(0, STEP_EVERY * options.records, STEP_EVERY), images=IMAGES)
        with serving(root, **NO_LIMIT) as server, requests.Session() as session:  # type: ignore[arg-type]
            _measure(server, session, root, options.records, options.rounds)


def _measure(server: Server, session: requests.Session, root: Path, records: int, rounds: int) -> None:
    first = f"{server.url}/statistics"
    memory = _Worker(server)
    _say("first page, never asked before", [_seconds(session, first)])
    memory.say("after it")
    time.sleep(TIMESTAMP_GRANULARITY_SECONDS)
    _seconds(session, first)
    for page in ("?limit=100", "?limit=1000", "?limit=100&order=desc", "?limit=1000&order=desc"):
        _seconds(session, first + page)
        _say(f"warm, {page}", [_seconds(session, first + page) for _ in range(rounds)])
    _say("after GET /state of a run without trainer, ?limit=100", list(_after_others(session, server.url, rounds)))
    _say("after a new record, ?limit=100&order=desc", list(_after_new_ones(session, first, root, records, rounds)))
    memory.say("after these")
    time.sleep(TIMESTAMP_GRANULARITY_SECONDS)
    started_at = time.monotonic()
    count = sum(1 for _ in _all_pages(session, first))
    _say(f"all {count} entries, page by page", [time.monotonic() - started_at])
    memory.say("after these")
    _say("latest", [_seconds(session, f"{first}/latest") for _ in range(rounds)])
    for table in ("jsonl", "csv"):
        started_at, before = time.monotonic(), memory.processor_seconds()
        size = _size(session, f"{first}?format={table}")
        _say(f"all records as {table}, {size / 1e6:.0f} MB", [time.monotonic() - started_at])
        sys.stdout.write(f"  of these {memory.processor_seconds() - before:.1f} s on the worker's processor\n")
        memory.say("after it")


def _after_others(session: requests.Session, url: str, rounds: int) -> Iterator[float]:
    """Where nobody holds the store open, each look into it makes and removes files beside the records."""
    for _ in range(rounds):
        _seconds(session, f"{url}/state")
        yield _seconds(session, f"{url}/statistics?limit=100")


def _after_new_ones(session: requests.Session, first: str, root: Path, records: int, rounds: int) -> Iterator[float]:
    for number in range(rounds):
        write_many_records(root, [STEP_EVERY * (records + number)], images=IMAGES)
        yield _seconds(session, f"{first}?limit=100&order=desc")


def _all_pages(session: requests.Session, first: str) -> Iterator[object]:
    cursor = ""
    while cursor is not None:
        page = session.get(first, params={"cursor": cursor} if cursor else {}).json()
        yield from page["records"]
        cursor = page["next_cursor"]


def _seconds(session: requests.Session, url: str) -> float:
    started_at = time.monotonic()
    session.get(url).raise_for_status()
    return time.monotonic() - started_at


def _size(session: requests.Session, url: str) -> int:
    with session.get(url, stream=True) as answer:
        answer.raise_for_status()
        return sum(len(piece) for piece in answer.iter_content(1 << 16))


class _Worker:
    """The worker's resident set, in MiB, and how it grew; and its time on a processor."""

    def __init__(self, server: Server) -> None:
        (self._worker,) = psutil.Process(server.process.pid).children()
        self._before = self._now()

    def say(self, when: str) -> None:
        sys.stdout.write(f"  memory {when}: {self._now():.1f} MiB, {self._now() - self._before:+.1f} MiB\n")

    def processor_seconds(self) -> float:
        """Seconds of user and system time that the worker has used."""
        times = self._worker.cpu_times()
        return float(times.user + times.system)

    def _now(self) -> float:
        mebibytes: float = self._worker.memory_info().rss / 2**20
        return mebibytes


def _say(what: str, seconds: list[float]) -> None:
    median, worst = statistics.median(seconds), max(seconds)
    sys.stdout.write(f"{what}: median {1000 * median:.1f} ms, worst {1000 * worst:.1f} ms of {len(seconds)}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
