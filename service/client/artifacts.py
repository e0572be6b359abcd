"""The part of the client that reads what a run leaves behind: records, curves, pictures, saved states."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, cast

import requests

from service.api_types import CheckpointList, Comparison, Envelope, PreviewEntry, RecordEntry, RecordList, Series
from service.client.connection import ApiConnection, path_part
from service.client.downloads import Ask, pieces, save_record, whole_file
from service.run.record import record_name

PAGE_SIZE = 1000
"""Entries asked for at a time: as many as the server gives."""

Format = Literal["csv", "jsonl"]


class ArtifactClient(ApiConnection):
    """Reads records and curves; `Client` adds the present and the commands."""

    def record_pages(self, *, newest_first: bool = False, page_size: int = PAGE_SIZE) -> Iterator[RecordList]:
        """The list of saved records page by page, in the order of their steps or against it."""
        query = {"order": "desc" if newest_first else "asc", "limit": page_size}
        return cast(Iterator[RecordList], self._pages("/statistics", query))

    def records(self, *, newest_first: bool = False) -> Iterator[RecordEntry]:
        """The entries of all saved records, fetched as they are needed."""
        for page in self.record_pages(newest_first=newest_first):
            yield from page["records"]

    def statistics(self, newest: int | None = None) -> RecordList:
        """The list of all saved records at once, or of so many of the newest, in the order of their steps."""
        pages: list[RecordList] = []
        missing = newest
        page_size = PAGE_SIZE if newest is None else min(newest, PAGE_SIZE)
        for page in self.record_pages(newest_first=newest is not None, page_size=page_size):
            pages.append(page)
            if missing is not None and (missing := missing - len(page["records"])) <= 0:
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
        """One record: a file's name, a step, or `latest`. Raises `ApiError` (404: there is none)."""
        return self._get_object(_record_path(name))

    def download(self, name: str | int, folder: Path) -> Path:
        """Save a record (its file's name, a step, or `latest`) in `folder`, byte for byte; returns its path.

        What breaks off is resumed; the bytes are checked against the server's sha256. Raises `UserError` or `OSError`,
        and then leaves no file.
        """
        return save_record(self._asking(_record_path(name)), _name_of(name), folder)

    def export(self, file_format: Format) -> Iterator[bytes]:
        """All records in one table, piece by piece: `csv` with a heading, or `jsonl`, a record a line."""
        accept = _MEDIA_TYPES[file_format]
        return pieces(self._send("GET", "/statistics", {"format": file_format}, accept=accept, stream=True))

    def save_export(self, file_format: Format, path: Path) -> None:
        """Save all records in one file, whole or not at all. Raises `UserError` or `OSError`."""
        with whole_file(path) as file:
            file.writelines(self.export(file_format))

    def compare(
        self,
        runs: Sequence[str] = (),
        names: Sequence[str] = (),
        step: int | Literal["latest"] | None = None,
        limit: int | None = None,
    ) -> Comparison:
        """The same values of the records of several runs: those of one step, each run's latest, or `limit` of each.

        Without `runs` all that there are, without `names` the headline values.
        """
        asked = {"runs": ",".join(runs) or None, "names": ",".join(names) or None, "step": step, "limit": limit}
        return cast(Comparison, self._get_object("/statistics/compare", asked))

    def series(self, names: Sequence[str] = (), first_step: int | None = None, last_step: int | None = None) -> Series:
        """Log points between two steps, both included; without names, of all values there are.

        Raises `ApiError` (422) where there are more than the server gives at once; `envelope` is for those.
        """
        return cast(Series, self._get_object("/series", _bucket(names, first_step, last_step)))

    def envelope(
        self,
        names: Sequence[str] = (),
        points: int = 1000,
        first_step: int | None = None,
        last_step: int | None = None,
    ) -> Envelope:
        """The same history in about `points` stretches, each with its mean, lowest and highest value."""
        asked = {**_bucket(names, first_step, last_step), "points": points}
        return cast(Envelope, self._get_object("/series", asked))

    def previews(self, step: int | None = None) -> Iterator[PreviewEntry]:
        """The preview pictures, newest step first, or those of one step; fetched as they are needed."""
        for page in self._pages("/previews", {"step": step}):
            yield from page["previews"]

    def preview(self, step: int, name: str) -> bytes:
        """One preview picture. Raises `ApiError` (404: there is none)."""
        return self._send("GET", f"/previews/{step}/{path_part(name)}", accept="image/*").content

    def checkpoints(self) -> CheckpointList:
        """The saved states by step, with the links that point to them, and folders that are none."""
        return cast(CheckpointList, self._get_object("/checkpoints"))

    def log(self, lines: int = 200) -> str:
        """The last lines of the run's log."""
        return self._get_text("/logs", {"tail": lines})

    def _pages(self, path: str, query: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        cursor: str | None = None
        while True:
            page = self._get_object(path, {**query, "cursor": cursor})
            yield page
            cursor = page.get("next_cursor")
            if not cursor:
                return

    def _asking(
        self, path: str, query: Mapping[str, Any] | None = None, accept: str = "", silence_seconds: float = 0.0
    ) -> Ask:
        def ask(headers: Mapping[str, str]) -> requests.Response:
            return self._send(
                "GET", path, query, accept=accept, headers=headers, stream=True, silence_seconds=silence_seconds
            )

        return ask


_MEDIA_TYPES: dict[Format, str] = {"csv": "text/csv", "jsonl": "application/jsonl"}


def _name_of(name: str | int) -> str:
    text = str(name)
    return record_name(int(text)) if text.isascii() and text.isdigit() else text


def _record_path(name: str | int) -> str:
    return f"/statistics/{path_part(_name_of(name))}"


def _bucket(names: Sequence[str], first_step: int | None, last_step: int | None) -> dict[str, Any]:
    return {"names": ",".join(names) or None, "from": first_step, "to": last_step}
