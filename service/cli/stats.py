"""`leitstand stats`: lists, prints, downloads, exports and compares the saved records."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import click

from service.api_types import ComparedRecord, RecordEntry, RecordList, UnreadableFile
from service.cli.options import as_json_text, json_option
from service.cli.server_options import server_options
from service.cli.text_table import MISSING, TextTable, moment, number, pairs, table
from service.client.artifacts import Format
from service.client.client import Client
from service.errors import UserError

HEADINGS = ("record", "step", "quality KI", "quality LR", "gain", "PSNR KI", "loss", "trigger", "saved at")


@click.group
def stats() -> None:
    """Look at the saved records."""


@stats.command("list")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Only the N newest.")
@json_option
@server_options
def list_records(client: Client, limit: int | None, as_json: bool) -> None:
    """List the saved records in the order of their steps."""
    if as_json:
        click.echo(as_json_text(client.statistics(limit)))
        return
    text_table = TextTable(HEADINGS, left=frozenset({0, 7, 8}))
    for page in client.record_pages() if limit is None else [client.statistics(limit)]:
        _show_page(text_table, page)


@stats.command
@click.argument("name", default="latest")
@json_option
@server_options
def show(client: Client, name: str, as_json: bool) -> None:
    """Show one record.

    NAME is its file, its step or `latest`.
    """
    record = client.record(name)
    click.echo(as_json_text(record) if as_json else pairs([(key, _plain(value)) for key, value in record.items()]))


@stats.command
@click.argument("name")
@click.argument("folder", type=click.Path(path_type=Path), default=".")
@json_option
@server_options
def get(client: Client, name: str, folder: Path, as_json: bool) -> None:
    """Save one record in FOLDER, byte for byte.

    NAME is its file, its step or `latest`.
    """
    with _explained_write_errors(folder):
        path = client.download(name, folder)
    click.echo(as_json_text({"path": str(path)}) if as_json else str(path))


@stats.command
@click.argument("file", type=click.Path(path_type=Path), required=False)
@json_option
@server_options
def csv(client: Client, file: Path | None, as_json: bool) -> None:
    """Write all records as one table, to FILE or the output."""
    _export(client, "csv", file, as_json)


@stats.command
@click.argument("file", type=click.Path(path_type=Path), required=False)
@json_option
@server_options
def jsonl(client: Client, file: Path | None, as_json: bool) -> None:
    """Write all records as JSON, one a line, to FILE or the output."""
    _export(client, "jsonl", file, as_json)


@stats.command
@click.argument("runs", nargs=-1, metavar="[RUN]...")
@click.option("--step", metavar="STEP", help="Compare the records of this step, or of `latest`.")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Without --step: the N newest of each run.")
@click.option("--names", default="", metavar="A,B", help="The values to compare; without it those of `stats list`.")
@json_option
@server_options
def compare(
    client: Client, runs: tuple[str, ...], step: str | None, limit: int | None, names: str, as_json: bool
) -> None:
    """Show the records of several runs side by side.

    Without RUN of all that there are.
    """
    answer = client.compare(runs, [name for name in names.split(",") if name], _step(step), limit)
    if as_json:
        click.echo(as_json_text(answer))
    elif answer["records"]:
        headings = ("step", "run", *answer["names"])
        rows = sorted(answer["records"], key=lambda entry: (entry["step"], answer["runs"].index(entry["run_id"])))
        click.echo(table(headings, [_compared_row(entry, answer["names"]) for entry in rows], left=frozenset({1})))
    else:
        click.echo(f"None of these runs has a record{'' if step is None else f' of step {step}'}.")


def _step(text: str | None) -> int | Literal["latest"] | None:
    """Parse the value of --step; raises `UserError`."""
    if text is None:
        return None
    if text == "latest":
        return "latest"
    if not (text.isascii() and text.isdigit()):
        raise UserError(f"--step is {text!r}, but must be a step, a whole number, or latest.")
    return int(text)


def _export(client: Client, file_format: Format, file: Path | None, as_json: bool) -> None:
    if file is None or str(file) == "-":
        for chunk in client.export(file_format):
            click.echo(chunk, nl=False)
        return
    with _explained_write_errors(file):
        client.save_export(file_format, file)
    if as_json:
        click.echo(as_json_text({"path": str(file)}))


@contextmanager
def _explained_write_errors(path: Path) -> Iterator[None]:
    """Convert `OSError` to a `UserError` that says why the path cannot be written."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}); choose another place.") from None


def _show_page(text_table: TextTable, page: RecordList) -> None:
    if page["records"]:
        click.echo(text_table.render([_row(entry) for entry in page["records"]]))
    elif not page["count"]:
        click.echo("No record yet: one is saved after every validation.")
    show_unreadable(page["unreadable"])


def show_unreadable(files: Iterable[UnreadableFile]) -> None:
    """Print the names of unreadable files and the reasons on stderr."""
    for file in files:
        click.echo(f"unreadable: {file['name']} ({file['reason']})", err=True)


def _row(entry: RecordEntry) -> tuple[str, ...]:
    return (
        entry["name"],
        str(entry["step"]),
        number(entry["quality_ki_value"]),
        number(entry["quality_lr_value"]),
        number(entry["quality_improvement_value"], "+.4f"),
        number(entry["psnr_ki_db"], ".2f"),
        number(entry["validation_loss_value"], ".5f"),
        entry["trigger"],
        moment(entry["modified_at"]),
    )


def _compared_row(entry: ComparedRecord, names: Iterable[str]) -> tuple[str, ...]:
    return (str(entry["step"]), entry["run_id"], *(_plain(entry["values"].get(name)) for name in names))


def _plain(value: Any) -> str:
    """Return a value as text; of a nested value only the number of entries."""
    if isinstance(value, list | Mapping):
        return f"{len(value)} entries"
    if isinstance(value, bool):
        return str(value).lower()
    return MISSING if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
