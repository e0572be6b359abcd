"""`leitstand alerts`: what is wrong with the run now."""

import click

from service.cli.options import as_json_text, json_option, server_options
from service.cli.table import moment, table
from service.client import Client


@click.command
@json_option
@server_options
def alerts(client: Client, as_json: bool) -> None:
    """Show the alerts that are on now."""
    answer = client.alerts()
    if as_json:
        click.echo(as_json_text(answer))
    elif answer["alerts"]:
        rows = [(alert["name"], moment(alert["since"]), alert["sentence"]) for alert in answer["alerts"]]
        click.echo(table(("alert", "since", ""), rows, left=frozenset({0, 1, 2})))
    else:
        click.echo("No alert is on.")
