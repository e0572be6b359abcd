"""`leitstand stats report`: a run as one HTML file that opens without a network."""

import sqlite3
import time
from pathlib import Path

import click

from service import __version__
from service.cli.stats.cached_records import cached_records
from service.cli.stats.directories import show_problems
from service.cli.stats.stored.history import StoredHistory, own_history, shared_history
from service.cli.stats.tables import explained_write_errors
from service.cli.text_table import show_line, size
from service.client.downloads import atomic_file
from service.errors import RunDirectoryError, plain_reason
from service.run.directory import RunDirectory
from service.run.discovery import is_run_directory
from service.run.records.findings.find import find_all
from service.run.records.findings.texts import Language
from service.run.records.history import Records
from service.run.records.report.contents import Contents
from service.run.records.report.gathering import (
    ReadRun,
    environment_of,
    ranks_of,
    read_previews,
    read_run,
    read_settings,
)
from service.run.records.report.page import page


@click.command
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False), metavar="DIR")
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("report.html"), show_default=True, metavar="FILE",
    help="The page; `-` for the output.",
)  # fmt: skip
@click.option("--language", type=click.Choice(["en", "de"]), default="en", show_default=True, help="English or German.")
@click.option("--store-url", envvar="STORE_URL", default="", metavar="URL", help="The shared store, if there is one.")
def report(folder: Path, out: Path, language: Language, store_url: str) -> int:
    """Write a page about a run that needs nothing else.

    Curves, pictures, findings, interventions, events, configuration and environment of the run directory DIR, in one
    HTML file that opens without a network.
    """
    records = cached_records(folder)
    (root,) = records.folders
    run = read_run(records, root, root.name)
    if run.last is None:
        show_line("No record yet: one is saved after every validation.", err=True)
        if not is_run_directory(root):
            return show_problems(records)
    history = _history(root, store_url, run)
    content = page(_contents(records, root, run, history), language).encode("utf-8", "backslashreplace")
    if str(out) == "-":
        click.echo(content, nl=False)
        return show_problems(records)
    with explained_write_errors(out), atomic_file(out) as file:
        file.write(content)
    show_line(f"{out} ({size(len(content))})")
    return show_problems(records)


def _contents(records: Records, root: Path, run: ReadRun, history: StoredHistory) -> Contents:
    return Contents(
        title=history.name or root.name,
        columns=run.columns,
        best=run.best,
        last=run.last,
        findings=find_all(run.points),
        previews=read_previews(root, run),
        settings=read_settings(root),
        log=history.log,
        environment=environment_of(root, run, ranks_of(records, root)),
        unreadable=[(problem.path.name, problem.reason) for problem in records.problems],
        state=history.state,
        note=history.note,
        made_at=time.time(),
        version=__version__,
    )


def _history(root: Path, store_url: str, run: ReadRun) -> StoredHistory:
    """Return what the store knows; if it is damaged, say so and go on without it. Raises `UserError`."""
    try:
        run_id = RunDirectory(root).run_id()
        run_id = run_id or (None if run.last is None else run.last.run)
        if run_id is None:
            return StoredHistory()
        return shared_history(store_url, run_id) if store_url else own_history(root, run_id)
    except (RunDirectoryError, sqlite3.Error, ValueError) as error:
        show_line(f"without events: {plain_reason(error)}", err=True)
        return StoredHistory()
