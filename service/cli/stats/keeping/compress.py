"""`leitstand stats compress`: packs the records of run directories with gzip, or unpacks them again."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from service.cli.options import as_json_text, json_option
from service.cli.stats.options import archived_option
from service.cli.stats.tables import show_problems
from service.cli.text_table import show_line, size
from service.errors import plain_reason
from service.run.record import PACKED
from service.run.records.history import Records
from service.run.records.keeping.packing import PackedFile, pack, to_pack, unpack

FAILED = 2


@dataclass
class Outcome:
    """What was done to the records of one directory."""

    files: list[PackedFile] = field(default_factory=list)
    failed: list[tuple[Path, str]] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Return it for programs."""
        return {
            "files": [file.path.name for file in self.files],
            "before_bytes": sum(file.before_bytes for file in self.files),
            "after_bytes": sum(file.after_bytes for file in self.files),
            "failed": [{"name": path.name, "reason": reason} for path, reason in self.failed],
        }


@click.command
@click.argument(
    "folders", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, file_okay=False), metavar="DIR..."
)
@click.option(
    "--keep-last", type=click.IntRange(1), default=1, show_default=True, metavar="N", help="Leave the N newest alone."
)
@click.option("--undo", is_flag=True, help="Unpack all that are packed.")
@click.option("--dry-run", is_flag=True, help="Only show what would be done.")
@archived_option
@json_option
def compress(
    folders: tuple[Path, ...], keep_last: int, undo: bool, dry_run: bool, archived: bool, as_json: bool
) -> int:
    """Pack records with gzip; their content stays the same.

    Those of the run directories DIR. Everything here reads packed records, and the API serves them as they were.
    """
    records = Records(*folders, archived=archived)
    done: dict[Path, Outcome] = {}
    for folder in records.folders:
        paths = _chosen([file.path for file in records.files(folder)], keep_last, undo=undo)
        done[folder] = Outcome() if dry_run else _apply(unpack if undo else pack, paths)
        _show(folder, done[folder], paths, undo=undo, dry_run=dry_run)
    if as_json:
        click.echo(as_json_text({str(folder): outcome.as_json() for folder, outcome in done.items()}))
    return FAILED if any(outcome.failed for outcome in done.values()) else show_problems(records)


def _chosen(paths: Sequence[Path], keep_last: int, *, undo: bool) -> Sequence[Path]:
    return [path for path in paths if path.suffix == PACKED] if undo else to_pack(paths, keep_last)


def _apply(change: Callable[[Path], PackedFile | None], paths: Iterable[Path]) -> Outcome:
    outcome = Outcome()
    for path in paths:
        try:
            if file := change(path):
                outcome.files.append(file)
        except (OSError, ValueError) as error:
            outcome.failed.append((path, plain_reason(error)))
    return outcome


def _show(folder: Path, outcome: Outcome, chosen: Sequence[Path], *, undo: bool, dry_run: bool) -> None:
    """Say on stderr what was done, or would be."""
    verb = "unpacked" if undo else "packed"
    if dry_run:
        total = sum(path.stat().st_size for path in chosen)
        show_line(f"{folder}: {len(chosen)} records, {size(total)}, would be {verb}", err=True)
        return
    before, after = outcome.as_json()["before_bytes"], outcome.as_json()["after_bytes"]
    show_line(f"{folder}: {len(outcome.files)} records {verb}, {size(before)} became {size(after)}", err=True)
    for path, reason in outcome.failed:
        show_line(f"left as it is: {path} ({reason})", err=True)
