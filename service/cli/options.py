"""What several commands share: options for settings, ranks and JSON, and the name of the person who asks."""

import getpass
import json
import os
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from service.errors import UserError
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


def login_name() -> str:
    """The name of the person who started this process, as far as the system knows it."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in many containers
        return "unnamed"
