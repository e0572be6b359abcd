"""`leitstand stats push`: records to another experiment tracker, by that tracker's own library."""

import sqlite3
from collections.abc import Callable

import click

from service.cli.options import as_json_text, json_option
from service.cli.server_options import Connect, connection_options
from service.cli.stats.exchange.pushed import push_records, pushed_run
from service.cli.stats.exchange.tensorboard_tracker import TensorBoardTracker
from service.cli.stats.options import runs_argument
from service.cli.stats.sources.chosen import chosen_sources
from service.cli.stats.sources.run_source import RunSource
from service.cli.stats.stored.history import StoredHistory
from service.cli.stats.tables import show_problems
from service.cli.text_table import show_line
from service.client.errors import ApiError
from service.errors import RunDirectoryError, plain_reason
from service.run.records.trackers.catalog import TITLES, open_tracker
from service.run.records.trackers.tracked_run import Tracker

TENSORBOARD = "tensorboard"
TRACKERS = (TENSORBOARD, *TITLES)
"""Names of the trackers; a training writes TensorBoard's files by itself."""


@click.command
@runs_argument
@click.option("--to", "tracker_name", type=click.Choice(TRACKERS), required=True, help="The tracker.")
@click.option(
    "--where", metavar="PLACE",
    help="MLflow's tracking URI, or the folder of the others; without it where the tracker itself would write.",
)  # fmt: skip
@click.option("--experiment", default="leitstand", show_default=True, metavar="NAME", help="Experiment or project.")
@json_option
@connection_options
def push(
    connect: Connect, names: tuple[str, ...], tracker_name: str, where: str | None, experiment: str, as_json: bool
) -> int:
    """Give the records to another experiment tracker.

    Those of the run directories DIR, or of the runs of a server. Where the tracker has a run already, only later
    records are added.
    """
    done: list[dict[str, object]] = []
    with chosen_sources(connect, names) as sources:
        for source in sources.runs:
            count, place = _push(source, lambda: _tracker(tracker_name, where, experiment))
            done.append({"run": source.label, "records": count, "place": place})
            if not as_json:
                show_line(f"{source.label}: {count} new records {f'in {place}' if place else ''}".rstrip())
    if as_json:
        click.echo(as_json_text({"pushed": done}))
    return show_problems(sources)


def _tracker(name: str, where: str | None, experiment: str) -> Tracker:
    return TensorBoardTracker(where, experiment) if name == TENSORBOARD else open_tracker(name, where, experiment)


def _push(source: RunSource, make_tracker: Callable[[], Tracker]) -> tuple[int, str]:
    """Push one run; returns the number of records that were new, and where they are."""
    tracker = make_tracker()
    newest = source.newest()
    if newest is None:
        return 0, ""
    history = _history(source, newest.run)
    after = tracker.begin(pushed_run(source, newest, history))
    count = push_records(source.records(), tracker, after)
    return count, tracker.end(history.state)


def _history(source: RunSource, run_id: str) -> StoredHistory:
    try:
        return source.history(run_id, "en")
    except (RunDirectoryError, ApiError, sqlite3.Error, ValueError) as error:
        show_line(f"without name, note and rollbacks: {plain_reason(error)}", err=True)
        return StoredHistory()
