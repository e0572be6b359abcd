"""The store's history of a long run: what its summaries cost the recorder, and how long a question takes.

    python -m bench.reading.history_points [--points N] [--values N] [--spacing STEPS] [--store URL]

Fills a new store (SQLite in a temporary folder, or a PostgreSQL database that is empty) with log points of many values.
Some are written as the recorder writes them, one at a time; most are put in at once. Prints microseconds per log point,
sizes, and milliseconds per question for ranges from the whole run down to a thousandth of it.
"""

import argparse
import math
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from unittest.mock import patch

import sqlalchemy as sa

from service.store.rollups import writer
from service.store.rollups.buckets import Point
from service.store.store import SeriesRow, Store
from service.store.tables import series, series_summaries

RUN = "run"
ONE_BY_ONE = 5000
TOGETHER = 5000
ROUNDS = 7


def main() -> None:
    """Fill, ask, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=1_000_000)
    parser.add_argument("--values", type=int, default=60)
    parser.add_argument("--spacing", type=int, default=1)
    parser.add_argument("--store", default="", help="address of an empty PostgreSQL database; default SQLite")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="leitstand-history-") as folder:
        file = Path(folder) / "leitstand.db"
        store = Store(options.store or file, create=True, keep_open=True)
        _measure_writing(store, options.values, options.spacing)
        _fill(store, options.points, options.values, options.spacing)
        _print_size(store, file)
        _ask(store, options.points * options.spacing, options.values)
        store.close()


def _values(step: int, count: int) -> dict[str, float]:
    return {f"value_number_{number:02}": math.sin(step / 1000 + number) for number in range(count)}


def _measure_writing(store: Store, count: int, spacing: int) -> None:
    """One log point at a time, many in one transaction as when the recorder catches up."""
    rows = [SeriesRow(step * spacing, 1.0, _values(step, count)) for step in range(ONE_BY_ONE)]
    add, of_summaries = writer.RollupWriter.add, 0.0

    def timed_add(self: writer.RollupWriter, points: Sequence[Point]) -> None:
        nonlocal of_summaries
        began = time.perf_counter()
        add(self, points)
        of_summaries += time.perf_counter() - began

    began = time.perf_counter()
    with patch.object(writer.RollupWriter, "add", timed_add):
        for start in range(0, ONE_BY_ONE, 100):
            with store.transaction_scope():
                for row in rows[start : start + 100]:
                    store.series.add("one by one", [row])
    whole = time.perf_counter() - began
    microseconds = [seconds / ONE_BY_ONE * 1e6 for seconds in (whole, of_summaries)]
    print("a log point of {} values: {:.0f} us, of which {:.0f} us summaries".format(count, *microseconds))  # noqa: T201


def _fill(store: Store, points: int, count: int, spacing: int) -> None:
    for start in range(0, points, TOGETHER):
        with store.transaction() as connection:
            new = [(number * spacing, _values(number, count)) for number in range(start, min(start + TOGETHER, points))]
            rows = [{"run_id": RUN, "step": step, "time": 1.0, "values": values} for step, values in new]
            connection.execute(sa.insert(series), rows)
            writer.RollupWriter(connection, RUN).add(new)


def _print_size(store: Store, file: Path) -> None:
    with store.transaction() as connection:
        count = sa.select(sa.func.count()).select_from(series_summaries).where(series_summaries.c.run_id == RUN)
        print(f"{connection.execute(count).scalar_one()} summaries")  # noqa: T201
    if file.exists():
        print(f"{file.stat().st_size / 1e6:.0f} MB in all")  # noqa: T201


def _ask(store: Store, steps: int, count: int) -> None:
    for names in (1, 4, count):
        for share, first, last in _ranges(steps):
            wanted = [f"value_number_{number:02}" for number in range(names)]
            found, times = 0, []
            for _ in range(ROUNDS):
                began = time.perf_counter()
                found = len(store.series.envelope(RUN, wanted, first, last, 1000)[wanted[0]])
                times.append((time.perf_counter() - began) * 1000)
            median = statistics.median(times)
            print(f"{names} values, {share}: {median:.0f} ms (first {times[0]:.0f}), {found} stretches")  # noqa: T201


def _ranges(steps: int) -> Iterator[tuple[str, int, int]]:
    for part in (1, 2, 4, 8, 16, 31, 32, 63, 64, 128, 1000):
        length = steps // part
        first = (steps - length) // 2 + 3
        yield f"1/{part} of the run", first if part > 1 else 0, first + length


if __name__ == "__main__":
    main()
