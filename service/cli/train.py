"""`leitstand train`: the training alone, without an API; this process becomes torchrun."""

import os

import click

from service.cli.options import become, ranks_options, settings_options
from service.errors import SettingError
from service.launch import SettingsSource, count_ranks, require_patches, trainer_program


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
    become(program.command, program.environment)
