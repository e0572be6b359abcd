"""`leitstand log`: the end of the run's log."""

import click

from service.cli.options import server_options
from service.client import Client


@click.command
@click.option("--tail", type=click.IntRange(1), default=200, show_default=True, metavar="N", help="The last N lines.")
@server_options
def log(client: Client, tail: int) -> None:
    """Show the last lines of the training's log."""
    click.echo(client.log(tail), nl=False)
