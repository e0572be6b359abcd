"""The command line `leitstand`: starts trainings, watches and steers them. Never imports torch or flask.

Exit codes: 0 done · 1 the command failed, was rejected or expired · 2 bad input · 3 no server, or no trainer ·
124 the time given to --wait is over · 130 Ctrl-C. Errors are one sentence on stderr, with --json one object there:
`slug`, `status`, `detail`, `exit_code` (wrong usage stays a sentence).
"""

import os
import sys
from collections.abc import Sequence
from io import TextIOWrapper

import click

from service import __version__
from service.cli.lazy_commands import LazyCommands
from service.errors import UserError

OUTPUT_FAILED, INTERRUPTED = 1, 130

_PLACES = {
    "start": ("train", "serve", "prepare"),
    "control": ("validate", "pause", "resume", "checkpoint", "stop", "rollback", "cancel", "settings"),
    "show": ("state", "runs", "commands", "ranks", "alerts", "log", "checkpoints"),
}
_COMMANDS = {
    **{name: f"service.cli.{module}:{name}" for module, names in _PLACES.items() for name in names},
    **{name: f"service.cli.{name}:{name}" for name in ("up", "events", "stats", "series", "token", "doctor")},
    "set": "service.cli.control:set_settings",
}
"""Where each command is: `module:attribute`."""


@click.group(commands=LazyCommands(_COMMANDS), context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="leitstand", message="%(prog)s %(version)s")
def leitstand() -> None:
    """The control room for training video super-resolution networks."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and leave with its exit code."""
    for stream in (sys.stdout, sys.stderr):
        # A sign that the terminal cannot show, or half of a file's name, must not end the command.
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        code = exit_code(arguments)
    except OSError as error:
        if error.filename is not None:
            raise
        # What could not be written would be tried once more at the interpreter's end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        click.echo(f"Error: The output cannot be written ({error.strerror}).", err=True)
        code = OUTPUT_FAILED
    sys.exit(code)


def exit_code(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code, errors printed."""
    try:
        # A command returns its exit code, or nothing for 0.
        return int(leitstand.main(args=arguments, prog_name="leitstand", standalone_mode=False) or 0)
    except UserError as error:
        click.echo(f"Error: {error}", err=True)
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
