"""`leitstand stats prune`: thins out the records of run directories; what is pruned is moved aside, or deleted."""

import re
import time
from collections.abc import Sequence
from pathlib import Path

import click

from service.cli.options import as_json_text, json_option
from service.cli.stats.cached_records import cached_records
from service.cli.stats.tables import show_problems
from service.cli.text_table import show_line, size
from service.errors import UserError, plain_reason
from service.run.records.history import Records
from service.run.records.keeping.pruning import (
    Candidate,
    PruneRule,
    archive_records,
    candidate_of,
    checkpoint_steps,
    delete_records,
    report_steps,
    to_prune,
)

_AGE = re.compile(r"([0-9]{1,6})([hdw])")
_UNIT_SECONDS = {"h": 3600, "d": 86400, "w": 7 * 86400}
MAX_STEPS_SHOWN = 10


@click.command
@click.argument(
    "folders", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, file_okay=False), metavar="DIR..."
)
@click.option("--keep-every", type=click.IntRange(1), metavar="N", help="Keep the records of every N steps.")
@click.option("--keep-last", type=click.IntRange(1), metavar="N", help="Keep the N newest records.")
@click.option("--older-than", metavar="AGE", help="Keep all that are younger: 12h, 30d, 8w.")
@click.option("--delete", is_flag=True, help="Delete them, instead of moving them to archive/.")
@click.option("--dry-run", is_flag=True, help="Only show what would be done.")
@json_option
def prune(
    folders: tuple[Path, ...],
    keep_every: int | None,
    keep_last: int | None,
    older_than: str | None,
    delete: bool,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Move all records but some to archive/.

    Of the run directories DIR. Always kept are the newest record, the best one, those of steps with a checkpoint or
    in a report, and files that cannot be read.
    """
    if keep_every is None and keep_last is None and older_than is None:
        raise UserError("Say what to keep: --keep-every N, --keep-last N or --older-than AGE.")
    rule = PruneRule(keep_every, keep_last, None if older_than is None else time.time() - _age_seconds(older_than))
    records = cached_records(*folders)
    done = {folder: _prune(records, folder, rule, delete=delete, dry_run=dry_run) for folder in records.folders}
    if as_json:
        click.echo(as_json_text({str(folder): [one.path.name for one in pruned] for folder, pruned in done.items()}))
    return show_problems(records)


def _age_seconds(text: str) -> float:
    match = _AGE.fullmatch(text)
    if match is None:
        raise UserError(f"--older-than is {text!r}, but must be a number of hours, days or weeks: 12h, 30d, 8w.")
    return float(match[1]) * _UNIT_SECONDS[match[2]]


def _prune(records: Records, folder: Path, rule: PruneRule, *, delete: bool, dry_run: bool) -> list[Candidate]:
    """Prune one directory and say what was done on stderr; returns the pruned records. Raises `UserError`."""
    try:
        candidates = [candidate_of(record) for record in records.summaries(folder)]
        pruned = to_prune(candidates, rule, checkpoint_steps(folder) | report_steps(folder))
        verb = "would be " if dry_run and pruned else ""
        verb += "deleted" if delete else "moved to archive/"
        if pruned and not dry_run:
            if delete:
                delete_records(folder, pruned)
            else:
                verb = f"moved to {archive_records(folder, pruned)}"
    except OSError as error:
        raise UserError(
            f"The records in {folder} cannot be pruned ({plain_reason(error)}); mend its permissions, or make room."
        ) from None
    total = sum(one.size_bytes for one in pruned)
    show_line(f"{folder}: {len(pruned)} of {len(candidates)} records, {size(total)}, {verb}{_steps(pruned)}", err=True)
    return pruned


def _steps(pruned: Sequence[Candidate]) -> str:
    steps = [str(one.step) for one in pruned[:MAX_STEPS_SHOWN]]
    more = ", …" if len(pruned) > MAX_STEPS_SHOWN else ""
    return f": steps {', '.join(steps)}{more}" if steps else ""
