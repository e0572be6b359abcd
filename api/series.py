"""`/series`: the history of values over steps."""

import difflib
from collections.abc import Sequence

from flask import Blueprint, request

from api.arguments import LARGEST, whole_number
from api.problems import ProblemError
from api.reader import current_reader
from service.answers import Series
from service.record_fields import FIELDS
from service.store import SeriesRow

NUMBERS = tuple(field.name for field in FIELDS if field.kind in {"number", "integer"})
"""The record's keys that can have a history, in the record's order."""

blueprint = Blueprint("series", __name__)


@blueprint.get("/series")
def show() -> Series:
    """The current run's values by step, between two steps, both included."""
    reader = current_reader()
    wanted = _names()
    first_step = whole_number("from", default=0)
    last_step = whole_number("to", default=LARGEST)
    run = reader.run()
    rows = reader.store.series(run.id, first_step, last_step)
    names = wanted or _present(rows)
    return {
        "run_id": run.id,
        "names": names,
        "steps": [row.step for row in rows],
        "times": [row.time for row in rows],
        "values": {name: [row.values.get(name) for row in rows] for name in names},
    }


def _names() -> list[str]:
    """The names asked for, each once; empty for all."""
    names = list(dict.fromkeys(name for name in request.args.get("names", "").split(",") if name))
    for name in names:
        if name not in NUMBERS:
            near = difflib.get_close_matches(name, NUMBERS, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]}?" if near else "docs/api.md lists all names."
            raise ProblemError("invalid-argument", f"There is no series {name!r}; {hint}")
    return names


def _present(rows: Sequence[SeriesRow]) -> list[str]:
    found = {name for row in rows for name in row.values}
    return [name for name in NUMBERS if name in found]
