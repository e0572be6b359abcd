"""`leitstand token`: creates, lists and revokes API tokens in the file named by API_TOKENS."""

import os
import time
from pathlib import Path

import click

from service.auth.tokens import Token, TokenScope, create_token, read_tokens, revoke_token, token_file_path
from service.cli.options import as_json_text, json_option, settings_options
from service.cli.text_table import short_moment, show_line, table
from service.config.source import SettingsSource
from service.errors import SettingError

DAY_SECONDS = 24 * 3600.0
MAX_DAYS = 3650


@click.group
def token() -> None:
    """Make and revoke the tokens that requests must bear.

    They are kept, hashed, in the file named by the setting API_TOKENS.
    """


@token.command
@click.argument("name")
@click.option(
    "--scope", type=click.Choice([scope.value for scope in TokenScope]), required=True, help="What it allows."
)
@click.option(
    "--expires", type=click.FloatRange(0, MAX_DAYS, min_open=True), metavar="DAYS", help="Days until it ends."
)
@settings_options
def create(source: SettingsSource, name: str, scope: str, expires: float | None) -> None:
    """Make the token NAME and print it, this one time."""
    lifetime_seconds = None if expires is None else expires * DAY_SECONDS
    text = create_token(_file(source), name, TokenScope(scope), lifetime_seconds=lifetime_seconds)
    click.echo(text)
    click.echo("Keep it now: it is shown this once. Clients take it from LEITSTAND_TOKEN.", err=True)


@token.command("list")
@json_option
@settings_options
def list_tokens(source: SettingsSource, as_json: bool) -> None:
    """List the tokens; what they are is not known."""
    tokens, now = read_tokens(_file(source)), time.time()
    if as_json:
        click.echo(as_json_text({"tokens": [_entry(entry, now) for entry in tokens]}))
    elif tokens:
        rows = [_row(entry, now) for entry in tokens]
        click.echo(table(("token", "scope", "made at", "ends at", ""), rows, left=frozenset(range(5))))
    else:
        click.echo("No token yet: make one with `leitstand token create NAME --scope read`.")


@token.command
@click.argument("name")
@settings_options
def revoke(source: SettingsSource, name: str) -> None:
    """Revoke the token NAME: a server that runs refuses it from its next request on."""
    revoke_token(_file(source), name)
    show_line(f"token {name} revoked")


def _file(source: SettingsSource) -> Path:
    """Return the path of the token file; raises `SettingError` if API_TOKENS is empty."""
    file = token_file_path(source.load(os.environ).config)
    if file is None:
        raise SettingError(
            "API_TOKENS names no file of tokens: give one, the same as the server's, "
            "for example with --set API_TOKENS=tokens.json."
        )
    return file


def _entry(token: Token, now: float) -> dict[str, str | float | bool | None]:
    return {
        "name": token.name,
        "scope": token.scope.value,
        "created_at": token.created_at,
        "expires_at": token.expires_at,
        "has_expired": token.has_expired(now),
    }


def _row(token: Token, now: float) -> tuple[str, ...]:
    end = "never" if token.expires_at is None else short_moment(token.expires_at)
    return (
        token.name,
        token.scope.value,
        short_moment(token.created_at),
        end,
        "expired" if token.has_expired(now) else "",
    )
