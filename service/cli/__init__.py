"""The command line `leitstand`: starts, monitors and controls trainings. Never imports torch or flask.

Exit codes: 0 success · 1 the command failed, was rejected or expired · 2 bad input · 3 no server, or no trainer ·
124 timeout of --wait · 130 Ctrl-C. An error is one sentence on stderr, or with --json one object on stderr with `slug`,
`status`, `detail` and `exit_code` (wrong usage is always a sentence).
"""

import os
import sys
from collections.abc import Sequence

import click

from service import __version__
from service.cli.lazy_commands import LazyCommands
from service.errors import UserError, printable, reason_and_remedy
from service.launcher.terminal.console import escape_unencodable

OUTPUT_FAILED, INTERRUPTED = 1, 130

_MODULES = {
    "start": ("train", "serve", "prepare", "fork", "upscale", "export", "evaluate", "pack"),
    "control": ("validate", "preview", "pause", "resume", "checkpoint", "stop", "rollback", "cancel", "settings"),
    "show": ("state", "runs", "commands", "ranks", "alerts", "checkpoints"),
}
_COMMANDS = {
    **{name: f"service.cli.{module}:{name}" for module, names in _MODULES.items() for name in names},
    **{name: f"service.cli.{name}:{name}" for name in ("up", "events", "series", "token", "doctor")},
    **{name: f"service.cli.control:{name}" for name in ("name", "note")},
    "set": "service.cli.control:set_settings",
    "log": "service.cli.events:log",
    "stats": "service.cli.stats.command:stats",
    "provenance": "service.cli.stats.provenance.served:provenance",
    "reproduce": "service.cli.stats.provenance.reproduce:reproduce",
    "signature": "service.cli.stats.provenance.signature:signature",
    "replay": "service.cli.stats.provenance.replay:replay",
    "watch": "service.cli.watch.command:watch",
}
"""The location of each command: `module:attribute`."""


@click.group(commands=LazyCommands(_COMMANDS), context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="leitstand", message="%(prog)s %(version)s")
def leitstand() -> None:
    """The control room for training video super-resolution networks."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit with its exit code."""
    escape_unencodable((sys.stdout, sys.stderr))  # also in file names
    try:
        code = exit_code(arguments)
    except OSError as error:
        if error.filename is not None:  # of a library, since our own parts say more
            click.echo(
                f"Error: {printable(str(error.filename))} cannot be used ({reason_and_remedy(error)}).", err=True
            )
            sys.exit(UserError.exit_code)
        # The interpreter would try to write the buffered output again at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        click.echo(f"Error: The output cannot be written ({error.strerror}).", err=True)
        code = OUTPUT_FAILED
    sys.exit(code)


def exit_code(arguments: Sequence[str] | None = None) -> int:
    """Run one command and print its errors; returns its exit code."""
    try:
        # A command returns its exit code, or None for 0.
        return int(leitstand.main(args=arguments, prog_name="leitstand", standalone_mode=False) or 0)
    except UserError as error:
        click.echo(f"Error: {printable(str(error))}", err=True)
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
