"""`/provenance/<sha256>`: from what a start of the run was made."""

from flask import Blueprint, Response

from api.artifacts.provenance import find_provenance
from api.http.conditional import NOT_MODIFIED, PRECONDITIONS, RANGE, Representation, respond
from api.http.operation import Answer, Scope, operation
from api.http.parameters import PathParameter
from api.http.problems import ProblemError
from api.runs.context import current_run_context

JSON = "application/json"
SHA256 = PathParameter(
    "sha256", "what a record's `provenance` says", {"type": "string", "pattern": "^[0-9a-f]{64}$"}
)  # fmt: skip

blueprint = Blueprint("provenance", __name__)


@blueprint.get("/provenance/<sha256>")
@operation(
    Scope.READ,
    SHA256,
    answers=[
        Answer(
            schema={"type": "object"},
            description="the file, byte for byte",
            headers={
                "ETag": "the file's sha256",
                "Repr-Digest": "the sha256 of the whole file (RFC 9530)",
                "Content-Disposition": "the file's name",
            },
        ),
        Answer(media_type=JSON, description="the range that was asked for", status=206, headers=RANGE),
        NOT_MODIFIED,
    ],
    problems=["not-found", *PRECONDITIONS, "storage-unavailable"],
)
def download(sha256: str) -> Response:
    """Download from what a start of the run was made: settings, code, packages, machine, data, without secrets."""
    cached_directory = current_run_context().cached_directory
    if cached_directory is None:
        raise ProblemError("not-found", "The run's directory is not on this machine, so its provenance cannot be read.")
    try:
        file = find_provenance(cached_directory.directory.provenance, sha256)
    except OSError as error:
        raise ProblemError(
            "storage-unavailable", f"The provenance cannot be read ({error.strerror}); try again."
        ) from None
    if file is None:
        raise ProblemError(
            "not-found", f"The run has no whole provenance {sha256!r}; its records name those that it has."
        )
    name = {"Content-Disposition": f"attachment; filename={sha256}.json"}
    return respond(Representation(file.content, JSON, sha256, file.modified_at, name))
