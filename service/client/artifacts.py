"""The part of the client that reads a run's artifacts: records, curves, preview images, checkpoints, the log."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import requests

from service.api_types import (
    CheckpointList,
    Comparison,
    Envelope,
    EventEntry,
    PreviewEntry,
    RecordEntry,
    RecordList,
    Series,
)
from service.atomic_files import atomic_file
from service.client.connection import ApiConnection, path_part
from service.client.downloads import SendRequest, iter_body, save_record
from service.client.errors import not_our_api
from service.run.record import record_name

PAGE_SIZE = 1000
"""Entries requested per page: the server's maximum."""

Format = Literal["csv", "jsonl"]


@dataclass(frozen=True)
class LogPart:
    """Text of a log up to `cursor`. `is_continued` says that it begins where the part before it ended."""

    text: str
    cursor: str
    is_continued: bool


class ArtifactClient(ApiConnection):
    """Reads records, curves and files; `Client` adds live state and commands.

    Every method raises `ApiError`, `ServerUnreachableError`, `UntrustedServerError` or `BadAnswerError`.
    """

    def record_pages(self, *, newest_first: bool = False, page_size: int = PAGE_SIZE) -> Iterator[RecordList]:
        """Yield the list of saved records page by page, in ascending or descending order of step."""
        query = {"order": "desc" if newest_first else "asc", "limit": page_size}
        return cast(Iterator[RecordList], self._pages("/statistics", query))

    def records(self, *, newest_first: bool = False) -> Iterator[RecordEntry]:
        """Yield the entries of all saved records; pages are requested as needed."""
        for page in self.record_pages(newest_first=newest_first):
            yield from page["records"]

    def statistics(self, newest: int | None = None) -> RecordList:
        """Return the list of all saved records, or of the `newest` ones, in order of step."""
        pages: list[RecordList] = []
        remaining = newest
        page_size = PAGE_SIZE if newest is None else min(newest, PAGE_SIZE)
        for page in self.record_pages(newest_first=newest is not None, page_size=page_size):
            pages.append(page)
            if remaining is not None and (remaining := remaining - len(page["records"])) <= 0:
                break
        records = [entry for page in pages for entry in page["records"]]
        unreadable = [file for page in pages for file in page["unreadable"]]
        if newest is not None:
            records, unreadable = (
                records[newest - 1 :: -1] if newest <= len(records) else records[::-1],
                unreadable[::-1],
            )
        return {"records": records, "unreadable": unreadable, "count": pages[-1]["count"], "next_cursor": None}

    def record(self, name: str | int = "latest") -> dict[str, Any]:
        """Return one record, given by file name, step, or `latest`.

        Raises `ApiError` (404: not found), or `BadAnswerError` if the file is damaged.
        """
        return self._json_object(self._send("GET", _record_path(name)), file_name=_name_of(name))

    def download(self, name: str | int, folder: Path) -> Path:
        """Save a record (given by file name, step, or `latest`) unchanged in `folder`; returns its path.

        An interrupted download is resumed, and the bytes are checked against the server's sha256. Raises `UserError` or
        `OSError`, and then leaves no file.
        """
        return save_record(self._request_sender(_record_path(name)), _name_of(name), folder)

    def export(self, file_format: Format) -> Iterator[bytes]:
        """Yield all records as one table in chunks: `csv` with a header line, or `jsonl` with one record per line."""
        accept = _MEDIA_TYPES[file_format]
        return iter_body(self._send("GET", "/statistics", {"format": file_format}, accept=accept, stream=True))

    def save_export(self, file_format: Format, path: Path) -> None:
        """Save all records as one file, atomically. Raises `UserError` or `OSError`."""
        with atomic_file(path) as file:
            file.writelines(self.export(file_format))

    def compare(
        self,
        runs: Sequence[str] = (),
        names: Sequence[str] = (),
        step: int | Literal["latest"] | None = None,
        limit: int | None = None,
    ) -> Comparison:
        """Return the same values of several runs' records: those of one step, the latest, or `limit` for each run.

        Without `runs`, all runs are compared; without `names`, the values of the record list.
        """
        query = {"runs": ",".join(runs) or None, "names": ",".join(names) or None, "step": step, "limit": limit}
        return cast(Comparison, self._get_object("/statistics/compare", query))

    def series(
        self,
        names: Sequence[str] = (),
        first_step: int | None = None,
        last_step: int | None = None,
        branch: str | None = None,
    ) -> Series:
        """Return the log points between two steps, both included; without names, with all values.

        `branch` names steps that a rollback or a resume set aside. Raises `ApiError` (422) if there are more log points
        than the server returns at once; then use `envelope`.
        """
        return cast(Series, self._get_object("/series", _series_query(names, first_step, last_step, branch)))

    def envelope(
        self,
        names: Sequence[str] = (),
        points: int = 1000,
        first_step: int | None = None,
        last_step: int | None = None,
        branch: str | None = None,
    ) -> Envelope:
        """Return the same history as about `points` buckets, each with mean, lowest and highest value."""
        query = {**_series_query(names, first_step, last_step, branch), "points": points}
        return cast(Envelope, self._get_object("/series", query))

    def event_log(self, kinds: Sequence[str] | None = None) -> Iterator[EventEntry]:
        """Yield the entries of the run's event log, newest first; pages are requested as needed."""
        query = {"kinds": None if kinds is None else ",".join(kinds), "limit": PAGE_SIZE}
        for page in self._pages("/event-log", query):
            yield from page["events"]

    def previews(self, step: int | None = None) -> Iterator[PreviewEntry]:
        """Yield the preview images, newest step first, or those of one step; pages are requested as needed."""
        for page in self._pages("/previews", {"step": step, "limit": PAGE_SIZE}):
            yield from page["previews"]

    def preview(self, step: int, name: str) -> bytes:
        """Return one preview image. Raises `ApiError` (404: not found)."""
        return self._send("GET", f"/previews/{step}/{path_part(name)}", accept="image/*").content

    def provenance(self, sha256: str) -> dict[str, Any]:
        """Return from what a start of the run was made; `sha256` is what a record's `provenance` says.

        Raises `ApiError` (404: not found).
        """
        answer = self._send("GET", f"/provenance/{path_part(sha256)}")
        return self._json_object(answer, file_name=f"{sha256}.json")

    def checkpoints(self) -> CheckpointList:
        """Return the checkpoints in order of step with the links to them, and folders that are not checkpoints."""
        return cast(CheckpointList, self._get_object("/checkpoints"))

    def log(self, lines: int = 200) -> str:
        """Return the last lines of the run's log."""
        return self._get_text("/logs", {"tail": lines})

    def log_part(self, lines: int = 200, after: str | None = None) -> LogPart:
        """Return what the run's log has after the cursor of an earlier part.

        Without a cursor, and where another log has taken its place, the last lines.
        """
        response = self._send("GET", "/logs", {"tail": lines, "after": after}, accept="text/plain")
        cursor = response.headers.get("Log-Cursor")
        if cursor is None:
            raise not_our_api(self._url)
        is_continued = after is not None and response.headers.get("Log-Continued") == "true"
        return LogPart(response.content.decode(errors="replace"), cursor, is_continued)

    def _pages(self, path: str, query: Mapping[str, Any], *, server_wide: bool = False) -> Iterator[dict[str, Any]]:
        cursor: str | None = None
        while True:
            page = self._get_object(path, {**query, "cursor": cursor}, server_wide=server_wide)
            yield page
            cursor = page.get("next_cursor")
            if not cursor:
                return

    def _request_sender(
        self, path: str, query: Mapping[str, Any] | None = None, accept: str = "", extra_seconds: float = 0.0
    ) -> SendRequest:
        def send(headers: Mapping[str, str]) -> requests.Response:
            return self._send(
                "GET", path, query, accept=accept, headers=headers, stream=True, extra_seconds=extra_seconds
            )

        return send


_MEDIA_TYPES: dict[Format, str] = {"csv": "text/csv", "jsonl": "application/jsonl"}


def _name_of(name: str | int) -> str:
    text = str(name)
    return record_name(int(text)) if text.isascii() and text.isdigit() else text


def _record_path(name: str | int) -> str:
    return f"/statistics/{path_part(_name_of(name))}"


def _series_query(
    names: Sequence[str], first_step: int | None, last_step: int | None, branch: str | None
) -> dict[str, Any]:
    return {"names": ",".join(names) or None, "from": first_step, "to": last_step, "branch": branch}
