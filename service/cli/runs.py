"""`leitstand runs`: the runs of a control room."""

import click

from service.answers import RunEntry
from service.cli.options import as_json_text, json_option, server_options
from service.cli.table import MISSING, duration, moment, table
from service.client import Client

HEADINGS = ("run", "state", "step", "of", "started at", "heard of", "directory", "")
TEXTS = frozenset({0, 1, 4, 6, 7})


@click.command
@json_option
@server_options
def runs(client: Client, as_json: bool) -> None:
    """List the runs of the control room.

    One is the default; any other is meant with --run RUN.
    """
    answer = client.runs()
    if as_json:
        click.echo(as_json_text(answer))
        return
    if answer["runs"]:
        click.echo(table(HEADINGS, [_row(entry) for entry in answer["runs"]], left=TEXTS))
    else:
        click.echo("No run yet: start one with `leitstand up`.")
    for skipped in answer["skipped"]:
        click.echo(f"skipped: {skipped['directory']} ({skipped['reason']})", err=True)


def _row(entry: RunEntry) -> tuple[str, ...]:
    return (
        entry["run_id"],
        entry["run_state"],
        str(entry["step"]),
        MISSING if entry["step_max"] is None else str(entry["step_max"]),
        moment(entry["started_at"]),
        f"{duration(entry['age_seconds'])} ago",
        entry["directory"] or MISSING,
        "default" if entry["is_default"] else "",
    )
