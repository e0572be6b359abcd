"""`/statistics/compare`: the same values of several runs side by side."""

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice

from flask import Blueprint, Response

from api.artifacts.records.columns import encoded_values
from api.artifacts.records.entries import HEADLINES, InvalidRecordError, parse_record
from api.artifacts.records.source import LATEST, EncodedValues, RecordSource
from api.http.operation import Answer, Scope, operation
from api.http.pagination import Count
from api.http.parameters import Choices, Ids, PatternText
from api.http.problems import ProblemError, unreadable_run_directory
from api.runs.context import RunContext, current_run_context
from api.runs.records import find_record, record_source
from api.runs.registry import current_registry
from service.api_types import Comparison
from service.run.record import KEYS, record_name

MAX_RUNS = 16
DEFAULT_LIMIT, MAX_RECORDS = 100, 1000
MAX_BYTES = 16 * 1024 * 1024
"""Limit for the values in an answer, which takes three times as much memory until it is sent."""

RUNS = Ids("runs", f"ids of runs; without it all that are here, at most the newest {MAX_RUNS}", maximum=MAX_RUNS)
STEP = PatternText(
    "step", "compare only the records of this step, or each run's `latest`", f"[0-9]{{1,18}}|{LATEST}",
    f"a step, a whole number, or {LATEST}",
)  # fmt: skip

LIMIT = Count("limit", f"records of a run, the latest ones; {DEFAULT_LIMIT} where it is not said", maximum=MAX_RECORDS)
NAMES = Choices("names", f"keys of a record; without it {', '.join(HEADLINES)}", KEYS)

blueprint = Blueprint("comparison", __name__)


@blueprint.get("/statistics/compare")
@operation(
    Scope.READ, RUNS, STEP, LIMIT, NAMES,
    answers=[Answer(Comparison, "the records by run and step")],
    problems=["not-found", "invalid-argument", "no-run", "storage-unavailable"],
)  # fmt: skip
def compare() -> Response:
    """Compare the saved records of several runs: at one step, or over all of them."""
    current_run_context()  # answers 404 if the run in the path does not exist
    names = tuple(NAMES.value() or HEADLINES)
    contexts = _contexts(RUNS.value())
    records: list[bytes] = []
    free = MAX_BYTES
    for run_id, context in contexts.items():
        found = _within(free, _columns(record_source(context), names))
        free -= sum(map(len, found))
        run = json.dumps(run_id).encode()
        records += [b'{"run_id":%b,%b}' % (run, values) for values in reversed(found)]
    return Response(_encoded(names, contexts, records), mimetype="application/json")


def _encoded(names: Iterable[str], runs: Iterable[str], records: Iterable[bytes]) -> bytes:
    """Return a `Comparison` as JSON; of its records only the JSON is kept, because there may be thousands."""
    head = {"names": list(names), "runs": list(runs)}
    return b'%b,"records":[%b]}' % (json.dumps(head).encode().removesuffix(b"}"), b",".join(records))


def _within(free: int, columns: Iterable[EncodedValues]) -> list[EncodedValues]:
    """Return the values if they have at most `free` bytes; raises `ProblemError` (invalid-argument)."""
    found: list[EncodedValues] = []
    for values in columns:
        free -= len(values)
        if free < 0:
            raise ProblemError(
                "invalid-argument",
                f"The answer has more than {MAX_BYTES} bytes; ask for less with names=, runs=, step= or limit=.",
            )
        found.append(values)
    return found


def _contexts(run_ids: Sequence[str] | None) -> dict[str, RunContext]:
    """Return the contexts of the runs by id; raises `ProblemError` (not-found) for an unknown run."""
    registry = current_registry()
    if run_ids is None:
        return {known.row.id: known.context() for known in registry.page(None, MAX_RUNS).runs}
    return {run_id: registry.context(run_id) for run_id in run_ids}


def _columns(source: RecordSource, names: tuple[str, ...]) -> Iterator[EncodedValues]:
    """Yield step and requested values of one run's records, newest first."""
    step = STEP.value()
    if step is not None:
        yield from _single(source, step if step == LATEST else record_name(int(step)), names)
        return
    try:
        yield from islice(source.values(names), LIMIT.value() or DEFAULT_LIMIT)
    except OSError as error:
        raise unreadable_run_directory(error) from None


def _single(source: RecordSource, name: str, names: tuple[str, ...]) -> Iterator[EncodedValues]:
    file = find_record(source, name)
    with suppress(InvalidRecordError):
        if file is not None:
            yield encoded_values(parse_record(file), names)
