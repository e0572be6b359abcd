"""Options of the commands that use a server: its address, token, run and certificates.

The server's errors speak of routes and parameters; here they are put into the words of the command line.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import click
from click.core import ParameterSource

from service.cli.options import Command, login_name
from service.client.address import DEFAULT_URL
from service.errors import UserError, plain_reason

if TYPE_CHECKING:  # at run time only where a server is asked: `requests` takes longer to import than a list of records
    from service.client.client import Client

_SERVER_OPTIONS = (
    click.option("--url", envvar="LEITSTAND_URL", default=DEFAULT_URL, show_default=True, help="Address of the API."),
    click.option("--token", envvar="LEITSTAND_TOKEN", help="Token of the API; better given as LEITSTAND_TOKEN."),
    click.option("--token-file", type=click.Path(path_type=Path), help="File that holds the token alone."),
    click.option("--run", envvar="LEITSTAND_RUN", metavar="RUN", help="The run that is meant, if not the default."),
    click.option(
        "--ca", envvar="LEITSTAND_CA", type=click.Path(path_type=Path), metavar="FILE",
        help="Certificates to check a server with TLS against.",
    ),
    click.option(
        "--insecure-http", is_flag=True, envvar="LEITSTAND_INSECURE_HTTP",
        help="Send the token over plain HTTP to other machines too.",
    ),
)  # fmt: skip

_COMMANDS = {name: name for name in ("checkpoint", "checkpoints", "commands", "runs")} | {"statistics": "stats list"}
"""The command that shows or does what a route does."""
_ROUTE = re.compile(rf"(?<![\w./])/({'|'.join(_COMMANDS)})(?![\w/])")
_OPTIONS = {
    "apply_at_step": "--at", "expires_in": "--expires", "Idempotency-Key": "--key", "Last-Event-ID": "--after",
    "last_event_id": "--after",
}  # fmt: skip
"""Options whose parameter has another name."""
_PARAMETER = re.compile(rf"^[\w-]+(?= (?:is|takes) )|\b(?:{'|'.join(_OPTIONS)})\b|\b[a-z_]+(?==)")


class Connect(Protocol):
    """Makes a client for the server that the options name."""

    def __call__(self, kind: "type[Client] | None" = None, run: str | None = None) -> "Client":
        """Return a client (of `kind`), not yet connected, for `run` or else the run of the options."""


def reworded(text: str, command: click.Command) -> str:
    """Return a server's sentence with the command's options and with commands, instead of parameters and routes."""
    options = {option for parameter in command.params for option in parameter.opts}
    arguments = {parameter.name for parameter in command.params if isinstance(parameter, click.Argument)}

    def spelled(match: re.Match[str]) -> str:
        name = match[0]
        option = _OPTIONS.get(name, f"--{name}")
        return option if option in options else name.upper() if name in arguments else name

    text = _ROUTE.sub(lambda match: f"`leitstand {_COMMANDS[match[1]]}`", text)
    return _PARAMETER.sub(spelled, text)


def server_options(function: Command) -> Command:
    """Add --url, --token, --token-file, --run, --ca and --insecure-http; the command receives an open `client`."""

    @connection_options
    @wraps(function)
    def with_client(connect: Connect, **others: Any) -> Any:
        with connected(connect) as client:
            return function(client=client, **others)

    return with_client


@contextmanager
def connected(connect: "Callable[[], Client]") -> "Iterator[Client]":
    """Open a client; the server's errors within speak of the command's options."""
    from service.client.errors import ApiError

    with connect() as client:
        try:
            yield client
        except ApiError as error:
            error.args = (reworded(str(error), click.get_current_context().command),)
            raise


def connection_options(function: Command) -> Command:
    """Add the same options; the command receives `connect`, which makes a client, of `kind` if that is given.

    `connect(run=…)` makes one for another run than that of --run.
    """

    @wraps(function)
    def with_connect(
        url: str,
        token: str | None,
        token_file: Path | None,
        run: str | None,
        ca: Path | None,
        insecure_http: bool,
        **others: Any,
    ) -> Any:
        used_token = token if token_file is None else _read_token(token_file)

        given_run = run

        def connect(kind: "type[Client] | None" = None, run: str | None = None) -> "Client":
            from service.client.client import Client

            return (kind or Client)(
                url, used_token, run or given_run, ca_file=ca, insecure_http=insecure_http, actor=login_name(),
                source="cli",
            )  # fmt: skip

        return function(connect=connect, **others)

    command: Command = with_connect
    for option in reversed(_SERVER_OPTIONS):
        command = option(command)
    return command


def _read_token(path: Path) -> str:
    """Return the token in a file; raises `UserError` if there is none, or if --token is given too."""
    if click.get_current_context().get_parameter_source("token") is ParameterSource.COMMANDLINE:
        raise UserError("--token and --token-file exclude each other; give one.")
    try:
        token = path.read_text(encoding="utf-8-sig").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"The token file {path} cannot be read ({plain_reason(error)}); give another with --token-file."
        ) from None
    if not token:
        raise UserError(f"The token file {path} is empty; write the token into it.")
    return token
