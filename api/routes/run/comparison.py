"""`/statistics/compare`: the same values of several runs side by side."""

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from flask import Blueprint

from api.artifacts.records.entries import HEADLINES, InvalidRecordError, parse_record
from api.artifacts.records.source import LATEST, RecordSource
from api.http.operation import Answer, Scope, operation
from api.http.pagination import Count
from api.http.parameters import Choices, Ids, PatternText
from api.http.problems import ProblemError, unreadable_run_directory
from api.runs.context import RunContext, current_run_context
from api.runs.records import find_record, record_source
from api.runs.registry import current_registry
from service.api_types import ComparedRecord, Comparison
from service.run.record import KEYS, Record, finite, record_name

MAX_RUNS = 16
DEFAULT_LIMIT, MAX_RECORDS = 100, 1000
MAX_BYTES = 16 * 1024 * 1024
"""Limit for the values in an answer, which takes six times as much memory until it is sent."""

RUNS = Ids("runs", f"ids of runs; without it all that are here, at most the newest {MAX_RUNS}", maximum=MAX_RUNS)
STEP = PatternText(
    "step", "compare only the records of this step, or each run's `latest`", f"[0-9]{{1,18}}|{LATEST}",
    f"a step, a whole number, or {LATEST}",
)  # fmt: skip

LIMIT = Count("limit", f"records of a run, the latest ones; {DEFAULT_LIMIT} where it is not said", maximum=MAX_RECORDS)
NAMES = Choices("names", f"keys of a record; without it {', '.join(HEADLINES)}", KEYS)

Column = tuple[int, dict[str, Any]]

blueprint = Blueprint("comparison", __name__)


@blueprint.get("/statistics/compare")
@operation(
    Scope.READ, RUNS, STEP, LIMIT, NAMES,
    answers=[Answer(Comparison, "the records by run and step")],
    problems=["not-found", "invalid-argument", "no-run", "storage-unavailable"],
)  # fmt: skip
def compare() -> Comparison:
    """Compare the saved records of several runs: at one step, or over all of them."""
    current_run_context()  # answers 404 if the run in the path does not exist
    names = NAMES.value() or HEADLINES
    contexts = _contexts(RUNS.value())
    compared = (
        ComparedRecord(run_id=run_id, step=step, values=values)
        for run_id, context in contexts.items()
        for step, values in _columns(record_source(context), names)
    )
    order = {run_id: index for index, run_id in enumerate(contexts)}
    records = sorted(_bounded(compared), key=lambda record: (order[record["run_id"]], record["step"]))
    return {"names": list(names), "runs": list(contexts), "records": records}


def _bounded(records: Iterable[ComparedRecord]) -> Iterator[ComparedRecord]:
    """Yield the records; raises `ProblemError` (invalid-argument) once they are too large for one answer."""
    size = 0
    for record in records:
        size += len(json.dumps(record["values"]))
        if size > MAX_BYTES:
            raise ProblemError(
                "invalid-argument",
                f"The answer has more than {MAX_BYTES} bytes; ask for less with names=, runs=, step= or limit=.",
            )
        yield record


def _contexts(run_ids: Sequence[str] | None) -> dict[str, RunContext]:
    """Return the contexts of the runs by id; raises `ProblemError` (not-found) for an unknown run."""
    registry = current_registry()
    if run_ids is None:
        return {known.row.id: known.context() for known in registry.runs()[:MAX_RUNS]}
    return {run_id: registry.context(run_id) for run_id in run_ids}


def _columns(source: RecordSource, names: Sequence[str]) -> Iterator[Column]:
    """Yield step and requested values of one run's records, newest first."""
    step = STEP.value()
    if step is None:
        records = _newest(source, LIMIT.value() or DEFAULT_LIMIT)
    else:
        records = _single(source, step if step == LATEST else record_name(int(step)))
    return ((record["step_current"], {name: finite(record.get(name)) for name in names}) for record in records)


def _newest(source: RecordSource, limit: int) -> Iterator[Record]:
    try:
        return islice(source.records(newest_first=True), limit)
    except OSError as error:
        raise unreadable_run_directory(error) from None


def _single(source: RecordSource, name: str) -> Iterator[Record]:
    file = find_record(source, name)
    try:
        return iter(() if file is None else (parse_record(file),))
    except InvalidRecordError:
        return iter(())
