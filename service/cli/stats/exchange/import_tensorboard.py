"""`leitstand stats import-tensorboard`: records made of the scalars in TensorBoard's event files."""

from pathlib import Path

import click

from service.atomic_files import write_atomically
from service.cli.options import as_json_text, json_option
from service.cli.stats.exchange.event_scalars import event_files, read_scalars
from service.cli.stats.exchange.made_records import made_records
from service.cli.stats.tables import explained_write_errors, show_problems
from service.cli.text_table import show_line
from service.errors import UserError
from service.run.record import encode_record, record_name
from service.run.record_schema import FIELDS

_NUMBERS = frozenset(field.name for field in FIELDS if field.kind in ("integer", "number"))


@click.command
@click.argument("logs", type=click.Path(path_type=Path, exists=True, file_okay=False), metavar="LOGDIR")
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="DIR", help="An empty run directory.")
@click.option("--run-id", metavar="ID", help="What the records call the run; without it DIR's name.")
@click.option(
    "--tag", "tags", multiple=True, metavar="KEY=TAG",
    help="The tag that holds a key of the records, if it is none of ours; may be repeated.",
)  # fmt: skip
@json_option
def import_tensorboard(logs: Path, out: Path, run_id: str | None, tags: tuple[str, ...], as_json: bool) -> int:
    """Make records of TensorBoard's event files.

    One for each step in LOGDIR with a value of a validation: of the tags that `leitstand` writes, or that --tag names.
    """
    chosen = dict(map(_key_and_tag, tags))
    _require_files(logs)
    _require_empty(out)
    scalars = read_scalars(logs)
    count = 0
    with explained_write_errors(out):
        for record in made_records(scalars, run_id or out.resolve().name, chosen):
            out.mkdir(parents=True, exist_ok=True)
            write_atomically(out / record_name(record["step_current"]), encode_record(record))
            count += 1
    if not count:
        found = ", ".join(sorted(scalars.values)[:10]) or "no scalar at all"
        raise UserError(f"{logs} has no value of a validation (but {found}); name the tags with --tag KEY=TAG.")
    click.echo(as_json_text({"path": str(out), "records": count})) if as_json else show_line(f"{out}: {count} records")
    return show_problems(scalars)


def _key_and_tag(text: str) -> tuple[str, str]:
    key, equals, tag = text.partition("=")
    if not equals or not tag or key not in _NUMBERS:
        raise UserError(
            f"--tag is {text!r}, but must be KEY=TAG with a key of a record that is a number, a column "
            "of `leitstand stats csv`."
        )
    return key, tag


def _require_files(logs: Path) -> None:
    if event_files(logs):
        return
    within = sorted({str(path.parent.relative_to(logs)) for path in logs.rglob("*.tfevents.*")})
    other = f", but its folders {', '.join(within[:5])} have: name one of them" if within else ""
    raise UserError(f"{logs} holds no event file of TensorBoard{other}.")


def _require_empty(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} is not empty; records are made in a directory of their own.")
