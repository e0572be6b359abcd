"""`leitstand commands`: what was asked of the run, by whom, and what came of it."""

from itertools import islice

import click

from service.answers import CommandAnswer
from service.cli.options import as_json_text, json_option, server_options
from service.cli.table import moment, table
from service.client import Client
from service.commands import CommandState, Kind
from service.history_client import PAGE_SIZE
from service.outcome import outcome_text

HEADINGS = ("asked at", "by", "from", "id", "command")


@click.command
@click.option("--kind", type=click.Choice([kind.value for kind in Kind]), help="Only commands of this kind.")
@click.option("--state", type=click.Choice([state.value for state in CommandState]), help="Only in this state.")
@click.option("--actor", metavar="NAME", help="Only those that this person asked for.")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, metavar="N", help="The N newest.")
@json_option
@server_options
def commands(client: Client, kind: str | None, state: str | None, actor: str | None, limit: int, as_json: bool) -> None:
    """List the run's commands, newest first."""
    found = client.commands(kind=kind, state=state, actor=actor, page_size=min(limit, PAGE_SIZE))
    newest = list(islice(found, limit))
    if as_json:
        click.echo(as_json_text({"commands": newest}))
    elif newest:
        click.echo(table(HEADINGS, [_row(command) for command in newest], left=frozenset(range(len(HEADINGS)))))
    else:
        click.echo("No such command was given.")


def _row(command: CommandAnswer) -> tuple[str, ...]:
    outcome = outcome_text(command["kind"], command["state"], command["step"], command["result"], command["reason"])
    return moment(command["created_at"]), command["actor"], command["source"], command["id"], outcome
