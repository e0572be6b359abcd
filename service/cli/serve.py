"""`leitstand serve`: the API alone; this process becomes gunicorn."""

import os
from pathlib import Path

import click

from service.addresses import require_safe_address
from service.cli.options import become, settings_options
from service.launch import SettingsSource, api_program
from service.listening import address_text, require_free_port
from service.run_folders import RunFolders, overrides_for
from service.settings import RunConfig


@click.command
@click.argument("directories", metavar="[DIR]...", nargs=-1, type=click.Path(path_type=Path, readable=False))
@settings_options
def serve(source: SettingsSource, directories: tuple[Path, ...]) -> None:
    """Serve the API and dashboard alone.

    Each DIR is a run directory, or a folder that holds some; without any, DATA_ROOT and RUN_ROOTS say where runs are.
    Runs that come or go meanwhile are noticed.
    """
    if directories:
        source = SettingsSource(source.file, (*source.overrides, *overrides_for(directories)))
    config = source.load(os.environ).config
    require_safe_address(config)
    require_free_port(config.api_host, config.api_port)
    if config.run_roots:
        click.echo(_found(config))
    click.echo(f"Dashboard: {address_text(config.api_host, config.api_port)}")
    program = api_program(source, os.environ)
    become(program.command, program.environment)


def _found(config: RunConfig) -> str:
    count = len(RunFolders.of(config).all())
    runs = "No run is there yet" if count == 0 else f"Serving {count} run{'s' if count > 1 else ''}"
    return f"{runs}{', and those of the shared store' if config.store_url else ''}."
