"""The list of saved records: where they come from, and one page of them as the API answers it."""

from api.artifacts.records.source import RecordFile, RecordPosition, RecordSource
from api.artifacts.records.store_copies import StoredRecordCopies
from api.http.conditional import Representation
from api.http.pagination import cursor_text
from api.http.problems import unreadable
from api.runs.context import RunContext, run_path
from service.api_types import RecordList

PAGE_SIZE = 1000
"""Entries on a page where the request does not say; the most it can ask for."""


def record_source(context: RunContext) -> RecordSource:
    """The files of the run's directory, or where that is not on this machine, the store's copies.

    Raises `ProblemError` (no-run) or `StoreUnavailableError`.
    """
    if context.place is not None:
        return context.place.records
    return StoredRecordCopies(context.store, context.run().id)


def listing(source: RecordSource, after: RecordPosition | None, limit: int, *, newest_first: bool) -> RecordList:
    """One page of the list; raises `ProblemError` (storage-unavailable) or `StoreUnavailableError`."""
    try:
        page = source.page(after, limit, newest_first=newest_first)
    except OSError as error:
        raise unreadable(error) from None
    prefix = run_path("")
    return {
        "records": [{**entry, "url": f"{prefix}{entry['url']}"} for entry in page.records],
        "unreadable": page.unreadable,
        "count": page.count,
        "next_cursor": None if page.end is None else cursor_text(page.end),
    }


def find_record(source: RecordSource, name: str) -> RecordFile | None:
    """The file of this name or `latest`; raises `ProblemError` (storage-unavailable) or `StoreUnavailableError`."""
    try:
        return source.find(name)
    except OSError as error:
        raise unreadable(error) from None


def representation(file: RecordFile) -> Representation:
    """A record as a download, under its own name."""
    return Representation(
        file.content,
        "application/json",
        file.sha256,
        file.modified_at,
        {"Content-Disposition": f"attachment; filename={file.name}"},
    )
