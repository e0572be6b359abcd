"""`leitstand stats` on run directories: the same commands without a server.

What cannot be used is named on stderr, and the exit code is 2; the rest is used.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, count, islice
from pathlib import Path
from typing import Any, Literal, TypeVar

import click
import orjson
from click.core import ParameterSource

from service.api_types import ComparedRecord, Comparison
from service.atomic_files import atomic_file
from service.cli.options import as_json_text
from service.cli.stats.cached_records import cached_records, labels_of
from service.cli.stats.tables import HEADINGS, explained_write_errors, plain, show_problems, show_written, value_cells
from service.cli.text_table import MISSING, TextTable, pairs, short_moment, show_line
from service.errors import UserError, printable
from service.run.record import KEYS, record_step
from service.run.records.files import ARCHIVE
from service.run.records.history import Records
from service.run.records.saved_record import Origin, SavedRecord
from service.run.records.summary import RecordSummary
from service.run.records.tables.lines import CsvTable, encoded, json_line, json_text, layer_columns

Item = TypeVar("Item")

PAGE = 200
CHUNK_BYTES, LARGE_BYTES = 512 * 1024, 64 * 1024
LATEST = "latest"
COMPARED = ("quality_ki_value", "quality_lr_value", "quality_improvement_value", "validation_loss_value", "psnr_ki_db")


def opened(folders: Iterable[Path], archived: bool = False) -> Records:
    """Return the records of run directories; raises `UserError` if a server is named too."""
    if click.get_current_context().get_parameter_source("url") is ParameterSource.COMMANDLINE:
        raise UserError("DIR and --url exclude each other: records are read from directories or asked of a server.")
    return cached_records(*folders, archived=archived)


def split_place(where: Sequence[str]) -> tuple[Path | None, str]:
    """Return the directory, if one is given, and the name of a record; raises `UserError`."""
    if len(where) > 2:
        raise UserError(f"A directory and a name are enough, but {len(where)} are given.")
    if len(where) == 2:
        return Path(where[0]), where[1]
    is_folder = bool(where) and not _is_name(where[0]) and Path(where[0]).is_dir()
    return (Path(where[0]), LATEST) if is_folder else (None, where[0] if where else LATEST)


def _is_name(text: str) -> bool:
    return text == LATEST or (text.isascii() and text.isdigit()) or record_step(text) is not None


def split_export(where: Sequence[Path], out: Path | None) -> tuple[Sequence[Path], Path | None]:
    """Return the directories to export, and the file to write, None for the output.

    Raises `UserError` if the file is there: its name may be meant for a directory, or for something to keep.
    """
    if out is not None or len(where) > 1 or any(path.is_dir() for path in where):
        return where, out
    if where and where[0].is_file():
        raise UserError(f"{where[0]} exists and is not replaced; to replace it, write --out {where[0]}.")
    return (), where[0] if where else None


def all_folders(names: Sequence[str]) -> list[Path]:
    """Return run directories, or nothing if these are names of runs; raises `UserError` for a mixture."""
    is_asked = click.get_current_context().get_parameter_source("url") is ParameterSource.COMMANDLINE
    folders = [] if is_asked else [Path(name) for name in names if Path(name).is_dir()]
    if folders and len(folders) < len(names):
        other = next(name for name in names if not Path(name).is_dir())
        raise UserError(f"{other} is no directory, but {folders[0]} is; compare directories, or runs of one server.")
    return folders


def show_list(records: Records, limit: int | None, as_json: bool) -> int:
    """Print the records as a table or as JSON; returns the exit code."""
    if as_json:
        chosen = (record for folder in records.folders for record in records.summaries(folder, limit))
        entries = [_entry(record) for record in chosen]
        unreadable = [{"name": str(problem.path), "reason": problem.reason} for problem in records.problems]
        click.echo(as_json_text({"records": entries, "unreadable": unreadable, "count": len(entries)}))
        return show_problems(records)
    text_table = TextTable(HEADINGS, left=frozenset({0, 6, 7}), wrapped=frozenset({0}))
    count = remarked = 0
    for page in _pages(_list_entries(records, limit)):
        click.echo(text_table.render([(*entry[:-2], short_moment(entry[-2])) for entry in page]))
        count += len(page)
        remarked += sum(entry[-1] for entry in page)
    if remarked:
        show_line(f"{_records(remarked)} with remarks on values; `leitstand stats show DIR STEP` has them.", err=True)
    code = show_problems(records)
    if not count and not code:
        show_line("No record yet: one is saved after every validation.")
    return code


def _pages(items: Iterable[Item]) -> Iterator[list[Item]]:
    iterator = iter(items)
    while page := list(islice(iterator, PAGE)):
        yield page


def _records(count: int) -> str:
    return "1 record" if count == 1 else f"{count} records"


def _entry(record: RecordSummary) -> dict[str, Any]:
    return {
        "name": record.path.name,
        "step": record.step,
        "path": str(record.path),
        "run_id": record.run,
        "branch": record.branch,
        "origin": str(record.origin),
        "modified_at": record.values["last_update_time"],
        "trigger": record.values["trigger"],
        **{key: record.values[key] for key in COMPARED},
        "remarks": _remarks(record),
    }


def _remarks(record: SavedRecord | RecordSummary) -> list[dict[str, str]]:
    return [{"key": remark.key, "kind": str(remark.kind), "text": remark.text} for remark in record.remarks]


def _list_entries(records: Records, limit: int | None) -> Iterator[list[Any]]:
    """Yield of each record the cells of its row, the time at which it was made, and whether it has remarks."""
    for folder in records.folders:
        if limit is not None:
            entries = iter(_parsed_entries([_list_line(record)[0] for record in records.of(folder, limit)]))
        else:
            entries = records.parsed(folder, "list", _list_line, _parsed_entries)
        if len(records.folders) == 1:
            yield from entries
        else:
            yield from ([f"{folder.name}/{name}", *others] for name, *others in entries)


def _parsed_entries(lines: Sequence[bytes]) -> list[list[Any]]:
    """Return what lines hold; raises `ValueError` if one is none of `_list_line`."""
    entries: list[list[Any]] = orjson.loads(b"[%b]" % b",".join(lines))
    if any(type(entry) is not list or len(entry) != len(HEADINGS) + 1 for entry in entries):
        raise ValueError(lines)
    return entries


def _list_line(record: SavedRecord) -> tuple[bytes, bool]:
    """Return what the list shows of a record as a line of JSON; it depends on the record alone."""
    name = f"{ARCHIVE}/{record.branch}/{record.path.name}" if record.branch else record.path.name
    trigger = record.values["trigger"] or (str(record.origin) if record.origin is Origin.ORIGINAL else MISSING)
    at = record.values["last_update_time"]
    cells = [printable(name), *value_cells(record.values), printable(trigger), at, bool(record.remarks)]
    return encoded(f"{json_text(cells)}\n"), True


def show_record(records: Records, name: str, as_json: bool) -> int:
    """Print one record of a directory, and the remarks on it; raises `UserError` if there is none of that name."""
    record = _find(records, name)
    if as_json:
        click.echo(as_json_text({**record.values, "remarks": _remarks(record)} if record.remarks else record.values))
    else:
        click.echo(pairs([(key, plain(value)) for key, value in record.values.items()]))
        for remark in record.remarks:
            show_line(f"{remark.kind}: {remark.key} {remark.text}", err=True)
    return show_problems(records) if name == LATEST else 0


def _find(records: Records, name: str) -> SavedRecord:
    (folder,) = records.folders
    files = records.files(folder)
    if name != LATEST:
        step = int(name) if name.isascii() and name.isdigit() else record_step(name.removesuffix(".gz"))
        files = [file for file in files if file.step == step]
    for file in reversed(files):
        if record := records.load(file, folder):
            return record
    reasons = "; ".join(f"{problem.path.name}: {problem.reason}" for problem in records.problems[:3])
    raise UserError(f"{folder} has no record {name} that can be read{f' ({reasons})' if reasons else ''}.")


def export_csv(records: Records, file: Path | None, *, layers: bool, as_json: bool = False) -> int:
    """Write all records as CSV, a header and a row each, and say what was written; returns the exit code."""
    table = CsvTable(layer_columns(records.rows(layers=True)) if layers else ())
    kind = "csv with layers" if layers else "csv"
    written = _write(chain([table.header()], records.lines(kind, table.line)), file)
    if file is not None and written is not None:
        show_written(file, written - 1, len(table.columns), as_json=as_json)
    if table.left_out:
        show_line(f"left out: {', '.join(sorted(table.left_out))}, which this version does not know", err=True)
    return show_problems(records)


def export_parquet(records: Records, file: Path | None, *, layers: bool, as_json: bool = False) -> int:
    """Write all records as a Parquet file, and say what was written; returns the exit code."""
    from service.cli.stats.parquet_file import write_parquet

    write_parquet(records, file, layer_columns(records.rows(layers=True)) if layers else (), as_json=as_json)
    return show_problems(records)


def export_jsonl(records: Records, file: Path | None, *, as_json: bool = False) -> int:
    """Write all records as JSON, one a line, with the names of a row, and say so; returns the exit code."""
    written = _write(records.lines("jsonl", json_line), file)
    if file is not None and written is not None:
        show_written(file, written, None, as_json=as_json)
    return show_problems(records)


def _write(lines: Iterator[bytes], file: Path | None) -> int | None:
    """Write lines to a file, whole or not at all, and return their number; to the output, return None.

    Raises `UserError`.
    """
    numbers = count()
    chunks = _chunks(line for line, _ in zip(lines, numbers, strict=False))
    if file is None or str(file) == "-":
        for chunk in chunks:
            click.echo(chunk, nl=False)
        return None
    with explained_write_errors(file), atomic_file(file) as target:
        target.writelines(chunks)
    return next(numbers)


def _chunks(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Join lines into chunks of about CHUNK_BYTES; what is large already, as the lines of many records, stays."""
    pending: list[bytes] = []
    size = 0
    for line in lines:
        if not pending and len(line) >= LARGE_BYTES:
            yield line
            continue
        pending.append(line)
        size += len(line)
        if size >= CHUNK_BYTES:
            yield b"".join(pending)
            pending, size = [], 0
    yield b"".join(pending)


def comparison(
    records: Records, names: Sequence[str], step: int | Literal["latest"] | None, limit: int | None
) -> Comparison:
    """Return values of the records of several directories, as a server compares runs; raises `UserError`."""
    if unknown := [name for name in names if name not in KEYS]:
        raise UserError(f"{unknown[0]} is no key of a record; the columns of `leitstand stats csv` are all of them.")
    chosen = list(names or COMPARED)
    labels = labels_of(records.folders)
    found: list[ComparedRecord] = [
        {"run_id": label, "step": record.step, "values": {name: record.values[name] for name in chosen}}
        for folder, label in labels.items()
        for record in _compared(records, folder, step, limit)
    ]
    found.sort(key=lambda entry: entry["step"])
    return {"names": chosen, "runs": list(labels.values()), "records": found}


def _compared(
    records: Records, folder: Path, step: int | Literal["latest"] | None, limit: int | None
) -> Iterator[SavedRecord]:
    if isinstance(step, int):
        files = (file for file in records.files(folder) if file.step == step)
        return (record for file in files if (record := records.load(file, folder)))
    if step == LATEST:
        newest = (records.load(file, folder) for file in reversed(records.files(folder)))
        return islice((record for record in newest if record), 1)
    return records.of(folder, limit)
