"""`leitstand stats`: the saved records."""

import json

import click

from service.answers import RecordEntry
from service.cli.options import json_option, server_options
from service.cli.table import moment, number, table
from service.client import Client

HEADINGS = ("record", "step", "quality KI", "quality LR", "gain", "PSNR KI", "loss", "trigger", "saved at")


@click.group
def stats() -> None:
    """Look at the saved records."""


@stats.command("list")
@json_option
@server_options
def list_records(client: Client, as_json: bool) -> None:
    """List the saved records in the order of their steps."""
    answer = client.statistics()
    if as_json:
        click.echo(json.dumps(answer, indent=2, ensure_ascii=False))
        return
    if answer["records"]:
        click.echo(table(HEADINGS, [_row(entry) for entry in answer["records"]], left=frozenset({0, 7, 8})))
    else:
        click.echo("No record yet: one is saved after every validation.")
    for file in answer["unreadable"]:
        click.echo(f"unreadable: {file['name']} ({file['reason']})", err=True)


def _row(entry: RecordEntry) -> tuple[str, ...]:
    return (
        entry["name"],
        str(entry["step"]),
        number(entry["quality_ki_value"]),
        number(entry["quality_lr_value"]),
        number(entry["quality_improvement_value"], "+.4f"),
        number(entry["psnr_ki_db"], ".2f"),
        number(entry["validation_loss_value"], ".5f"),
        entry["trigger"],
        moment(entry["modified_at"]),
    )
