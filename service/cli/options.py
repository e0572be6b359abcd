"""Options that several commands share: where settings come from, and which server to talk to."""

import os
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from service.client import DEFAULT_URL, Client
from service.launch import SettingsSource
from service.steering import login_name

Command = Callable[..., Any]


def settings_options(function: Command) -> Command:
    """Adds --config and --set; the command gets them as `source`."""

    @click.option("--config", type=click.Path(path_type=Path), envvar="LEITSTAND_CONFIG", help="TOML file of settings.")
    @click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="One setting; may be repeated.")
    @wraps(function)
    def with_source(config: Path | None, overrides: tuple[str, ...], **others: Any) -> Any:
        return function(source=SettingsSource(config, overrides), **others)

    return with_source


def server_options(function: Command) -> Command:
    """Adds --url and --token; the command gets an open client as `client`."""

    @click.option("--url", envvar="LEITSTAND_URL", default=DEFAULT_URL, show_default=True, help="Address of the API.")
    @click.option("--token", envvar="LEITSTAND_TOKEN", help="Token of the API; better given as LEITSTAND_TOKEN.")
    @wraps(function)
    def with_client(url: str, token: str | None, **others: Any) -> Any:
        with Client(url, token, actor=login_name(), source="cli") as client:
            return function(client=client, **others)

    return with_client


def ranks_options(function: Command) -> Command:
    """Adds --ranks and --restarts."""
    with_ranks = click.option(
        "--ranks", default="auto", metavar="N", help="Training processes; auto: one per GPU, 2 without any."
    )
    with_restarts = click.option(
        "--restarts",
        type=click.IntRange(0),
        default=3,
        show_default=True,
        help="How often all ranks are started again after an accident, as one that was killed.",
    )
    decorated: Command = with_ranks(with_restarts(function))
    return decorated


json_option = click.option("--json", "as_json", is_flag=True, help="The server's answer as JSON.")


def become(command: tuple[str, ...], environment: Any) -> None:
    """Replace this process by the command: signals and exit code are then the command's own."""
    os.execvpe(command[0], list(command), dict(environment))
