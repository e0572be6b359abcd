"""`/statistics`: the list of saved records, and each record byte for byte."""

from io import BytesIO

from flask import Blueprint, Response, send_file

from api.problems import ProblemError
from api.reader import current_reader
from api.record_files import RecordFile
from service.answers import RecordList

blueprint = Blueprint("records", __name__)


@blueprint.get("/statistics")
def list_all() -> RecordList:
    """All saved records, by step as a number."""
    reader = current_reader()
    assert reader.place is not None
    try:
        return reader.place.records.listing()
    except OSError as error:
        raise _unavailable(error) from None


@blueprint.get("/statistics/<name>")
def download(name: str) -> Response:
    """One record, or the one of the highest step under the name `latest`."""
    reader = current_reader()
    assert reader.place is not None
    try:
        file = reader.place.records.find(name)
    except OSError as error:
        raise _unavailable(error) from None
    if file is None:
        raise ProblemError("not-found", f"There is no record {name!r}; /statistics lists all.")
    return _send(file)


def _send(file: RecordFile) -> Response:
    response = send_file(
        BytesIO(file.content),
        mimetype="application/json",
        as_attachment=True,
        download_name=file.name,
        conditional=True,
        etag=file.sha256,
        last_modified=file.modified_at,
    )
    # May be kept, but only used after asking: a run that goes back over a step writes it anew.
    response.headers["Cache-Control"] = "private, no-cache"
    return response


def _unavailable(error: OSError) -> ProblemError:
    return ProblemError("storage-unavailable", f"The run directory cannot be read ({error.strerror}); try again.")
