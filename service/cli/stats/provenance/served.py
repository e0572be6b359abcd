"""`leitstand provenance`: from what a start of a server's run was made."""

from collections.abc import Iterator, Mapping
from typing import Any

import click

from service.cli.options import as_json_text, json_option
from service.cli.server_options import server_options
from service.cli.text_table import pairs
from service.client.client import Client
from service.errors import UserError
from service.run.records.provenance.provenance import versions_of


@click.command
@click.argument("sha256", required=False)
@json_option
@server_options
def provenance(client: Client, sha256: str | None, as_json: bool) -> None:
    """Show from what a start of the run was made.

    SHA256 is what a record's `provenance` says; without it that of the newest record.
    """
    found = client.provenance(sha256 or _newest(client))
    click.echo(as_json_text(found) if as_json else pairs([*_facts(found)]))


def _newest(client: Client) -> str:
    sha256 = client.record().get("provenance")
    if not sha256:
        raise UserError("The newest record does not say from what its start was made; earlier versions did not.")
    return str(sha256)


def _facts(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield code and machine, how many packages there were, and the settings that were given, with their origins."""
    yield from versions_of(found).items()
    yield "host", str(found.get("host"))
    yield "packages", f"{len(found.get('packages') or {})}; --json names them"
    settings = found.get("settings") or {}
    for name, origin in (found.get("origins") or {}).items():
        yield name, f"{settings.get(name.upper(), settings.get(name))} ({origin})"
