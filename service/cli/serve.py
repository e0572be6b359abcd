"""`leitstand serve`: the API alone; this process becomes gunicorn."""

import os

import click

from service.addresses import require_safe_address
from service.cli.options import become, settings_options
from service.launch import SettingsSource, api_program
from service.listening import address_text, require_free_port


@click.command
@settings_options
def serve(source: SettingsSource) -> None:
    """Serve the API and dashboard alone."""
    config = source.load(os.environ).config
    require_safe_address(config)
    require_free_port(config.api_host, config.api_port)
    click.echo(f"Dashboard: {address_text(config.api_host, config.api_port)}")
    program = api_program(source, os.environ)
    become(program.command, program.environment)
