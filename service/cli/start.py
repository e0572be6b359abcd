"""`leitstand train`, `serve`, `prepare`: the commands that replace this process by another program."""

import os
from pathlib import Path

import click

from service.auth.hosts import require_safe_address
from service.cli.options import ranks_options, replace_process, settings_options
from service.config.settings import RunConfig
from service.errors import SettingError
from service.launcher.ports import address_text, require_free_port
from service.launcher.programs import (
    SettingsSource,
    api_program,
    count_ranks,
    preparation_program,
    require_patches,
    trainer_program,
)
from service.run.discovery import RunFolders, overrides_for


@click.command
@settings_options
def prepare(source: SettingsSource) -> None:
    """Make the patch set from videos.

    It goes to DATASET_ROOT and is made from VIDEO_ROOT, or from the clips named by CLIPS.
    """
    program = preparation_program(source.load(os.environ).config, os.environ)
    replace_process(program.command, program.environment)


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
        click.echo(_runs_sentence(config))
    click.echo(f"Dashboard: {address_text(config.api_host, config.api_port)}")
    program = api_program(source, os.environ)
    replace_process(program.command, program.environment)


def _runs_sentence(config: RunConfig) -> str:
    count = len(RunFolders.of(config).all())
    runs = "No run is there yet" if count == 0 else f"Serving {count} run{'s' if count > 1 else ''}"
    return f"{runs}{', and those of the shared store' if config.store_url else ''}."


@click.command
@ranks_options
@click.option("--resume", is_flag=True, help="Continue the run in DATA_ROOT.")
@click.option("--fresh", is_flag=True, help="Archive the run in DATA_ROOT and begin a new one.")
@settings_options
def train(source: SettingsSource, ranks: str, restarts: int, resume: bool, fresh: bool) -> None:
    """Train without an API.

    The exit code is the trainer's: 0 done, 2 bad input, 143 asked to leave and saved.
    """
    if resume and fresh:
        raise SettingError("--resume and --fresh exclude each other; give one.")
    config = source.load(os.environ).config
    require_patches(config.dataset_root)
    start = "--resume" if resume else "--fresh" if fresh else None
    program = trainer_program(source, config, count_ranks(ranks, config), os.environ, start, restarts)
    replace_process(program.command, program.environment)
