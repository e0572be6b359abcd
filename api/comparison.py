"""`/statistics/compare`: the same values of several runs side by side."""

from collections.abc import Sequence
from itertools import islice
from typing import Any

from flask import Blueprint

from api.contract import Answer, Scope, operation
from api.headlines import HEADLINES, NoRecordError, parsed
from api.names import Identities, Names
from api.paging import Count
from api.parameters import Text
from api.reader import Reader, current_reader
from api.record_list import find_record, record_source, unreadable
from api.record_source import LATEST, RecordSource
from api.room import current_room
from service.answers import ComparedRecord, Comparison
from service.record import KEYS, Record, finite, record_name

MOST_RUNS = 16
USUAL_LIMIT, MOST_RECORDS = 100, 1000

RUNS = Identities("runs", f"ids of runs; without it all that are here, at most the newest {MOST_RUNS}", most=MOST_RUNS)
STEP = Text(
    "step", "compare only the records of this step, or each run's `latest`", f"[0-9]{{1,18}}|{LATEST}",
    f"a step, a whole number, or {LATEST}",
)  # fmt: skip
LIMIT = Count("limit", f"records of a run, the latest ones; {USUAL_LIMIT} where it is not said", most=MOST_RECORDS)
NAMES = Names("names", f"keys of a record; without it {', '.join(HEADLINES)}", KEYS)

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
    current_reader()  # a path that names no run that is here leads nowhere
    names = NAMES.value() or HEADLINES
    readers = _readers(RUNS.value())
    records = [
        ComparedRecord(run_id=run_id, step=step, values=values)
        for run_id, reader in readers.items()
        for step, values in _columns(record_source(reader), names)
    ]
    return {"names": list(names), "runs": list(readers), "records": records}


def _readers(wanted: Sequence[str] | None) -> dict[str, Reader]:
    """Access to the runs by id; raises `ProblemError` (not-found), naming the one that is not here."""
    room = current_room()
    if wanted is None:
        return {known.row.id: known.reader() for known in room.runs()[:MOST_RUNS]}
    return {run_id: room.reader(run_id) for run_id in wanted}


def _columns(source: RecordSource, names: Sequence[str]) -> list[Column]:
    """The records of one run that are asked for, in step order."""
    step = STEP.value()
    if step is not None:
        return _at(source, step if step == LATEST else record_name(int(step)), names)
    try:
        newest = islice(source.records(newest_first=True), LIMIT.value() or USUAL_LIMIT)
        return [_column(record, names) for record in newest][::-1]
    except OSError as error:
        raise unreadable(error) from None


def _at(source: RecordSource, name: str, names: Sequence[str]) -> list[Column]:
    file = find_record(source, name)
    try:
        return [] if file is None else [_column(parsed(file), names)]
    except NoRecordError:
        return []


def _column(record: Record, names: Sequence[str]) -> Column:
    return record["step_current"], {name: finite(record.get(name)) for name in names}
