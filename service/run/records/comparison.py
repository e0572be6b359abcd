"""Several runs against each other: best values, values at the same place, what differs, and what to conclude."""

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from service.run.records.curves.axis import AXES, Axis, MissingAxisError, positions
from service.run.records.curves.columns import RunColumns, plain_values

SCATTER_RECORDS = 40
"""The newest records that tell how much validations scatter: early ones rise too steeply."""
MIN_SCATTER_RECORDS = 5
TELLING_SCATTERS = 2.0
"""How many times the scatter of a difference between two runs a difference must be to say something."""
_MEDIAN_TO_DEVIATION = 1.4826
_SECOND_DIFFERENCE = math.sqrt(6)
"""Standard deviation of q[i-1] - 2 q[i] + q[i+1] where each of the three scatters by 1."""

COMPARED_VALUES = ("training_data", "validation_data", "world_size", "schema_version", "init_from", "parent_run")
IGNORED_SETTINGS = frozenset({"DATA_ROOT"})


@dataclass(frozen=True)
class Place:
    """The last place on an axis that all runs reached, and of each run the step and the quality KI there."""

    axis: Axis
    at: float
    found: Mapping[str, tuple[int, float | None]]


@dataclass(frozen=True)
class Difference:
    """Something that is not the same in all runs, and its value in each."""

    name: str
    values: Mapping[str, Any]


def places(runs: Sequence[RunColumns]) -> list[Place]:
    """Return the places at which the runs compare: an equal step, equal samples, equal time, where they have those."""
    return [place for axis in AXES if (place := _place(runs, axis))]


def _place(runs: Sequence[RunColumns], axis: Axis) -> Place | None:
    try:
        at = [positions(run, axis) for run in runs]
    except MissingAxisError:
        return None
    ends = [max((value for value in one if not math.isnan(value)), default=math.nan) for one in at]
    if not ends or any(map(math.isnan, ends)):
        return None
    end = min(ends)
    found = {run.label: _value_at(run, one, end) for run, one in zip(runs, at, strict=True)}
    return Place(axis, end, {label: value for label, value in found.items() if value is not None})


def _value_at(run: RunColumns, at: Sequence[float], place: float) -> tuple[int, float | None] | None:
    """Return step and quality of the last record at or before a place; None if there is none."""
    known = [index for index, value in enumerate(at) if not math.isnan(value)]
    count = bisect_right(known, place, key=lambda index: at[index])
    if not count:
        return None
    index = known[count - 1]
    quality = run.numbers["quality_ki_value"][index]
    return run.steps[index], None if math.isnan(quality) else quality


def scatter(run: RunColumns) -> float | None:
    """Return by how much one validation scatters (a standard deviation), without the trend; None for too few.

    Three successive validations on a straight line would have no second difference: what they have is scatter.
    """
    values = [value for value in run.numbers["quality_ki_value"] if not math.isnan(value)][-SCATTER_RECORDS:]
    if len(values) < MIN_SCATTER_RECORDS:
        return None
    triples = zip(values, values[1:], values[2:], strict=False)
    return _MEDIAN_TO_DEVIATION * median(abs(a - 2 * b + c) for a, b, c in triples) / _SECOND_DIFFERENCE


def differences(runs: Sequence[RunColumns], settings: Mapping[str, Mapping[str, Any]]) -> list[Difference]:
    """Return what differs between runs: data, ranks, versions, beginnings, and settings (by label and name)."""
    values = {run.label: plain_values(run) for run in runs}
    found = [Difference(name, {label: one.get(name) for label, one in values.items()}) for name in COMPARED_VALUES]
    names = dict.fromkeys(name for one in settings.values() for name in one if name not in IGNORED_SETTINGS)
    if all(settings.get(run.label) for run in runs):  # a run without config.json differs in nothing that is known
        found += [Difference(name, {run.label: settings[run.label].get(name) for run in runs}) for name in names]
    return [one for one in found if len(set(map(repr, one.values.values()))) > 1]


def other_versions(versions: Mapping[str, Mapping[str, str]]) -> list[Difference]:
    """Return which versions differ between runs (by label and name); nothing if one of them does not say."""
    if not all(versions.values()):
        return []
    names = dict.fromkeys(name for one in versions.values() for name in one)
    found = [Difference(name, {label: one.get(name) for label, one in versions.items()}) for name in names]
    return [one for one in found if len(set(one.values.values())) > 1]


def verdict(runs: Sequence[RunColumns]) -> str:
    """Return what to conclude from the best qualities, as one sentence."""
    known = [(best[1], best[0], run) for run in runs if (best := run.best())]
    if len(known) < 2:
        return "There are no two runs with a quality to compare."
    if reason := _incomparable([run for _, _, run in known]):
        return reason
    known.sort(key=lambda entry: -entry[0])
    (high, high_step, first), (low, low_step, second) = known[:2]
    spreads = [scatter(first), scatter(second)]
    values = f"{high:.4f} (step {high_step}) against {low:.4f} (step {low_step})"
    if high == low:
        return f"{first.label} and {second.label} reached the same, {values}."
    if None in spreads:
        return (
            f"{first.label} reached more than {second.label}, {values}, but they have too few validations to tell how "
            "much one scatters."
        )
    spread = math.hypot(*(value or 0.0 for value in spreads))
    also = f", the second best of {len(known)}" if len(known) > 2 else ""
    if high - low > TELLING_SCATTERS * spread:
        return (
            f"{first.label} is better than {second.label}{also}: {values}, a difference of {high - low:.4f} where two "
            f"validations differ by {spread:.4f} by chance."
        )
    return (
        f"{first.label} and {second.label} cannot be told apart: {values}, a difference of {high - low:.4f} where two "
        f"validations differ by {spread:.4f} by chance."
    )


def _incomparable(runs: Sequence[RunColumns]) -> str | None:
    """Return why the qualities of runs do not compare, or None if they do."""
    records = [record for run in runs for record in (run.first, run.last) if record is not None]
    if len({record.origin for record in records}) > 1:
        return "The original system measured quality otherwise, so these runs do not compare."
    if len({record.values["validation_data"] for record in records}) > 1:
        return "These runs were not validated on the same images, so their qualities do not compare."
    return None
