"""Options that several commands share: where settings come from, and which server to talk to."""

import json
import os
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from service.client.client import DEFAULT_URL, Client
from service.errors import UserError
from service.launcher.key_commands import login_name
from service.launcher.programs import SettingsSource

Command = Callable[..., Any]


def settings_options(function: Command) -> Command:
    """Adds --config and --set; the command gets them as `source`."""

    @click.option("--config", type=click.Path(path_type=Path), envvar="LEITSTAND_CONFIG", help="TOML file of settings.")
    @click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="One setting; may be repeated.")
    @wraps(function)
    def with_source(config: Path | None, overrides: tuple[str, ...], **others: Any) -> Any:
        return function(source=SettingsSource(config, overrides), **others)

    return with_source


_SERVER_OPTIONS = (
    click.option("--url", envvar="LEITSTAND_URL", default=DEFAULT_URL, show_default=True, help="Address of the API."),
    click.option("--token", envvar="LEITSTAND_TOKEN", help="Token of the API; better given as LEITSTAND_TOKEN."),
    click.option("--token-file", type=click.Path(path_type=Path), help="File that holds the token alone."),
    click.option("--run", envvar="LEITSTAND_RUN", metavar="RUN", help="The run that is meant, if not the default."),
    click.option(
        "--ca", envvar="LEITSTAND_CA", type=click.Path(path_type=Path), metavar="FILE",
        help="Certificates to check a server with TLS against.",
    ),
)  # fmt: skip


def server_options(function: Command) -> Command:
    """Adds --url, --token, --token-file, --run and --ca; the command gets an open client as `client`."""

    @wraps(function)
    def with_client(
        url: str, token: str | None, token_file: Path | None, run: str | None, ca: Path | None, **others: Any
    ) -> Any:
        known = token if token_file is None else _token_in(token_file)
        with Client(url, known, run, ca_file=ca, actor=login_name(), source="cli") as client:
            return function(client=client, **others)

    command: Command = with_client
    for option in reversed(_SERVER_OPTIONS):
        command = option(command)
    return command


def _token_in(path: Path) -> str:
    """The token in a file. Raises `UserError` when there is none; one on the command line contradicts it."""
    if click.get_current_context().get_parameter_source("token") is ParameterSource.COMMANDLINE:
        raise UserError("--token and --token-file exclude each other; give one.")
    try:
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"The token file {path} cannot be read ({error}); give another with --token-file.") from None
    if not token:
        raise UserError(f"The token file {path} is empty; write the token into it.")
    return token


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


def json_option(function: Command) -> Command:
    """Adds --json as `as_json`; above all other options, so that errors become JSON too, one object on stderr."""

    @click.option("--json", "as_json", is_flag=True, help="The answer as JSON, errors on stderr too.")
    @wraps(function)
    def with_json(as_json: bool, **others: Any) -> Any:
        try:
            return function(as_json=as_json, **others)
        except UserError as error:
            if not as_json:
                raise
            click.echo(json.dumps(problem(error), ensure_ascii=needs_escapes()), err=True)
            return error.exit_code

    return with_json


def problem(error: UserError) -> dict[str, Any]:
    """An error as JSON: `slug` is its stable name, `status` the HTTP status or None where the server said nothing."""
    return {
        "slug": getattr(error, "slug", "") or "bad-input",
        "status": getattr(error, "status", None),
        "detail": str(error),
        "exit_code": error.exit_code,
    }


def as_json_text(answer: Any) -> str:
    """An answer as people read JSON: indented, and without escapes where the output can show every sign."""
    return json.dumps(answer, indent=2, ensure_ascii=needs_escapes())


def needs_escapes() -> bool:
    """Whether the output is in an encoding that lacks signs."""
    return "utf" not in (getattr(sys.stdout, "encoding", None) or "").lower()


def become(command: tuple[str, ...], environment: Any) -> None:
    """Replace this process by the command: signals and exit code are then the command's own."""
    os.execvpe(command[0], list(command), dict(environment))
