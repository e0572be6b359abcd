"""Options that the commands of `leitstand stats` share."""

from pathlib import Path

import click

from service.cli.options import Command

directories_argument = click.argument("folders", nargs=-1, type=click.Path(path_type=Path), metavar="[DIR]...")
runs_argument = click.argument("names", nargs=-1, metavar="[DIR|RUN]...")
archived_option = click.option("--archived", is_flag=True, help="With DIR: the records in its archive/ too.")


def table_options(function: Command) -> Command:
    """Add the places of an export: `where`, either run directories or one file, `out`, and `archived`."""
    with_archived = archived_option(function)
    with_out = click.option(
        "--out", type=click.Path(path_type=Path), metavar="FILE", help="The file to write; without it, the output."
    )(with_archived)
    decorated: Command = click.argument("where", nargs=-1, type=click.Path(path_type=Path), metavar="[FILE] | DIR...")(
        with_out
    )
    return decorated
