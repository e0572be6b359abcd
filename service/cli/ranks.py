"""`leitstand ranks`: what every rank is doing, and where one of them hangs."""

import click

from service.answers import RankEntry
from service.cli.options import as_json_text, json_option, server_options
from service.cli.table import MISSING, duration, table
from service.client import Client

HEADINGS = ("rank", "host", "pid", "device", "stage", "for", "step", "heard of")
TEXTS = frozenset({1, 3, 4})


@click.command
@click.option("--stack", "rank", type=click.IntRange(min=0), metavar="N", help="Show where in the program rank N is.")
@json_option
@server_options
def ranks(client: Client, rank: int | None, as_json: bool) -> None:
    """Show what every rank is doing now."""
    if rank is not None:
        stack = client.stack(rank)
        click.echo(as_json_text({"rank": rank, "stack": stack}) if as_json else stack, nl=as_json)
        return
    answer = client.ranks()
    if as_json:
        click.echo(as_json_text(answer))
    elif answer["ranks"]:
        click.echo(table(HEADINGS, [_row(entry) for entry in answer["ranks"]], left=TEXTS))
    else:
        click.echo("No rank has reported yet: they do within seconds of the start.")


def _row(entry: RankEntry) -> tuple[str, ...]:
    known = {name: MISSING if value is None else str(value) for name, value in entry.items()}
    return (
        known["rank"],
        known["host"],
        known["pid"],
        known["device"],
        known["stage"],
        duration(entry["stage_seconds"]),
        known["step"],
        f"{duration(entry['age_seconds'])} ago",
    )
