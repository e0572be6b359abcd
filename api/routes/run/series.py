"""`/series`: the history of values over steps, as it was logged or reduced to stretches of steps."""

from collections.abc import Collection, Iterator
from operator import sub

import orjson
from flask import Blueprint, Response

from api.http.compression import compress_fast
from api.http.operation import Answer, Scope, operation
from api.http.pagination import Count
from api.http.parameters import LARGEST, Choices, PatternText, WholeNumber
from api.http.problems import ProblemError
from api.runs.context import current_run_context
from service.api_types import Envelope, EnvelopeSeries, Series
from service.run.record_schema import FIELDS
from service.store.queries.series import SeriesRow
from service.store.rollups.columns import BucketColumns
from service.store.store import Store

NUMERIC_KEYS = tuple(field.name for field in FIELDS if field.kind in {"number", "integer"})
"""Keys of a record that can have a history, in the record's order."""
MAX_POINTS = 10_000
"""Limit for log points in an answer without `points`."""
BATCH_SIZE = 1000
"""Log points read from the store per query."""

NAMES = Choices("names", "numeric keys of a record; without it all that have values", NUMERIC_KEYS)
FIRST_STEP = WholeNumber("from", "the first step", default=0)
LAST_STEP = WholeNumber("to", "the last step, included", default=LARGEST)
BRANCH = PatternText(
    "branch", "steps that a rollback or a resume set aside", "[0-9A-Za-z._-]{1,200}", "a branch's name"
)
POINTS = Count("points", "reduce the history to about so many stretches of equal width", minimum=10, maximum=5000)

blueprint = Blueprint("series", __name__)


@blueprint.get("/series")
@operation(
    Scope.READ, NAMES, FIRST_STEP, LAST_STEP, POINTS, BRANCH,
    answers=[Answer(Series | Envelope, "the log points, or with `points` their stretches")],
    problems=["invalid-argument", "not-found", "no-run", "storage-unavailable"],
)  # fmt: skip
def show() -> Response:
    """Show values between two steps, both included: log by log, or the mean, lowest and highest of each stretch."""
    context = current_run_context()
    with context.snapshot_scope():
        run_id = _branch_or_run(context.store, context.run().id)
        points = POINTS.value()
        answer = _log_points(context.store, run_id) if points is None else _envelope(context.store, run_id, points)
    compress_fast()  # most of it is digits, which hardly become fewer
    return Response(orjson.dumps(answer), mimetype="application/json")


def _branch_or_run(store: Store, run_id: str) -> str:
    """Return the id of the wanted branch, by default that of the run; raises `ProblemError` (not-found)."""
    branch = BRANCH.value()
    if branch is not None and branch not in (branches := store.series.branches(run_id)):
        known = f"choose one of: {', '.join(branches)}." if branches else "nothing was set aside."
        raise ProblemError("not-found", f"Run {run_id} has no branch {branch!r}; {known}")
    return branch or run_id


def _log_points(store: Store, run_id: str) -> Series:
    rows = _rows(store, run_id, FIRST_STEP.value(), LAST_STEP.value())
    names = list(NAMES.value() or _in_record_order({name for row in rows for name in row.values}))
    return {
        "run_id": run_id,
        "names": names,
        "steps": [row.step for row in rows],
        "times": [row.time for row in rows],
        "values": {name: [row.values.get(name) for row in rows] for name in names},
    }


def _rows(store: Store, run_id: str, first_step: int, last_step: int) -> list[SeriesRow]:
    """Return the log points between two steps, inclusive; raises `ProblemError` (invalid-argument) if too many."""
    rows: list[SeriesRow] = []
    after_step = first_step - 1
    while (limit := min(BATCH_SIZE, last_step - after_step)) > 0:
        batch = store.series.find_after(run_id, after_step, limit)
        rows += (row for row in batch if row.step <= last_step)
        if len(rows) > MAX_POINTS:
            raise ProblemError(
                "invalid-argument",
                f"There are more than {MAX_POINTS} log points between these steps; "
                "ask for fewer steps with from= and to=, or for an envelope with points=1000.",
            )
        if len(batch) < limit:
            break
        after_step = batch[-1].step
    return rows


def _in_record_order(names: Collection[str]) -> list[str]:
    """Return the names that are keys of a record, in its order."""
    return [name for name in NUMERIC_KEYS if name in names]


def _envelope(store: Store, run_id: str, points: int) -> Envelope:
    first_step = FIRST_STEP.value()
    names = NAMES.value() or _in_record_order(store.series.names(run_id))
    envelope = store.series.envelope(run_id, names, first_step, LAST_STEP.value(), points)
    series = {name: _columns(of_name) for name, of_name in envelope.items()}
    non_empty = [columns for columns in series.values() if columns["steps"]]
    return {
        "run_id": run_id,
        "names": list(names),
        "first_step": min((columns["steps"][0] for columns in non_empty), default=first_step),
        "last_step": max((columns["last_steps"][-1] for columns in non_empty), default=first_step),
        "stretch_steps": 1 + max((max(_widths(columns)) for columns in non_empty), default=0),
        "series": series,
    }


def _widths(columns: EnvelopeSeries) -> Iterator[int]:
    return map(sub, columns["last_steps"], columns["steps"])


def _columns(buckets: BucketColumns) -> EnvelopeSeries:
    return {
        "steps": buckets.first_steps,
        "last_steps": buckets.last_steps,
        "means": buckets.means(),
        "lows": buckets.lows,
        "low_steps": buckets.low_steps,
        "highs": buckets.highs,
        "high_steps": buckets.high_steps,
        "counts": buckets.counts,
    }
