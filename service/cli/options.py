"""Code that several commands share: options for settings, ranks and JSON output, and the user's name."""

import getpass
import json
import os
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from service.errors import UNPRINTABLE, UserError
from service.launcher.machines.nodes import Nodes

if TYPE_CHECKING:
    from service.config.source import SettingsSource

Command = Callable[..., Any]
NNODES = "With --rdzv-endpoint: how many machines train together; 1:2 begins with one, and takes in a second."
RDZV_ENDPOINT = "Train on several machines that meet at this address of one of them, the same for all."


def settings_options(function: Command) -> Command:
    """Add --config, --demo and --set, which the command receives as `source`; its errors say where a setting stands."""

    @click.option("--config", type=click.Path(path_type=Path), envvar="LEITSTAND_CONFIG", help="TOML file of settings.")
    @click.option("--demo", is_flag=True, help="The settings of a small training on free clips, for two CPU cores.")
    @click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="One setting; may be repeated.")
    @wraps(function)
    def with_source(config: Path | None, demo: bool, overrides: tuple[str, ...], **others: Any) -> Any:
        # Not above: all commands have these options' module, few have the options.
        from service.config.loader import DEMONSTRATION, naming_origins
        from service.config.source import SettingsSource

        if demo and config is not None:
            raise UserError(f"--demo has settings of its own, and so has {config}: give one of the two.")
        source = SettingsSource(DEMONSTRATION if demo else config, overrides)
        with naming_origins(lambda: source.load(os.environ).places):
            return function(source=source, **others)

    return with_source


def replay_option(function: Command) -> Command:
    """Add --replay, which gives the setting REPLAY_FILE; stands below `settings_options`."""

    @click.option("--replay", type=click.Path(), metavar="FILE", help="Repeat what people did to another run.")
    @wraps(function)
    def with_replay(source: "SettingsSource", replay: str | None, **others: Any) -> Any:
        if replay is not None:
            from service.config.source import SettingsSource

            source = SettingsSource(source.file, (*source.overrides, f"REPLAY_FILE={replay}"))
        return function(source=source, **others)

    return with_replay


def ranks_options(function: Command) -> Command:
    """Add --ranks and --restarts."""
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


def nodes_options(function: Command) -> Command:
    """Add --nnodes and --rdzv-endpoint, which the command receives as `nodes`; None for a machine by itself."""

    @click.option("--nnodes", default="2", metavar="N|MIN:MAX", envvar="PET_NNODES", show_default=True, help=NNODES)
    @click.option("--rdzv-endpoint", default="", metavar="HOST:PORT", envvar="PET_RDZV_ENDPOINT", help=RDZV_ENDPOINT)
    @wraps(function)
    def with_nodes(nnodes: str, rdzv_endpoint: str, **others: Any) -> Any:
        return function(nodes=Nodes(nnodes, rdzv_endpoint) if rdzv_endpoint else None, **others)

    return with_nodes


def json_option(function: Command) -> Command:
    """Add --json as `as_json`, and print errors as JSON on stderr too; must be the outermost option decorator."""

    @click.option("--json", "as_json", is_flag=True, help="The answer as JSON, errors on stderr too.")
    @wraps(function)
    def with_json(as_json: bool, **others: Any) -> Any:
        try:
            return function(as_json=as_json, **others)
        except UserError as error:
            if not as_json:
                raise
            click.echo(as_json_text(problem(error), indent=None), err=True)
            return error.exit_code

    return with_json


def problem(error: UserError) -> dict[str, Any]:
    """Return an error as JSON values: `slug` is its stable name, `status` the HTTP status or None without an answer.

    `errors` lists the wrong parts of a request, if the server named any.
    """
    errors = getattr(error, "errors", [])
    return {
        "slug": getattr(error, "slug", "") or "bad-input",
        "status": getattr(error, "status", None),
        "detail": str(error),
        "exit_code": error.exit_code,
        **({"errors": errors} if errors else {}),
    }


def as_json_text(answer: Any, indent: int | None = 2) -> str:
    """Return an answer as JSON, with escapes only for what the output cannot encode or is not printable."""
    text = json.dumps(answer, indent=indent, ensure_ascii=needs_escapes())
    return UNPRINTABLE.sub(lambda match: match[0] if match[0] == "\n" else json.dumps(match[0])[1:-1], text)


def needs_escapes() -> bool:
    """Return True if the output's encoding lacks characters."""
    return "utf" not in (getattr(sys.stdout, "encoding", None) or "").lower()


def replace_process(command: tuple[str, ...], environment: Any) -> None:
    """Replace this process by the command, which then handles signals and sets the exit code itself."""
    os.execvpe(command[0], list(command), dict(environment))


def login_name() -> str:
    """Return the login name of the user of this process, or `unnamed`."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # the user id has no name, as in many containers
        return "unnamed"
