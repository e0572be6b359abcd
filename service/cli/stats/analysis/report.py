"""`leitstand stats report`: a run as one HTML file that opens without a network."""

import sqlite3
import time
from pathlib import Path

import click

from service import __version__
from service.atomic_files import atomic_file
from service.cli.options import as_json_text, json_option
from service.cli.server_options import Connect, connection_options
from service.cli.stats.options import runs_argument
from service.cli.stats.sources.chosen import chosen_sources
from service.cli.stats.sources.run_source import RunSource
from service.cli.stats.stored.history import StoredHistory
from service.cli.stats.tables import explained_write_errors, show_problems
from service.cli.text_table import show_line, size
from service.client.errors import ApiError
from service.errors import RunDirectoryError, UserError, plain_reason
from service.run.discovery import is_run_directory
from service.run.records.findings.find import find_all
from service.run.records.findings.texts import Language
from service.run.records.report.contents import Contents
from service.run.records.report.gathering import ReadRun, read_run
from service.run.records.report.page import page


@click.command
@runs_argument
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("report.html"), show_default=True, metavar="FILE",
    help="The page; `-` for the output.",
)  # fmt: skip
@click.option("--language", type=click.Choice(["en", "de"]), default="en", show_default=True, help="English or German.")
@click.option(
    "--store-url", envvar="STORE_URL", default="", metavar="URL", help="With DIR: the shared store, if there is one."
)
@json_option
@connection_options
def report(
    connect: Connect, names: tuple[str, ...], out: Path, language: Language, store_url: str, as_json: bool
) -> int:
    """Write a page about a run that needs nothing else.

    Curves, pictures, findings, interventions, events, configuration and environment of the run directory DIR, or of a
    server's run, in one HTML file that opens without a network.
    """
    if len(names) > 1:
        raise UserError(f"A report is about one run, but {len(names)} are given; write one for each.")
    with chosen_sources(connect, names, store_url=store_url) as sources:
        (source,) = sources.runs
        if sources.are_directories and next(source.summaries(), None) is None:
            show_line("No record yet: one is saved after every validation.", err=True)
            if not is_run_directory(Path(source.title)):
                return show_problems(sources)
        contents = _contents(source, language)
    content = page(contents, language).encode("utf-8", "backslashreplace")
    if str(out) == "-":
        click.echo(content, nl=False)
        return show_problems(sources)
    with explained_write_errors(out), atomic_file(out) as file:
        file.write(content)
    if as_json:
        click.echo(as_json_text({"path": str(out), "size_bytes": len(content)}))
    else:
        show_line(f"{out} ({size(len(content))})")
    return show_problems(sources)


def _contents(source: RunSource, language: Language) -> Contents:
    run = read_run(source.label, source.summaries(), source.count())
    history = _history(source, run, language)
    return Contents(
        title=history.name or source.label,
        columns=run.columns,
        best=run.best,
        last=run.last,
        findings=find_all(run.points),
        previews=source.previews(run),
        settings=source.settings(),
        log=history.log,
        ledger=history.ledger,
        environment=source.environment(run),
        unreadable=[(problem.path.name, problem.reason) for problem in source.problems],
        state=history.state,
        note=history.note,
        made_at=time.time(),
        version=__version__,
    )


def _history(source: RunSource, run: ReadRun, language: Language) -> StoredHistory:
    """Return what the store knows; if it is damaged, say so and go on without it. Raises `UserError`."""
    try:
        return source.history(None if run.last is None else run.last.run, language)
    except (RunDirectoryError, ApiError, sqlite3.Error, ValueError) as error:
        show_line(f"without events: {plain_reason(error)}", err=True)
        return StoredHistory()
