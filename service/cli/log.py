"""`leitstand log`: the end of the run's log."""

import click

from service.cli.options import as_json_text, json_option, server_options
from service.client import Client


@click.command
@click.option("--tail", type=click.IntRange(1), default=200, show_default=True, metavar="N", help="The last N lines.")
@json_option
@server_options
def log(client: Client, tail: int, as_json: bool) -> None:
    """Show the last lines of the training's log."""
    text = client.log(tail)
    click.echo(as_json_text({"log": text}) if as_json else text, nl=as_json)
