"""`/statistics`: the list of saved records, all of them as one table, and each record byte for byte."""

import hashlib

from flask import Blueprint, Response, jsonify, request

from api.artifacts.records.export import EXPORTS, export
from api.artifacts.records.source import LATEST, RecordPosition
from api.http.conditional import NOT_MODIFIED, PRECONDITIONS, RANGE, Representation, respond
from api.http.operation import Answer, Scope, operation
from api.http.pagination import Count, Cursor, next_link
from api.http.parameters import Choice, PathParameter
from api.http.problems import ProblemError
from api.runs.context import current_run_context, run_path
from api.runs.records import PAGE_SIZE, find_record, record_list, record_representation, record_source
from service.api_types import RecordList

JSON = "application/json"
ACCEPTED = {JSON: "json", "text/csv": "csv", "application/jsonl": "jsonl", "application/x-ndjson": "jsonl"}
FORMAT = Choice(
    "format", "`csv` or `jsonl`: all records with all keys, one a line; without it the Accept header decides",
    ["json", *EXPORTS],
)  # fmt: skip

ORDER = Choice("order", "by step as a number: `asc`, or `desc` for the newest first", ["asc", "desc"], default="asc")
LIMIT = Count(
    "limit", f"entries on a page, without it {PAGE_SIZE}; records in a table, without it all", maximum=PAGE_SIZE
)
CURSOR = Cursor()
NAMES = rf"^(?:{LATEST}|Statistik_(?:0|[1-9][0-9]{{0,17}})\.json)$"
NAME = PathParameter(
    "name", f"a record's name as the list gives it, or `{LATEST}`", {"type": "string", "pattern": NAMES}
)

RECORD = {"anyOf": [{"$ref": "#/components/schemas/Record"}, {"type": "object"}]}
"""A record; one that an earlier version wrote lacks keys, and a person may have changed the file."""

blueprint = Blueprint("records", __name__)


@blueprint.get("/statistics")
@operation(
    Scope.READ,
    FORMAT,
    ORDER,
    LIMIT,
    CURSOR,
    answers=[
        Answer(
            RecordList, "a page of the list", optional_headers={"Link": "the next page, `rel=next`", "ETag": "for 304"}
        ),
        *(Answer(media_type=media_type, description=f"all records as {name}") for name, media_type in EXPORTS.items()),
        NOT_MODIFIED,
    ],
    problems=["invalid-argument", *PRECONDITIONS, "too-many-requests", "no-run", "storage-unavailable"],
)
def list_all() -> Response:
    """List the saved records by step, or all of them as one table."""
    source = record_source(current_run_context())
    newest_first = ORDER.value() == "desc"
    cursor = CURSOR.value()
    after = None if cursor is None else RecordPosition(*cursor)
    export_format = FORMAT.value() or _accepted_format()
    if export_format != "json":
        return export(source, export_format, after, LIMIT.value(), newest_first=newest_first)
    return _answer_page(record_list(source, after, LIMIT.value() or PAGE_SIZE, newest_first=newest_first))


@blueprint.get("/statistics/<name>")
@operation(
    Scope.READ,
    NAME,
    answers=[
        Answer(
            schema=RECORD,
            description="the file, byte for byte",
            headers={
                "ETag": "the file's sha256",
                "Repr-Digest": "the sha256 of the whole file (RFC 9530)",
                "Content-Disposition": "the file's name",
            },
            optional_headers={"Content-Location": "of `latest`: the record that it is"},
        ),
        Answer(media_type=JSON, description="the range that was asked for", status=206, headers=RANGE),
        NOT_MODIFIED,
    ],
    problems=["not-found", *PRECONDITIONS, "no-run", "storage-unavailable"],
)
def download(name: str) -> Response:
    """Download one record, or the one of the highest step under the name `latest`."""
    file = find_record(record_source(current_run_context()), name)
    if file is None:
        raise ProblemError("not-found", f"There is no record {name!r}; /statistics lists all.")
    response = respond(record_representation(file))
    if name == LATEST:
        response.headers["Content-Location"] = run_path(f"/statistics/{file.name}")
    return response


def _accepted_format() -> str:
    return ACCEPTED[request.accept_mimetypes.best_match(ACCEPTED, JSON)]


def _answer_page(page: RecordList) -> Response:
    content = jsonify(page).get_data()
    response = respond(Representation(content, JSON, hashlib.sha256(content).hexdigest()))
    response.vary.add("Accept")
    if page["next_cursor"] is not None:
        response.headers["Link"] = next_link(page["next_cursor"])
    return response
