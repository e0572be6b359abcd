"""`leitstand checkpoints`: the saved states of the run."""

import click

from service.cli.options import as_json_text, json_option, server_options
from service.cli.stats import show_unreadable
from service.cli.table import moment, size, table
from service.client import Client


@click.command
@json_option
@server_options
def checkpoints(client: Client, as_json: bool) -> None:
    """List the saved states in the order of their steps."""
    answer = client.checkpoints()
    if as_json:
        click.echo(as_json_text(answer))
        return
    if answer["checkpoints"]:
        rows = [
            (entry["name"], str(entry["step"]), size(entry["size_bytes"]), moment(entry["saved_at"]),
             ", ".join(entry["links"]))
            for entry in answer["checkpoints"]
        ]  # fmt: skip
        click.echo(table(("checkpoint", "step", "size", "saved at", ""), rows, left=frozenset({0, 3, 4})))
    else:
        click.echo("No checkpoint yet: ask for one with `leitstand checkpoint`.")
    show_unreadable(answer["unreadable"])
