"""`leitstand series`: prints the history of values as log points or buckets."""

import click

from service.api_types import Envelope, EnvelopeSeries, Series
from service.cli.options import as_json_text, json_option
from service.cli.server_options import server_options
from service.cli.text_table import moment, number, table
from service.client.client import Client

PATTERN = ".6g"
BUCKET_HEADINGS = ("value", "from", "to", "points", "mean", "lowest", "at", "highest", "at")


@click.command
@click.argument("names", nargs=-1, required=True)
@click.option("--points", type=click.IntRange(1), metavar="N", help="About N stretches, each with mean and extremes.")
@click.option("--from", "first_step", type=click.IntRange(0), metavar="STEP", help="The first step.")
@click.option("--to", "last_step", type=click.IntRange(0), metavar="STEP", help="The last step.")
@json_option
@server_options
def series(
    client: Client, names: tuple[str, ...], points: int | None, first_step: int | None, last_step: int | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Show the history of values.

    NAMES are numeric keys of a record, such as total_loss_value.
    """
    wanted = [name for text in names for name in text.split(",") if name]
    if points is None:
        log_points = client.series(wanted, first_step, last_step)
        click.echo(as_json_text(log_points) if as_json else points_table(log_points))
    else:
        envelope = client.envelope(wanted, points, first_step, last_step)
        click.echo(as_json_text(envelope) if as_json else buckets_table(envelope))


def points_table(answer: Series) -> str:
    """Return a table with one line per log point."""
    columns = [[number(value, PATTERN) for value in answer["values"][name]] for name in answer["names"]]
    times = [moment(at) for at in answer["times"]]
    rows = zip(map(str, answer["steps"]), times, *columns, strict=True)
    return table(("step", "at", *answer["names"]), rows, left=frozenset({1}))


def buckets_table(answer: Envelope) -> str:
    """Return a table with one line per bucket of each value."""
    series_by_name = answer["series"].items()
    rows = [(name, *_row(values, index)) for name, values in series_by_name for index in range(len(values["steps"]))]
    return table(BUCKET_HEADINGS, rows)


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
