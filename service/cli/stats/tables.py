"""What the commands of `leitstand stats` print of records, wherever these come from."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import click

from service.api_types import RecordEntry, UnreadableFile
from service.cli.options import as_json_text
from service.cli.text_table import MISSING, number, short_moment, show_line, size
from service.errors import UserError
from service.run.records.files import RecordProblem

HEADINGS = ("record", "KI", "LR", "gain", "PSNR KI", "loss", "trigger", "saved at")


BAD_FILES = 2
"""Exit code if there are files that cannot be used."""
MAX_PROBLEMS = 20
"""How many of these are named."""


class WithProblems(Protocol):
    """Something that read records, and knows which files it could not use."""

    @property
    def problems(self) -> Sequence[RecordProblem]:
        """What could not be used."""


def show_problems(read: WithProblems) -> int:
    """Name what could not be used on stderr; returns the exit code."""
    problems = read.problems
    for problem in problems[:MAX_PROBLEMS]:
        show_line(f"unreadable: {problem.path} ({problem.reason})", err=True)
    if len(problems) > MAX_PROBLEMS:
        show_line(f"and {len(problems) - MAX_PROBLEMS} more", err=True)
    return BAD_FILES if problems else 0


@contextmanager
def explained_write_errors(path: Path) -> Iterator[None]:
    """Convert `OSError` to a `UserError` that says why the path cannot be written."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}); choose another place.") from None


def show_written(file: Path, rows: int, columns: int | None, *, as_json: bool) -> None:
    """Print what an export has written: its rows, its columns where it has any, and its bytes."""
    byte_count = file.stat().st_size if file.is_file() else None
    if as_json:
        click.echo(as_json_text({"path": str(file), "rows": rows, "columns": columns, "bytes": byte_count}))
        return
    parts = [counted(rows, "row"), *([counted(columns, "column")] if columns else [])]
    show_line(f"{file}: {', '.join([*parts, *([size(byte_count)] if byte_count is not None else [])])}")


def counted(count: int, noun: str) -> str:
    """Return a number of things: `1 row`, `2 rows`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def show_unreadable(files: Iterable[UnreadableFile]) -> None:
    """Print the names of unreadable files and the reasons on stderr."""
    for file in files:
        show_line(f"unreadable: {file['name']} ({file['reason']})", err=True)


def entry_row(entry: RecordEntry) -> tuple[str, ...]:
    """Return the row of one record in the list."""
    return (entry["name"], *value_cells(entry), entry["trigger"], short_moment(entry["modified_at"]))


def value_cells(values: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the cells of a record's main values."""
    return (
        number(values["quality_ki_value"]),
        number(values["quality_lr_value"]),
        number(values["quality_improvement_value"], "+.4f"),
        number(values["psnr_ki_db"], ".2f"),
        number(values["validation_loss_value"], ".5f"),
    )


def plain(value: Any) -> str:
    """Return a value as text; of a nested value only the number of entries."""
    if isinstance(value, list | Mapping):
        return f"{len(value)} entries"
    if isinstance(value, bool):
        return str(value).lower()
    return MISSING if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
