"""`leitstand prepare`: makes the patch set; this process becomes the preparation."""

import os

import click

from service.cli.options import become, settings_options
from service.launch import SettingsSource, preparation_program


@click.command
@settings_options
def prepare(source: SettingsSource) -> None:
    """Make the patch set from videos.

    It goes to DATASET_ROOT and is made from VIDEO_ROOT, or from the clips named by CLIPS.
    """
    program = preparation_program(source.load(os.environ).config, os.environ)
    become(program.command, program.environment)
