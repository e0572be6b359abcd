"""`leitstand series`: prints the history of values as log points or buckets."""

import click

from service.api_types import Envelope, EnvelopeSeries, Series
from service.cli.options import as_json_text, json_option
from service.cli.server_options import server_options
from service.cli.text_table import moment, number, output_width, side_by_side, table
from service.client.client import Client

PATTERN = ".6g"
BUCKET_HEADINGS = ("from", "to", "points", "mean", "lowest", "at", "highest", "at")


@click.command
@click.argument("names", nargs=-1, required=True)
@click.option("--points", type=click.IntRange(1), metavar="N", help="About N stretches, each with mean and extremes.")
@click.option("--from", "first_step", type=click.IntRange(0), metavar="STEP", help="The first step.")
@click.option("--to", "last_step", type=click.IntRange(0), metavar="STEP", help="The last step.")
@click.option("--branch", metavar="NAME", help="Steps that a rollback or a resume set aside.")
@json_option
@server_options
def series(
    client: Client, names: tuple[str, ...], points: int | None, first_step: int | None, last_step: int | None,
    branch: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Show the history of values.

    NAMES are numeric keys of a record, such as total_loss_value.
    """
    wanted = [name for text in names for name in text.split(",") if name]
    if points is None:
        log_points = client.series(wanted, first_step, last_step, branch)
        click.echo(as_json_text(log_points) if as_json else points_table(log_points))
    else:
        envelope = client.envelope(wanted, points, first_step, last_step, branch)
        click.echo(as_json_text(envelope) if as_json else buckets_table(envelope))


def points_table(answer: Series) -> str:
    """Return a table with one line per log point; on a terminal, several tables where one has no room."""
    columns = {name: [number(value, PATTERN) for value in answer["values"][name]] for name in answer["names"]}
    fixed = {"step": list(map(str, answer["steps"])), "at": [moment(at) for at in answer["times"]]}
    return side_by_side(fixed, columns, left=frozenset({1}))


def buckets_table(answer: Envelope) -> str:
    """Return a table with one line per bucket of each value; on a terminal, a table per value."""
    rows = {name: [_row(values, at) for at in range(len(values["steps"]))] for name, values in answer["series"].items()}
    if output_width() is None:
        return table(("value", *BUCKET_HEADINGS), [(name, *row) for name in rows for row in rows[name]])
    return "\n\n".join(f"{name}\n{table(BUCKET_HEADINGS, rows[name], frozenset())}" for name in rows)


def _row(values: EnvelopeSeries, index: int) -> tuple[str, ...]:
    return (
        str(values["steps"][index]),
        str(values["last_steps"][index]),
        str(values["counts"][index]),
        number(values["means"][index], PATTERN),
        number(values["lows"][index], PATTERN),
        str(values["low_steps"][index]),
        number(values["highs"][index], PATTERN),
        str(values["high_steps"][index]),
    )
