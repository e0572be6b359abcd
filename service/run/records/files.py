"""The files of a run directory that hold records: found, put in the order of their steps, and read whole."""

import json
import os
import re
import stat
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from service.errors import plain_reason
from service.run.record import PACKED
from service.run.records.keeping.packing import unpacked

ARCHIVE = "archive"
MAX_BYTES = 64 * 1024 * 1024
"""Upper limit for the size of one record, unpacked."""

CHUNK_BYTES = 64 * 1024
_NAMES = re.compile(r"/Statistik_(0|[1-9][0-9]{0,17})\.json(?=/)")
"""A name holds no slash, so in names between slashes this finds whole ones."""
_PACKED_NAME = re.compile(r"Statistik_(0|[1-9][0-9]{0,17})\.json\.gz")
MAX_LOOKED_INTO = 100
"""How many entries of a folder without records are looked into for the runs that may have been meant."""
_OWN_JSON = frozenset({"run.json", "config.json", "ro-crate-metadata.json"})


class BadRecordError(Exception):
    """A file holds no record; the text is the reason, as the end of a sentence."""


class RecordFile(NamedTuple):
    """A file named like a record. `branch` is the archive folder that holds it, empty for the present branch."""

    folder: Path
    name: str
    step: int
    branch: str = ""

    @property
    def path(self) -> Path:
        """Where the file is."""
        return self.folder / self.name


@dataclass(frozen=True)
class RecordProblem:
    """A file or folder that cannot be used, and the reason, as the end of a sentence."""

    path: Path
    reason: str


def find_files(root: Path, *, archived: bool = False) -> tuple[list[RecordFile], list[RecordProblem]]:
    """Return a run directory's records by step, with `archived` those in `archive/` too, and what cannot be used.

    Of one step, archived records come first, in the order of their folders' names.
    """
    folders = [(root, "")]
    problems: list[RecordProblem] = []
    try:
        if archived:
            folders += [(path, path.name) for path in _folders_in(root / ARCHIVE)]
    except OSError as error:
        problems.append(RecordProblem(root / ARCHIVE, f"it cannot be read ({plain_reason(error)})"))
    files: list[RecordFile] = []
    for folder, branch in folders:
        try:
            found, unusable = _files_in(folder, branch)
        except OSError as error:
            problems.append(RecordProblem(folder, f"it cannot be read ({plain_reason(error)})"))
            continue
        files += found
        problems += unusable
        if not branch and not found and (reason := _foreign(folder)):
            problems.append(RecordProblem(folder, reason))
    if len(folders) > 1:
        files.sort(key=lambda file: (file.step, not file.branch, file.branch))
    return files, problems


def _folders_in(archive: Path) -> list[Path]:
    try:
        return sorted(path for path in archive.iterdir() if path.is_dir())
    except FileNotFoundError:
        return []


def _files_in(folder: Path, branch: str) -> tuple[list[RecordFile], list[RecordProblem]]:
    """Return the records in one folder by step; a packed one beside an unpacked one of its step is a problem."""
    names = f"/{'/'.join(os.listdir(folder))}/"  # one search through all: a hundred thousand take seconds one by one
    steps = sorted(map(int, _NAMES.findall(names)))
    if names.count("/Statistik_") == len(steps):
        return [RecordFile(folder, f"Statistik_{step}.json", step, branch) for step in steps], []
    by_step: dict[int, str] = {step: f"Statistik_{step}.json" for step in steps}
    similar = {name for name in names.split("/") if name.startswith("Statistik_") and ".json" in name}
    reasons = ((name, _take_packed(name, by_step)) for name in sorted(similar.difference(by_step.values())))
    problems = [RecordProblem(folder / name, reason) for name, reason in reasons if reason is not None]
    return [RecordFile(folder, by_step[step], step, branch) for step in sorted(by_step)], problems


def _take_packed(name: str, by_step: dict[int, str]) -> str | None:
    """Add a packed record to those by step; returns the reason if it is none, or one of a step that is there."""
    match = _PACKED_NAME.fullmatch(name)
    if match is None:
        return "its name is none of Statistik_<step>.json"
    first = by_step.setdefault(int(match[1]), name)
    return None if first == name else f"it is of the same step as {first}, which is used"


def _foreign(folder: Path) -> str | None:
    """Return why a folder without records is none of a run, or None if it is one that has no record yet."""
    names = sorted(path.name for path in folder.iterdir())
    if _OWN_JSON & set(names):
        return None
    other = next((name for name in names if name.endswith((".json", ".json.gz"))), None)
    if other is None and (inner := _first_with_records(folder, names)):
        return f"it holds no Statistik_<step>.json; {inner} in it does: name the directories of runs"
    return f"it holds no Statistik_<step>.json{'' if other is None else f', but other files, as {other}'}"


def _first_with_records(folder: Path, names: Sequence[str]) -> str | None:
    """Return the first of a folder's first entries that is itself a folder with records."""
    for name in names[:MAX_LOOKED_INTO]:
        with suppress(OSError):  # most entries are no folders
            if _NAMES.search(f"/{'/'.join(os.listdir(folder / name))}/"):
                return name
    return None


def read_record(path: Path) -> tuple[dict[str, Any], bytes]:
    """Return the object in a record's file and the unpacked bytes; raises `BadRecordError`.

    Numbers are as Python reads them: `NaN`, `Infinity` and too large ones are not finite.
    """
    content = read_content(path)
    value = parse_strictly(content)
    return (parse_leniently(content) if value is None else value), content


def parse_strictly(content: bytes) -> dict[str, Any] | None:
    """Return the object in strict JSON, whose numbers are all finite; None for anything else."""
    try:
        value = orjson.loads(content)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None


def parse_leniently(content: bytes) -> dict[str, Any]:
    """Return the object in JSON as Python reads it; raises `BadRecordError`."""
    if not content.strip(b"\0 \t\r\n"):
        raise BadRecordError("it holds only zero bytes or blanks" if content else "it is empty")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise BadRecordError("it is not text in UTF-8") from None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        is_cut = text.lstrip().startswith("{") and not text.rstrip().endswith("}")
        raise BadRecordError(f"it is {'cut off: ' if is_cut else ''}{_json_reason(error)}") from None
    if not isinstance(value, dict):
        raise BadRecordError("it holds no JSON object")
    return value


def read_content(path: Path) -> bytes:
    """Return the bytes of a file, unpacked if its name ends with `.gz`; raises `BadRecordError`."""
    try:
        content = _file_content(path)
    except OSError as error:
        raise BadRecordError(f"it cannot be read ({plain_reason(error)})") from None
    if path.name.endswith(PACKED) and content:
        try:
            content = unpacked(content, MAX_BYTES)
        except ValueError as error:
            raise BadRecordError(f"it is cut off: {error}" if "ends" in str(error) else str(error)) from None
    if len(content) > MAX_BYTES:
        raise BadRecordError(f"it is larger than {MAX_BYTES // 1024**2} MiB")
    return content


def _file_content(path: Path) -> bytes:
    """Return at most MAX_BYTES + 1 bytes; never waits for a pipe. Raises `OSError` or `BadRecordError`."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:  # thousands of times: a file object would double the cost
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise BadRecordError("it is no ordinary file")
        content = os.read(descriptor, min(status.st_size, MAX_BYTES) + 1)
        while len(content) <= MAX_BYTES and (more := os.read(descriptor, CHUNK_BYTES)):
            content += more
        return content
    finally:
        os.close(descriptor)


def _json_reason(error: BaseException) -> str:
    return (
        plain_reason(error) if isinstance(error, json.JSONDecodeError | RecursionError) else "no JSON that can be read"
    )
