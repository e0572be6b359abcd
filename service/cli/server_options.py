"""Options of the commands that use a server: its address, token, run and certificates."""

from functools import wraps
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from service.cli.options import Command, login_name
from service.client.client import DEFAULT_URL, Client
from service.errors import UserError

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
    """Add --url, --token, --token-file, --run and --ca; the command receives an open client as `client`."""

    @wraps(function)
    def with_client(
        url: str, token: str | None, token_file: Path | None, run: str | None, ca: Path | None, **others: Any
    ) -> Any:
        used_token = token if token_file is None else _read_token(token_file)
        with Client(url, used_token, run, ca_file=ca, actor=login_name(), source="cli") as client:
            return function(client=client, **others)

    command: Command = with_client
    for option in reversed(_SERVER_OPTIONS):
        command = option(command)
    return command


def _read_token(path: Path) -> str:
    """Return the token in a file; raises `UserError` if there is none, or if --token is given too."""
    if click.get_current_context().get_parameter_source("token") is ParameterSource.COMMANDLINE:
        raise UserError("--token and --token-file exclude each other; give one.")
    try:
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"The token file {path} cannot be read ({error}); give another with --token-file.") from None
    if not token:
        raise UserError(f"The token file {path} is empty; write the token into it.")
    return token
