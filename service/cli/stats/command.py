"""`leitstand stats`: lists, prints, downloads, exports and compares the saved records.

Where a directory is given, service/cli/stats/directories.py reads it; otherwise a server is asked.
"""

from csv import reader as csv_rows
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from service.api_types import Comparison, RecordList
from service.cli.lazy_commands import LazyCommands
from service.cli.options import as_json_text, json_option
from service.cli.server_options import Connect, connected, connection_options, server_options
from service.cli.stats import directories
from service.cli.stats.options import archived_option, directories_argument, table_options
from service.cli.stats.tables import (
    HEADINGS,
    entry_row,
    explained_write_errors,
    plain,
    show_problems,
    show_unreadable,
    show_written,
)
from service.cli.text_table import TextTable, pairs, show_line, side_by_side
from service.errors import UserError, printable

if TYPE_CHECKING:
    from service.client.artifacts import Format
    from service.client.client import Client


_COMMANDS = {
    **{name: f"service.cli.stats.analysis.{name}:{name}" for name in ("plot", "report", "check")},
    "push": "service.cli.stats.exchange.push:push",
    "import-tensorboard": "service.cli.stats.exchange.import_tensorboard:import_tensorboard",
    **{name: f"service.cli.stats.keeping.{name}:{name}" for name in ("verify", "prune", "compress", "rebuild")},
}
"""Commands with a module of their own: `module:attribute`."""


@click.group(commands=LazyCommands(_COMMANDS))
def stats() -> None:
    """Look at the saved records."""


@stats.command("list")
@directories_argument
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Only the N newest.")
@archived_option
@json_option
@connection_options
def list_records(
    connect: Connect, folders: tuple[Path, ...], limit: int | None, archived: bool, as_json: bool
) -> int | None:
    """List the saved records in the order of their steps.

    Of a server, or of the run directories DIR.
    """
    if folders:
        return directories.show_list(directories.opened(folders, archived), limit, as_json)
    with connected(connect) as client:
        if as_json:
            click.echo(as_json_text(client.statistics(limit)))
            return None
        text_table = TextTable(HEADINGS, left=frozenset({0, 6, 7}), wrapped=frozenset({0}))
        for page in client.record_pages() if limit is None else [client.statistics(limit)]:
            _show_page(text_table, page)
    return None


@stats.command
@click.argument("where", nargs=-1, metavar="[DIR] [NAME]")
@archived_option
@json_option
@connection_options
def show(connect: Connect, where: tuple[str, ...], archived: bool, as_json: bool) -> int | None:
    """Show one record.

    Of a server, or of the run directory DIR.

    NAME is its file, its step or `latest`, which it is without NAME.
    """
    folder, name = directories.split_place(where)
    if folder is not None:
        return directories.show_record(directories.opened([folder], archived), name, as_json)
    with connected(connect) as client:
        record = client.record(name)
    click.echo(as_json_text(record) if as_json else pairs([(key, plain(value)) for key, value in record.items()]))
    return None


@stats.command
@click.argument("name")
@click.argument("folder", type=click.Path(path_type=Path), default=".")
@json_option
@server_options
def get(client: "Client", name: str, folder: Path, as_json: bool) -> None:
    """Save one record in FOLDER, byte for byte.

    NAME is its file, its step or `latest`.
    """
    with explained_write_errors(folder):
        path = client.download(name, folder)
    if as_json:
        click.echo(as_json_text({"path": str(path)}))
    else:
        show_line(str(path))


@stats.command
@table_options
@click.option("--layers", is_flag=True, help="With DIR: the activity of each layer as a column.")
@click.option(
    "--format", "table_format", type=click.Choice(["csv", "parquet"]),
    help="parquet: columns of the values' types, needs pyarrow. Without it the file's name decides.",
)  # fmt: skip
@json_option
@connection_options
def csv(
    connect: Connect,
    where: tuple[Path, ...],
    out: Path | None,
    archived: bool,
    layers: bool,
    table_format: str | None,
    as_json: bool,
) -> int | None:
    """Write all records as one table, CSV or Parquet.

    Those of a server to FILE or the output, or those of the run directories DIR to the file of --out or the output.
    """
    folders, file = directories.split_export(where, out)
    is_parquet = (table_format or str(file or "").rpartition(".")[2].lower()) == "parquet"
    if folders:
        export = directories.export_parquet if is_parquet else directories.export_csv
        return export(directories.opened(folders, archived), file, layers=layers, as_json=as_json)
    if is_parquet:
        from service.cli.stats.parquet_file import write_served

        return write_served(connect, file, as_json=as_json)
    with connected(connect) as client:
        _export(client, "csv", file, as_json)
    return None


@stats.command
@table_options
@json_option
@connection_options
def jsonl(connect: Connect, where: tuple[Path, ...], out: Path | None, archived: bool, as_json: bool) -> int | None:
    """Write all records as JSON, one a line.

    Those of a server to FILE or the output, or those of the run directories DIR to the file of --out or the output.
    """
    folders, file = directories.split_export(where, out)
    if folders:
        return directories.export_jsonl(directories.opened(folders, archived), file, as_json=as_json)
    with connected(connect) as client:
        _export(client, "jsonl", file, as_json)
    return None


@stats.command
@click.argument("runs", nargs=-1, metavar="[RUN|DIR]...")
@click.option("--step", metavar="STEP", help="Compare the records of this step, or of `latest`.")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Without --step: the N newest of each run.")
@click.option("--names", default="", metavar="A,B", help="The values to compare; without it those of `stats list`.")
@click.option("--summary", is_flag=True, help="Of a server's runs: what directories have without the others.")
@json_option
@connection_options
def compare(
    connect: Connect,
    runs: tuple[str, ...],
    step: str | None,
    limit: int | None,
    names: str,
    summary: bool,
    as_json: bool,
) -> int | None:
    """Show the records of several runs side by side.

    Runs of a server, all that there are without RUN; or run directories. Of these, without --step, --limit and --names:
    the best of each, their values at an equal step, equal samples and equal time, what differs, and a verdict.
    """
    chosen, at = [name for name in names.split(",") if name], _step(step)
    if summary and (step or limit or chosen):
        raise UserError("--summary stands alone: --step, --limit and --names ask for the values of single steps.")
    code = 0
    folders = directories.all_folders(runs)
    if summary or (folders and not (step or limit or chosen)):
        from service.cli.stats.analysis.comparison import compare_runs

        return compare_runs(connect, runs or _all_runs(connect), as_json=as_json)
    if folders:
        records = directories.opened(folders)
        answer = directories.comparison(records, chosen, at, limit)
        code = show_problems(records)
    else:
        with connected(connect) as client:
            answer = client.compare(runs, chosen, at, limit)
    if isinstance(at, int) and not answer["records"]:
        raise UserError(f"None of these runs has a record of step {at}; `leitstand stats list` shows which there are.")
    if as_json:
        click.echo(as_json_text(answer))
    elif answer["records"]:
        click.echo("\n\n".join(_compared(answer, name) for name in answer["names"]))
    else:
        show_line(f"None of these runs has a record{'' if step is None else f' of step {step}'}.")
    return code


def _all_runs(connect: Connect) -> list[str]:
    with connected(connect) as client:
        return [entry["run_id"] for entry in client.runs()["runs"]]


def _step(text: str | None) -> int | Literal["latest"] | None:
    """Parse the value of --step; raises `UserError`."""
    if text is None:
        return None
    if text == "latest":
        return "latest"
    if not (text.isascii() and text.isdigit()):
        raise UserError(f"--step is {text!r}, but must be a step, a whole number, or latest.")
    return int(text)


def _export(client: "Client", file_format: "Format", file: Path | None, as_json: bool) -> None:
    if file is None or str(file) == "-":
        for chunk in client.export(file_format):
            click.echo(chunk, nl=False)
        return
    with explained_write_errors(file):
        client.save_export(file_format, file)
    if file.is_file():  # not a device or a pipe, of which nothing can be read
        rows, columns = _shape(file, file_format)
        show_written(file, rows, columns, as_json=as_json)


def _shape(file: Path, file_format: "Format") -> tuple[int, int | None]:
    """Return the numbers of rows and columns of a table that was written; a JSON line has no columns."""
    with file.open(encoding="utf-8", newline="") as lines:
        if file_format == "jsonl":
            return sum(1 for _ in lines), None
        rows = csv_rows(lines)
        columns = len(next(rows, []))
        return sum(1 for _ in rows), columns


def _show_page(text_table: TextTable, page: RecordList) -> None:
    if page["records"]:
        click.echo(text_table.render([entry_row(entry) for entry in page["records"]]))
    elif not page["count"]:
        click.echo("No record yet: one is saved after every validation.")
    show_unreadable(page["unreadable"])


def _compared(answer: Comparison, name: str) -> str:
    """Return a value of all runs: its name, and below it a table with a row for each step and a column for each run."""
    found = {(entry["step"], entry["run_id"]): entry["values"].get(name) for entry in answer["records"]}
    steps = sorted({step for step, _ in found})
    runs = [run for run in answer["runs"] if any((step, run) in found for step in steps)]
    columns = {run: [plain(found.get((step, run))) for step in steps] for run in runs}
    return f"{printable(name)}\n{side_by_side({'step': list(map(str, steps))}, columns, left=frozenset())}"
