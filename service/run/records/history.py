"""The saved records of one or several run directories, read one by one in the order of their steps.

for record in Records("runs/demo"):
    print(record.step, record.values["quality_ki_value"])
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

from service.run.record import Record
from service.run.records.cache.encoded_summary import decode, encode
from service.run.records.cache.line_cache import PAGE_FILES, open_cache
from service.run.records.files import (
    BadRecordError,
    RecordFile,
    RecordProblem,
    find_files,
    parse_leniently,
    parse_strictly,
    read_content,
)
from service.run.records.original import MARKS, ORIGINAL_KEYS, convert, is_original
from service.run.records.saved_record import (
    Origin,
    Remark,
    RemarkKind,
    SavedRecord,
    expected_keys,
    is_exact,
    typed_values,
)
from service.run.records.summary import RecordSummary, summary_of

Item = TypeVar("Item")

STEP = "step_current"

MakeLine = Callable[[SavedRecord], tuple[bytes, bool]]
"""Returns a record's line, and whether it depends on the record alone, so that a cache may keep it."""


class Records:
    """All records of some run directories, each file read when it is its turn: memory does not grow with their number.

    Iterating yields one run after another, each in the order of its steps. What cannot be used is left out, and is in
    `problems` afterwards. Iterating again sees new files.
    """

    def __init__(self, *folders: str | Path, archived: bool = False, cache: Path | None = None) -> None:
        """Read the records in `folders`, with `archived` those in their `archive/` too. Nothing is opened yet.

        `cache` is a directory in which `summaries` and `lines` keep what they computed, until a file changes; without
        it, or where it cannot be used, all files are read each time.
        """
        self._cache = cache
        self._folders = list(dict.fromkeys(Path(folder).resolve() for folder in folders))
        self._archived = archived
        self._problems: dict[Path, RecordProblem] = {}

    @property
    def folders(self) -> list[Path]:
        """The run directories, each once."""
        return self._folders

    @property
    def problems(self) -> list[RecordProblem]:
        """What the last iteration could not use."""
        return list(self._problems.values())

    def files(self, folder: Path) -> list[RecordFile]:
        """Return the files of one folder that are named like records, by step; other files go to `problems`."""
        files, problems = find_files(folder, archived=self._archived)
        self._problems |= {problem.path: problem for problem in problems}
        return files

    def __iter__(self) -> Iterator[SavedRecord]:
        """Yield every record that can be read."""
        self._problems = {}
        for folder in self._folders:
            yield from self.of(folder)

    def of(self, folder: Path, newest: int | None = None) -> Iterator[SavedRecord]:
        """Yield the records of one folder, which is one of `folders`; of its files only the `newest` ones."""
        files = self.files(folder)
        for file in files if newest is None else files[-newest:]:
            if record := self.load(file, folder):
                yield record

    def summaries(self, folder: Path, newest: int | None = None) -> Iterator[RecordSummary]:
        """Yield the summaries of the records of one folder, in the order of `of`."""
        if newest is not None or self._cache is None:
            yield from map(summary_of, self.of(folder, newest))
            return
        yield from self.parsed(
            folder, "summary", lambda record: encode(summary_of(record), folder),
            lambda lines: [decode(line, folder) for line in lines],
        )  # fmt: skip

    def parsed(
        self, folder: Path, kind: str, make: MakeLine, parse: Callable[[Sequence[bytes]], Sequence[Item]]
    ) -> Iterator[Item]:
        """Yield what `parse` makes of each record's line, some at once; of `kind` and `make` as for `lines`.

        `parse` raises `ValueError` for lines that another program changed in the cache: they are made again.
        """
        for page, chunks in self._pages(kind, make, folder):
            try:
                found = parse(b"".join(chunks).splitlines())
            except ValueError:
                records = (self.load(file, folder) for file in page)
                found = parse([make(record)[0].rstrip(b"\n") for record in records if record])
            yield from found

    def lines(self, kind: str, make: MakeLine) -> Iterator[bytes]:
        """Yield what `make` returns of every record that can be read, several lines at once.

        `make` returns a line, and whether the cache may keep it. Lines are kept under `kind`: another `make` must have
        another.
        """
        self._problems = {}
        for folder in self._folders:
            for _, chunks in self._pages(kind, make, folder):
                yield from chunks

    def _pages(self, kind: str, make: MakeLine, folder: Path) -> Iterator[tuple[Sequence[RecordFile], list[bytes]]]:
        """Yield the files of a folder, PAGE_FILES at a time, with their lines; bad ones go to `problems`."""
        files = self.files(folder)
        with open_cache(self._cache, folder) as cache:
            for start in range(0, len(files), PAGE_FILES):
                page = files[start : start + PAGE_FILES]
                yield page, cache.page(kind, page, partial(self._make, make, page, folder))

    def _make(self, make: MakeLine, page: Sequence[RecordFile], folder: Path, index: int) -> tuple[bytes, bool] | None:
        record = self.load(page[index], folder)
        return None if record is None else make(record)

    def load(self, file: RecordFile, folder: Path) -> SavedRecord | None:
        """Return the record in a file of `folder`, or None, and then the reason is in `problems`."""
        try:
            return load_record(file, folder.name)
        except BadRecordError as error:
            self._problems[file.path] = RecordProblem(file.path, str(error))
            return None

    def rows(self, *, layers: bool = False) -> Iterator[dict[str, Any]]:
        """Yield each record as one flat row; see `row_of`."""
        return (row_of(record, layers=layers) for record in self)

    def to_pandas(self, *, layers: bool = False) -> Any:
        """Return all rows as a `pandas.DataFrame`; raises `ImportError` without pandas."""
        return import_module("pandas").DataFrame(list(self.rows(layers=layers)))

    def to_polars(self, *, layers: bool = False) -> Any:
        """Return all rows as a `polars.DataFrame`, null where a row lacks a column; `ImportError` without polars."""
        return import_module("polars").from_dicts(list(self.rows(layers=layers)), infer_schema_length=None)


def load_record(file: RecordFile, folder_name: str) -> SavedRecord:
    """Read the record in a file; raises `BadRecordError`."""
    return decode_record(file, folder_name, read_content(file.path))


def decode_record(file: RecordFile, folder_name: str, content: bytes) -> SavedRecord:
    """Return the record in the content of a file, wherever that was read; raises `BadRecordError`."""
    raw = parse_strictly(content)
    if raw is not None and is_exact(raw) and raw[STEP] == file.step:
        run = raw["run_id"] or folder_name
        return SavedRecord(file.path, run, file.branch, file.step, Origin.LEITSTAND, raw, raw, ())
    return _converted(file, folder_name, parse_leniently(content) if raw is None else raw, content)


def _converted(file: RecordFile, folder_name: str, raw: Record, content: bytes) -> SavedRecord:
    """Return a record that was not written by this version, or changed since; raises `BadRecordError`."""
    origin = check_origin(raw)
    values, remarks = typed_values(raw, ORIGINAL_KEYS if origin is Origin.ORIGINAL else expected_keys(raw))
    if content.startswith(b"\xef\xbb\xbf"):
        remarks.append(Remark("", RemarkKind.CONVERTED, "begins with a byte order mark"))
    if origin is Origin.ORIGINAL:
        remarks += convert(values, file.step)
    elif values[STEP] != file.step:
        remarks.append(Remark(STEP, RemarkKind.DOUBTFUL, f"is {values[STEP]}, but the file's name says {file.step}"))
    run = values["run_id"] or folder_name
    return SavedRecord(file.path, run, file.branch, file.step, origin, values, raw, tuple(remarks))


def check_origin(raw: Record) -> Origin:
    """Return which program wrote an object; raises `BadRecordError` if it is no record."""
    if is_original(raw):
        return Origin.ORIGINAL
    if missing := sorted((MARKS | {"schema_version", "run_id"}) - raw.keys()):
        raise BadRecordError(f"it is no record: it has no {missing[0]}")
    return Origin.LEITSTAND


def row_of(record: SavedRecord, *, layers: bool = False) -> dict[str, Any]:
    """Return a record as one row: `run`, `branch`, `file`, `origin`, `remarks`, then all values.

    Values that are lists or objects stay as they are. With `layers` the two maps of layer activity become a column per
    layer, named `layer_activity_map.<layer>`.
    """
    remarks = "; ".join(f"{remark.key} {remark.text}".strip() for remark in record.remarks)
    row = {
        "run": record.run, "branch": record.branch, "file": record.path.name, "origin": str(record.origin),
        "remarks": remarks,
    }  # fmt: skip
    for key, value in record.values.items():
        if layers and key in ("layer_activity_map", "layer_activity_raw_map"):
            row |= {f"{key}.{layer}": activity for layer, activity in (value or {}).items()}
        else:
            row[key] = value
    return row
