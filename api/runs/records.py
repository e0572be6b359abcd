"""Saved records of a run: their source, and one page of the list as the API returns it."""

from api.artifacts.records.source import RecordFile, RecordPosition, RecordSource
from api.artifacts.records.store_copies import StoredRecordCopies
from api.http.conditional import Representation
from api.http.pagination import cursor_text
from api.http.problems import unreadable_run_directory
from api.runs.context import RunContext, run_path
from service.api_types import RecordList

PAGE_SIZE = 1000
"""Default and maximum number of entries on a page."""


def record_source(context: RunContext) -> RecordSource:
    """Return the record files of the run's directory, or the store's copies if it is not on this machine.

    Raises `ProblemError` (no-run) or `StoreUnavailableError`.
    """
    if context.cached_directory is not None:
        return context.cached_directory.records
    return StoredRecordCopies(context.store, context.run().id)


def record_list(source: RecordSource, after: RecordPosition | None, limit: int, *, newest_first: bool) -> RecordList:
    """Return one page of the list; raises `ProblemError` (storage-unavailable) or `StoreUnavailableError`."""
    try:
        page = source.page(after, limit, newest_first=newest_first)
    except OSError as error:
        raise unreadable_run_directory(error) from None
    prefix = run_path("")
    return {
        "records": [{**entry, "url": f"{prefix}{entry['url']}"} for entry in page.records],
        "unreadable": page.unreadable,
        "count": page.count,
        "next_cursor": None if page.end is None else cursor_text(page.end),
    }


def find_record(source: RecordSource, name: str) -> RecordFile | None:
    """Return the record `name` or `latest`, or None if there is none.

    Raises `ProblemError` (storage-unavailable) or `StoreUnavailableError`.
    """
    try:
        return source.find(name)
    except OSError as error:
        raise unreadable_run_directory(error) from None


def record_representation(file: RecordFile) -> Representation:
    """Return a record as a download under its own file name."""
    return Representation(
        file.content,
        "application/json",
        file.sha256,
        file.modified_at,
        {"Content-Disposition": f"attachment; filename={file.name}"},
    )
