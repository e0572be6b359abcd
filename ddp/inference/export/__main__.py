"""Command that writes a trained network for other programs: `python -m ddp.inference.export OUT --run DIR`.

Exit codes: 0 done; 2 bad input, or a check that failed.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from ddp.inference.export.work import export
from ddp.inference.network import open_network
from service.config.loader import load_config
from service.errors import UserError, printable
from service.launcher.terminal.console import escape_unencodable
from service.launcher.termination import exiting_on_termination

INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Export by the arguments; print a UserError to standard error; return the exit code."""
    escape_unencodable((sys.stdout, sys.stderr))
    parsed = _parser().parse_args(arguments)
    try:
        with exiting_on_termination():
            config = load_config(parsed.config, parsed.set, os.environ).config
            network = open_network(config, parsed.run or config.data_root, parsed.from_file)
            sentence = export(network, parsed.target, replaces=parsed.replace)
    except UserError as error:
        click.echo(f"Error: {printable(str(error))}", err=True)
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    click.echo(printable(f"{parsed.target} is written: {network.origin}; {sentence}."))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="leitstand export", description="Write a trained network to a file.")
    parser.add_argument("target", type=Path, metavar="OUT")
    origin = parser.add_mutually_exclusive_group()
    origin.add_argument("--run", type=Path)
    origin.add_argument("--from", dest="from_file", type=Path)
    parser.add_argument("--replace", action="store_true")
    parser.add_argument("--config", type=Path)
    parser.add_argument("--set", action="append", default=[])
    return parser


if __name__ == "__main__":
    sys.exit(main())
