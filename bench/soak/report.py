"""What samples of a soak say: how each part grew, and from when on it did not. Pure arithmetic."""

import statistics
from collections.abc import Iterable, Sequence
from itertools import combinations, groupby
from typing import NamedTuple

from bench.soak.usage import Sample

MB = 1e6
HOUR_SECONDS = 3600.0
WINDOW_SECONDS = 300.0
"""Windows whose medians are compared, and the step in which the moment is looked for from which a size is level."""
LEVEL_MB_PER_HOUR = 1.0
"""A size counts as level from where on it rises by no more."""
MIN_REST_SECONDS = 600.0
"""The shortest rest of which that may be said."""
MAX_FITTED = 400
"""Points of a fit; more are thinned, as their pairs are counted."""


class Life(NamedTuple):
    """The samples of one process, in order."""

    part: str
    pid: int
    samples: Sequence[Sample]

    @property
    def seconds(self) -> float:
        """From its first sample to its last."""
        return self.samples[-1].seconds - self.samples[0].seconds


def longest_lives(samples: Iterable[Sample]) -> list[Life]:
    """Of each part, the process that lived longest."""
    ordered = sorted(samples, key=lambda sample: (sample.part, sample.pid, sample.seconds))
    lives = [Life(*key, tuple(group)) for key, group in groupby(ordered, key=lambda sample: (sample.part, sample.pid))]
    parts = sorted({life.part for life in lives})
    return [max((life for life in lives if life.part == part), key=lambda life: life.seconds) for part in parts]


def slope_per_hour(points: Sequence[tuple[float, float]]) -> float:
    """Theil and Sen's slope of (seconds, value), in the value's unit per hour: a jump moves it little.

    Theil, H. (1950), A rank-invariant method of linear and polynomial regression analysis.
    """
    thinned = points[:: 1 + len(points) // MAX_FITTED]
    return HOUR_SECONDS * statistics.median((y2 - y1) / (x2 - x1) for (x1, y1), (x2, y2) in combinations(thinned, 2))


def level_from(points: Sequence[tuple[float, float]], most: float = LEVEL_MB_PER_HOUR) -> float | None:
    """Seconds after the first point from which the rest rises by at most `most` per hour; None if it never does."""
    begin, end = points[0][0], points[-1][0]
    for number in range(int((end - begin - MIN_REST_SECONDS) / WINDOW_SECONDS) + 1):
        rest = [point for point in points if point[0] >= begin + number * WINDOW_SECONDS]
        if slope_per_hour(rest) <= most:
            return number * WINDOW_SECONDS
    return None


def medians(points: Sequence[tuple[float, float]], windows: int = 6) -> list[float]:
    """The median value in each of so many equal windows."""
    begin, length = points[0][0], (points[-1][0] - points[0][0]) / windows
    found = []
    for number in range(windows):
        within = [y for x, y in points if number <= (x - begin) / length < number + 1 + (number == windows - 1)]
        found.append(statistics.median(within) if within else float("nan"))
    return found


def table(samples: Sequence[Sample]) -> str:
    """The longest life of each part as a row of a table."""
    lines = [
        "| part | observed, min | PSS, MB, in each sixth | rise per hour, last half: PSS, own (MB), Python's blocks "
        "| level after, min | files: first third, last, most | threads: first third, last, most |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [_row(life) for life in longest_lives(samples) if life.seconds >= MIN_REST_SECONDS]
    return "\n".join(lines) + "\n"


def _row(life: Life) -> str:
    kept = life.samples
    half = kept[len(kept) // 2 :]
    rises = [slope_per_hour([(each.seconds, getattr(each, name) / MB) for each in half]) for name in ("pss", "uss")]
    counted = [(each.seconds, float(each.blocks)) for each in half if each.blocks is not None]
    blocks = f"{slope_per_hour(counted):+.0f}" if len(counted) > 1 else "–"
    pss = [(each.seconds, each.pss / MB) for each in kept]
    level = level_from(pss)
    return (
        f"| {life.part} | {life.seconds / 60:.0f} | {', '.join(f'{size:.1f}' for size in medians(pss))} "
        f"| {rises[0]:+.2f}, {rises[1]:+.2f}, {blocks} | {'never' if level is None else f'{level / 60:.0f}'} "
        f"| {_counts([each.files for each in kept])} | {_counts([each.threads for each in kept])} |"
    )


def _counts(counts: Sequence[int]) -> str:
    third = max(1, len(counts) // 3)
    return f"{statistics.median(counts[:third]):.0f}, {statistics.median(counts[-third:]):.0f}, {max(counts)}"
