"""Where each record lies on the axis of a curve: at its step, its training samples, or its hours of training."""

import math
from array import array
from collections.abc import Sequence
from typing import Literal

from service.run.records.curves.columns import RunColumns, training_seconds

Axis = Literal["step", "samples", "time"]
AXES: tuple[Axis, ...] = ("step", "samples", "time")


Unit = Literal["minutes", "hours"]


class MissingAxisError(ValueError):
    """A run has no values for an axis; the text is the reason, as the end of a sentence."""


def positions(columns: RunColumns, axis: Axis) -> Sequence[float]:
    """Return the position of every record: steps, samples, or hours of training; raises `MissingAxisError`."""
    if axis == "step":
        return array("d", columns.steps)
    found: Sequence[float] = columns.numbers["samples_seen"]
    if axis == "time":
        found = array("d", [seconds / 3600 for seconds in training_seconds(columns)])
    if columns.steps and all(map(math.isnan, found)):
        key = "samples_seen" if axis == "samples" else "iteration_duration"
        raise MissingAxisError(f"the records of {columns.label} have no {key}")
    return found


def unit_of(seconds: float) -> tuple[Unit, float]:
    """Return the unit in which a training time is told, and its seconds: minutes for one of less than an hour."""
    return ("minutes", 60.0) if seconds < 3600 else ("hours", 3600.0)


def thinned(x: Sequence[float], y: Sequence[float], most: int) -> tuple[list[float], list[float]]:
    """Return the known points of a curve, at most about `most`: of each stretch its lowest and highest value."""
    known = [(at, value) for at, value in zip(x, y, strict=True) if at == at and value == value]
    if len(known) > most:
        size = math.ceil(2 * len(known) / most)
        parts = (known[start : start + size] for start in range(0, len(known), size))
        known = [
            point
            for part in parts
            for point in sorted({min(part, key=lambda p: p[1]), max(part, key=lambda p: p[1]), part[-1]})
        ]
    return [at for at, _ in known], [value for _, value in known]
